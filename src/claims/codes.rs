//! The stable codes of verdicts. Programs rely on them; `schema/verdicts.md` says what they mean for an
//! issuer, and a test holds the two together.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// As it is written in answers.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )+};
}

codes! {
    /// What an issuer should do about a redemption claim.
    Verdict {
        /// Pay. The owner has left Spark for good, and nothing that can still happen on L1, short of a
        /// reorganisation deeper than the wanted confirmations, takes it back.
        Honour = "honour",
        /// Not yet. `waits` says for what.
        Wait = "wait",
        /// Do not pay. No later block turns this exit into a claim.
        Refuse = "refuse",
    }

    /// What a check found.
    Outcome {
        /// The rule is kept.
        Pass = "pass",
        /// The rule is broken, for good: the exit is refused.
        Fail = "fail",
        /// Something is still missing.
        Wait = "wait",
        /// The rules don't decide on it, an issuer may want to: holds the verdict at `wait` unless accepted.
        Warn = "warn",
        /// It cannot be known. Decides nothing.
        Unknown = "unknown",
    }

    /// Who or what can end a wait.
    Party {
        /// Time: further blocks.
        Blocks = "blocks",
        /// The owner of the tokens.
        Owner = "owner",
        /// The entity, by publishing.
        Entity = "entity",
        /// The issuer, who weighs a warning and accepts it or does not.
        Issuer = "issuer",
    }

    /// Why a verdict is what it is.
    Reason {
        /// Honour: the owner claimed the bond, deep enough in the chain.
        Claimed = "claimed",

        /// Refuse: no withdrawal announcement of a followed entity names the output.
        NoExit = "no_exit",
        /// Refuse: its announcement names one L1 output twice.
        DuplicateVout = "duplicate_vout",
        /// Refuse: its announcement names TTXOs of several owners.
        MixedOwners = "mixed_owners",
        /// Refuse: another exit of its TTXO was valid before and stood.
        AlreadyExited = "already_exited",
        /// Refuse: a snapshot had dropped its TTXO before it was announced.
        SpentOnSpark = "spent_on_spark",
        /// Refuse: its transaction has no such output.
        VoutOutOfRange = "vout_out_of_range",
        /// Refuse: another valid exit is backed by the same L1 output. That one decides, so no output gets this.
        OutputTaken = "output_taken",
        /// Refuse: its output holds less than the TTXO's bond.
        InsufficientBond = "insufficient_bond",
        /// Refuse: its output does not have the TTXO's withdrawal script.
        ScriptMismatch = "script_mismatch",
        /// Refuse: it was revoked, and a snapshot put the tokens back on Spark.
        Reinstated = "reinstated",
        /// Refuse: its output was spent by the key path (a justice transaction).
        Revoked = "revoked",

        /// Wait: a spend of its output by the key path is in the mempool.
        RevocationUnconfirmed = "revocation_unconfirmed",
        /// Wait: its announcement is in the mempool and in no block.
        AnnouncementUnconfirmed = "announcement_unconfirmed",
        /// Wait: no activated snapshot has declared some TTXO of its announcement yet.
        Unresolved = "unresolved",
        /// Wait: its lock has not ended.
        NotMatured = "not_matured",
        /// Wait: the owner has not claimed its output, so it can still be revoked.
        NotClaimed = "not_claimed",
        /// Wait: the owner's claim is in the mempool and in no block.
        ClaimUnconfirmed = "claim_unconfirmed",
        /// Wait: a block that the verdict rests on has fewer confirmations than wanted.
        TooFewConfirmations = "too_few_confirmations",

        /// Warning: exits of other entities stand on the same L1 output.
        SeveralExits = "several_exits",
        /// Warning: a snapshot that should know of the exit still declares its TTXO.
        DeclaredAfterExit = "declared_after_exit",
        /// Warning: a snapshot of a time before the exit confirmed no longer has its TTXO.
        DroppedBeforeExit = "dropped_before_exit",
        /// Warning: the entity signed another manifest under the sequence that declared its TTXO.
        Equivocation = "equivocation",
        /// Warning: the entity has declared more of the token than its maximum supply.
        OverMaxSupply = "over_max_supply",
        /// Warning: the token was created under a key that is none of the entity's.
        ForeignEntity = "foreign_entity",
    }
}

impl Reason {
    /// The outcome of a check that finds it.
    pub fn outcome(self) -> Outcome {
        use Reason::*;
        match self {
            Claimed => Outcome::Pass,
            NoExit | DuplicateVout | MixedOwners | AlreadyExited | SpentOnSpark | VoutOutOfRange
            | OutputTaken | InsufficientBond | ScriptMismatch | Reinstated | Revoked => Outcome::Fail,
            RevocationUnconfirmed
            | AnnouncementUnconfirmed
            | Unresolved
            | NotMatured
            | NotClaimed
            | ClaimUnconfirmed
            | TooFewConfirmations => Outcome::Wait,
            SeveralExits | DeclaredAfterExit | DroppedBeforeExit | Equivocation | OverMaxSupply
            | ForeignEntity => Outcome::Warn,
        }
    }

    /// Who or what can end the wait; `None` where there is nothing to wait for.
    pub fn ends_by(self) -> Option<Party> {
        match (self.outcome(), self) {
            (Outcome::Warn, _) => Some(Party::Issuer),
            (Outcome::Wait, Reason::Unresolved) => Some(Party::Entity),
            (Outcome::Wait, Reason::NotClaimed) => Some(Party::Owner),
            (Outcome::Wait, _) => Some(Party::Blocks),
            _ => None,
        }
    }

    /// The warning with this name, which an issuer can accept.
    pub fn warning(name: &str) -> Option<Reason> {
        let mut warnings = Reason::ALL.iter().filter(|reason| reason.outcome() == Outcome::Warn);
        warnings.find(|reason| reason.as_str() == name).copied()
    }
}

impl From<crate::ledger::reasons::ExitReason> for Reason {
    fn from(reason: crate::ledger::reasons::ExitReason) -> Self {
        use crate::ledger::reasons::ExitReason;
        match reason {
            ExitReason::DuplicateVout => Reason::DuplicateVout,
            ExitReason::MixedOwners => Reason::MixedOwners,
            ExitReason::AlreadyExited => Reason::AlreadyExited,
            ExitReason::SpentOnSpark => Reason::SpentOnSpark,
            ExitReason::VoutOutOfRange => Reason::VoutOutOfRange,
            ExitReason::OutputTaken => Reason::OutputTaken,
            ExitReason::InsufficientBond => Reason::InsufficientBond,
            ExitReason::ScriptMismatch => Reason::ScriptMismatch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::reasons::ExitReason;

    #[test]
    fn reasons_of_the_rules_keep_their_names() {
        for reason in ExitReason::ALL {
            assert_eq!(Reason::from(*reason).as_str(), reason.as_str());
            assert_eq!(Reason::from(*reason).outcome(), Outcome::Fail);
        }
    }

    #[test]
    fn only_warnings_can_be_accepted() {
        assert_eq!(Reason::warning("over_max_supply"), Some(Reason::OverMaxSupply));
        for name in ["revoked", "too_few_confirmations", "claimed", "", "no such warning"] {
            assert_eq!(Reason::warning(name), None, "{name}");
        }
    }
}
