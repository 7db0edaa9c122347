//! Whether answers are those of the best chain, without anyone having to know what is normal.

use std::time::{Duration, Instant};

use super::error::{ApiError, Code};
use crate::ledger::records::TipRecord;
use crate::sync::status::{Phase, SyncStatus};

/// How long the source of blocks may be silent, or of no use.
const SILENCE: Duration = Duration::from_secs(180);

/// Seconds after which it is worth asking again.
const RETRY_AFTER: u32 = 10;

/// Red, by name, unless the state is that of the best chain as it was a short while ago.
///
/// That a chain has no new block for long is no fault of this process; that its source stays silent is,
/// and so is a tip that stays behind it, which leaves the phase of following.
pub fn check(sync: &SyncStatus, tip: Option<&TipRecord>, now: Instant) -> Result<(), ApiError> {
    let not_ready = |code, message: String| Err(ApiError::retry(code, message, RETRY_AFTER));
    let problem = sync.problem.as_deref().unwrap_or("see the log");
    let close = tip.is_some_and(|tip| sync.close(tip.height));
    match sync.phase {
        Phase::Starting => not_ready(Code::Starting, format!("waiting for the source of blocks: {problem}")),
        Phase::CatchingUp if !close => {
            let why = sync.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
            not_ready(Code::CatchingUp, format!("blocks of the best chain are still to be applied{why}"))
        }
        Phase::Reorganising => {
            not_ready(Code::Reorganising, "blocks that left the best chain are being undone".into())
        }
        Phase::Failed => not_ready(Code::SyncFailed, format!("synchronisation gave up: {problem}")),
        Phase::Following if tip.is_none() => {
            not_ready(Code::NoBlocks, "the best chain does not reach the start height yet".into())
        }
        Phase::Following | Phase::CatchingUp => match sync.heard {
            Some(heard) if now.saturating_duration_since(heard) <= SILENCE => match sync.stuck {
                Some(since) if now.saturating_duration_since(since) > SILENCE => {
                    not_ready(Code::Stuck, format!("synchronisation does not get on: {problem}"))
                }
                _ => Ok(()),
            },
            _ => not_ready(Code::SourceSilent, format!("the source of blocks does not answer: {problem}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash;

    use super::*;
    use crate::chain::BlockId;
    use crate::protocol::{Height, StateHash};
    use crate::sync::status::CLOSE;

    #[test]
    fn names_every_reason_not_to_be_ready() {
        let now = Instant::now();
        let tip = TipRecord {
            height: Height(1),
            hash: BlockHash::all_zeros(),
            time: 0,
            state_hash: StateHash::MIN,
        };
        let status = |phase, heard| SyncStatus { phase, heard, ..SyncStatus::starting() };
        let behind = |blocks| {
            let source_tip = Some(BlockId { height: Height(1 + blocks), hash: BlockHash::all_zeros() });
            SyncStatus { source_tip, ..status(Phase::CatchingUp, Some(now)) }
        };
        let late = now + SILENCE + Duration::from_secs(1);
        let cases = [
            (status(Phase::Following, Some(now)), Some(&tip), now, None),
            (status(Phase::Following, Some(now)), Some(&tip), late, Some(Code::SourceSilent)),
            (status(Phase::Following, None), Some(&tip), now, Some(Code::SourceSilent)),
            (status(Phase::Following, Some(now)), None, now, Some(Code::NoBlocks)),
            (status(Phase::Starting, None), None, now, Some(Code::Starting)),
            (behind(CLOSE), Some(&tip), now, None),
            (behind(CLOSE + 1), Some(&tip), now, Some(Code::CatchingUp)),
            (behind(CLOSE), Some(&tip), late, Some(Code::SourceSilent)),
            (SyncStatus { stuck: Some(now), ..behind(1) }, Some(&tip), now, None),
            (
                SyncStatus { stuck: Some(now), heard: Some(late), ..behind(1) },
                Some(&tip),
                late,
                Some(Code::Stuck),
            ),
            (behind(CLOSE), None, now, Some(Code::CatchingUp)),
            (status(Phase::Reorganising, Some(now)), Some(&tip), now, Some(Code::Reorganising)),
            (status(Phase::Failed, Some(now)), Some(&tip), now, Some(Code::SyncFailed)),
        ];
        for (sync, tip, now, code) in cases {
            assert_eq!(check(&sync, tip, now).err().map(|error| error.code), code, "{sync:?}");
        }
    }
}
