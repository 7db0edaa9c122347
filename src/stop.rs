//! The request to stop, shared by everything that runs for long.
//!
//! Guarantees: a request is never taken back, and everyone who asks after it sees it. It does not
//! interrupt anything: whoever works for long asks often enough to stop within a second.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long a thread that sleeps may go without looking.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A flag that says that the process shall end. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    raised: AtomicBool,
    /// Wakes tasks. Threads that sleep look by themselves.
    waiting: Notify,
}

impl Stop {
    /// A flag that nobody has raised.
    pub fn new() -> Self {
        Stop::default()
    }

    /// Asks everyone who holds a clone to stop.
    pub fn request(&self) {
        self.0.raised.store(true, Ordering::SeqCst);
        self.0.waiting.notify_waiters();
    }

    /// Whether somebody asked to stop.
    pub fn requested(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
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
        let mut notified = pin!(self.0.waiting.notified());
        // From here on a request is not missed.
        notified.as_mut().enable();
        let mut known: Option<Waker> = None;
        poll_fn(|cx| {
            if self.requested() {
                return Poll::Ready(());
            }
            // Tasks that wait for something else as well look here often, and the list of those to be woken
            // has one lock for all.
            if known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            known = Some(cx.waker().clone());
            notified.as_mut().poll(cx)
        })
        .await;
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

    #[tokio::test]
    async fn a_request_wakes_every_task_that_waits_and_holds_up_none_that_comes_later() {
        let stop = Stop::new();
        let waiters: Vec<_> = (0..3).map(|_| stop.clone()).collect();
        let waiters: Vec<_> =
            waiters.into_iter().map(|stop| tokio::spawn(async move { stop.wait().await })).collect();
        tokio::task::yield_now().await;
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        stop.request();
        for waiter in waiters {
            let ended = tokio::time::timeout(Duration::from_secs(10), waiter).await;
            ended.expect("it is woken").expect("it does not panic");
        }
        stop.wait().await;
    }
}
