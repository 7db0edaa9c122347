//! The sentences: what a check or a verdict says, for people. They may change; codes do not.

use super::check::{Check, Depth};
use super::codes::{Outcome, Verdict};
use crate::protocol::SparkOutPoint;
use crate::protocol::withdrawal_output::SpendPath;

/// A verdict in one sentence, from the sentence of the check that decided.
pub fn of_verdict(verdict: Verdict, decided: &str) -> String {
    let advice = match verdict {
        Verdict::Honour => "Honour",
        Verdict::Wait => "Wait",
        Verdict::Refuse => "Refuse",
    };
    format!("{advice}: {decided}")
}

/// What a check found.
pub fn of_check(check: &Check, outcome: Outcome) -> String {
    let good = outcome == Outcome::Pass;
    match check {
        Check::Announced { .. } => announced(check, outcome),
        Check::DistinctOutputs { .. } if good => "the announcement names each output once".into(),
        Check::DistinctOutputs { .. } => {
            "the announcement names an output twice, so all of it is invalid".into()
        }
        Check::Declaration { .. } => declaration(check),
        Check::OneOwner { owners } => match owners.as_slice() {
            [one, other, ..] => {
                format!("the announcement names outputs of several owners, {one} and {other} among them")
            }
            _ => "all Spark outputs of the announcement have one owner".into(),
        },
        Check::FirstExit { earlier: Some(exit) } => {
            format!("the tokens had left Spark before, by exit {} in output {}", exit.exit_id, exit.outpoint)
        }
        Check::FirstExit { earlier: None } if good => "no other exit of the Spark output stood".into(),
        Check::FirstExit { earlier: None } => "the tokens had left Spark before, by another exit".into(),
        Check::UnspentOnSpark { dropped_by: Some(by) } => {
            let (sequence, height) = (by.snapshot_sequence, by.block_height);
            format!(
                "the tokens had been spent on Spark: snapshot {sequence} (block {height}) no longer has them"
            )
        }
        Check::UnspentOnSpark { dropped_by: None } => {
            "when the exit was announced, no snapshot had shown the tokens as spent on Spark".into()
        }
        Check::OutputExists { vout } if good => format!("the announcing transaction has an output {vout}"),
        Check::OutputExists { vout } => format!("the announcing transaction has no output {vout}"),
        Check::OutputFree { .. } => "the output backs no other valid exit of the entity".into(),
        Check::Bond { required_sats, found_sats } => {
            format!("the output holds {found_sats} of the {required_sats} satoshis that the bond takes")
        }
        Check::Script { .. } if good => "the output is locked by the withdrawal script".into(),
        Check::Script { .. } => {
            "the output is not locked by the withdrawal script of the Spark output".into()
        }
        Check::Reinstatement { .. } | Check::Revocation { .. } | Check::Mempool { .. } => {
            taken_back(check, outcome)
        }
        Check::Locktime { .. } | Check::Claim { .. } => claim(check, outcome),
        Check::AnnouncementDepth { depth } => deep("the announcement", depth),
        Check::JudgementDepth { depth } => deep("the judgement of the exit", depth),
        Check::ClaimDepth { depth } => deep("the claim", depth),
        Check::OwnerSignature { .. } => {
            "the owner's signature in the announcement cannot be verified from L1; it decides nothing".into()
        }
        doubt => doubtful(doubt, outcome),
    }
}

fn announced(check: &Check, outcome: Outcome) -> String {
    match check {
        Check::Announced { block_height: Some(height), .. } => {
            format!("a withdrawal announcement in block {height} names the output")
        }
        _ if outcome == Outcome::Wait => {
            "a withdrawal announcement that names the output is in the mempool and in no block yet".into()
        }
        _ => "no withdrawal announcement of a followed entity names the output".into(),
    }
}

fn declaration(check: &Check) -> String {
    let Check::Declaration { declared_by, undeclared, pending_snapshots, .. } = check else {
        return String::new();
    };
    match (undeclared.as_slice(), declared_by) {
        ([], Some(by)) => {
            let (sequence, age) = (by.snapshot_sequence, by.age_blocks);
            let late = if by.after_announcement { ", after the announcement" } else { "" };
            format!("snapshot {sequence} declared the Spark output{late}; it activated {age} blocks ago")
        }
        ([], None) => "the Spark output was declared".into(),
        (undeclared, _) => {
            let missing = outputs(undeclared);
            let pending = pending_snapshots.len();
            format!(
                "no snapshot has declared {missing}; a snapshot of the entity that does would resolve the exit \
                 ({pending} of its snapshots are pending)"
            )
        }
    }
}

fn outputs(ttxos: &[SparkOutPoint]) -> String {
    match ttxos {
        [] => "any Spark output".into(),
        [one] => format!("the Spark output {one}"),
        [first, rest @ ..] => {
            format!("the Spark output {first} and {} others of the announcement", rest.len())
        }
    }
}

fn taken_back(check: &Check, outcome: Outcome) -> String {
    match check {
        Check::Reinstatement { snapshot_sequence: Some(sequence) } => {
            format!("the exit was revoked, and snapshot {sequence} put the tokens back on Spark")
        }
        Check::Reinstatement { snapshot_sequence: None } => {
            "no snapshot has put the tokens back on Spark".into()
        }
        Check::Revocation { spent_by: Some(spend) } => {
            let (txid, height) = (spend.txid, spend.block_height);
            format!("the exit was revoked in block {height}: {txid} spent its output by the key path")
        }
        Check::Revocation { spent_by: None } => "the exit has not been revoked".into(),
        Check::Mempool { .. } if outcome == Outcome::Unknown => {
            "what is in the mempool is not known, or does not belong to the block that was asked for".into()
        }
        Check::Mempool { spent_by: Some(spend) } if outcome == Outcome::Wait => {
            let what = match spend.path {
                SpendPath::Key => "a revocation of the exit",
                SpendPath::Script => "the owner's claim",
            };
            format!("{what}, {}, is in the mempool and in no block yet", spend.txid)
        }
        _ => "the mempool holds no other spend of the output".into(),
    }
}

fn claim(check: &Check, outcome: Outcome) -> String {
    match check {
        Check::Locktime { matures_height, .. } if outcome == Outcome::Pass => {
            format!("the lock ended at height {matures_height}")
        }
        Check::Locktime { blocks, matures_height, blocks_left } => format!(
            "the lock of {blocks} blocks ends at height {matures_height}, in {blocks_left} blocks; \
             the exit can be revoked until the owner has claimed it"
        ),
        Check::Claim { spent_by: Some(spend) } => {
            format!("the owner claimed the output in block {}, by {}", spend.block_height, spend.txid)
        }
        _ => "the owner has not claimed the output; until then the exit can be revoked".into(),
    }
}

fn deep(what: &str, depth: &Depth) -> String {
    let Depth { block_height, confirmations, wanted } = depth;
    format!("{what} (block {block_height}) has {confirmations} confirmations; {wanted} are wanted")
}

/// What the rules leave to the issuer.
fn doubtful(check: &Check, outcome: Outcome) -> String {
    match (check, outcome) {
        (Check::OtherExits { .. }, Outcome::Pass) => "no exit of another entity stands on the output".into(),
        (Check::OtherExits { standing }, _) => {
            format!("exits of other entities stand on the same output ({}): pay one of them", standing.len())
        }
        (Check::LaterDeclaration { .. }, Outcome::Pass) => {
            "no active snapshot that should know of the exit declares the tokens".into()
        }
        (Check::LaterDeclaration { snapshot_sequence: Some(sequence), .. }, _) => format!(
            "the active snapshot {sequence}, anchored after the exit, still declares the tokens: \
             they may be spent on Spark as well"
        ),
        (Check::EarlierSpend { .. }, Outcome::Pass) => {
            "no later snapshot shows the tokens as spent on Spark before the exit confirmed".into()
        }
        (Check::EarlierSpend { dropped_by: Some(by), .. }, _) => format!(
            "snapshot {} speaks of a time before the exit confirmed and no longer has the tokens: \
             they seem to have been spent on Spark first",
            by.snapshot_sequence
        ),
        (Check::Equivocation { snapshot_sequence, of_entity, .. }, Outcome::Pass) => format!(
            "the entity signed one manifest under sequence {snapshot_sequence}; \
             there are {of_entity} equivocations under others"
        ),
        (Check::Equivocation { snapshot_sequence, .. }, _) => format!(
            "the entity signed different manifests under sequence {snapshot_sequence}, \
             on which the exit rests"
        ),
        (Check::Supply { declared, max_supply: Some(max) }, Outcome::Warn) => format!(
            "the entity has declared {declared} base units of the token, and its maximum supply is {max}"
        ),
        (Check::Supply { .. }, Outcome::Pass) => "the entity keeps to the maximum supply of the token".into(),
        (Check::Supply { .. }, _) => "the maximum supply of the token is not known".into(),
        (Check::TokenEntity { creation_entity: Some(key) }, Outcome::Warn) => {
            format!("the token was created under {key}, which is no key of the entity that declares it")
        }
        (Check::TokenEntity { .. }, Outcome::Pass) => {
            "the token was created under a key of the entity".into()
        }
        (Check::TokenEntity { .. }, _) => "the token's identifier names no entity, as far as is known".into(),
        (_, outcome) => outcome.as_str().into(),
    }
}
