//! How long to wait before something that failed is tried again.

use std::time::{Duration, Instant};

/// The shortest and the longest pause.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Without a failure for so long, and for longer than the last pause was, pauses are short again.
const CALM: Duration = Duration::from_secs(10);

/// Pauses that double from one failure to the next, also if there was a short success in between: a source
/// that keeps changing its mind must not flood the log.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    /// The last pause, and when it ended.
    last: Option<(Duration, Instant)>,
}

impl BackOff {
    /// The pause after a failure that happens `now`.
    pub fn next(&mut self, now: Instant) -> Duration {
        let pause = match self.last {
            Some((last, ended)) if now.saturating_duration_since(ended) < last.max(CALM) => {
                (last * 2).min(LONGEST)
            }
            _ => SHORTEST,
        };
        self.last = Some((pause, now + pause));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses, in milliseconds, of failures that come so many milliseconds after the pause before.
    fn pauses(after: &[u64]) -> Vec<u128> {
        let (mut back_off, mut now) = (BackOff::default(), Instant::now());
        let next = |millis: &u64| {
            now += Duration::from_millis(*millis);
            let pause = back_off.next(now);
            now += pause;
            pause.as_millis()
        };
        after.iter().map(next).collect()
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_a_short_success_does_not_reset_them() {
        let doubling = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
        assert_eq!(pauses(&[0; 8]), doubling, "one failure after the other");
        assert_eq!(pauses(&[9_000; 8]), doubling, "with a success of nine seconds in between");
        assert_eq!(pauses(&[10_000; 3]), [500; 3], "calm for long enough");
        assert_eq!(
            pauses(&[0, 0, 0, 0, 0, 0, 15_000, 30_000]),
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 500]
        );
    }
}
