//! The request to stop, shared by everything that runs for long.
//!
//! Guarantees: a request is never taken back, and everyone who asks after it sees it. It does not
//! interrupt anything: whoever works for long asks often enough to stop within a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a sleeper may go without looking.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A flag that says that the process shall end. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that nobody has raised.
    pub fn new() -> Self {
        Stop::default()
    }

    /// Asks everyone who holds a clone to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Blocks the thread for `time`, or until a stop is requested; says whether it is.
    pub fn sleep(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if self.requested() || left.is_zero() {
                return self.requested();
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }

    /// Completes when a stop is requested.
    pub async fn wait(&self) {
        while !self.requested() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_every_clone_and_ends_a_sleep() {
        let stop = Stop::new();
        let sleeper = stop.clone();
        assert!(!sleeper.sleep(Duration::from_millis(1)));
        let started = Instant::now();
        let thread = std::thread::spawn(move || sleeper.sleep(Duration::from_secs(60)));
        stop.request();
        assert!(thread.join().expect("the sleeper does not panic"));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
