//! Points at which a test can make the process kill itself, to see that nothing is lost by it.
//!
//! In an ordinary build nothing of this is left: [`at`] is empty, [`size`] is its first argument, and no
//! variable is read. With the feature `kill-points`, which no release has,
//!
//! - `BTKN_KILL=window:nth` sends the process a SIGKILL when it reaches the [`Window`] of that name for
//!   the nth time (from 1 on);
//! - `BTKN_KILL=window:nth:delay_us` sends it so many microseconds after that, while the work goes on: that
//!   is how one is killed inside a write, or while a log is recovered;
//! - `BTKN_KILL_SMALL=true` takes small buffers, files and batches, so that a chain of a few hundred
//!   blocks makes RocksDB flush and compact as years of blocks do otherwise.
//!
//! What is about to happen is written to standard error, as a line that starts with [`MARK`].

/// What the line on standard error begins with; the name of the window follows.
pub const MARK: &str = "kill point ";

/// What a line on standard error begins with that says what was just written, once small sizes were asked
/// for: the hash of the last applied block, or `none`. A kill that comes later must not lose it.
pub const WRITTEN: &str = "kill point: written ";

macro_rules! windows {
    ($($(#[$doc:meta])* $name:ident $text:literal)+) => {
        /// A moment at which a kill is worth a test.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Window {
            $($(#[$doc])* $name,)+
        }

        impl Window {
            /// All of them, in the order in which a process reaches them.
            pub const ALL: &[Window] = &[$(Window::$name),+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Window::$name => $text,)+
                }
            }
        }
    };
}

windows! {
    /// A new database was made under its unfinished name, and is empty.
    CreateEmpty "create.empty"
    /// A new database is complete, and does not have its name yet.
    CreateNamed "create.rename"
    /// A database is about to be opened: RocksDB recovers what its log holds.
    OpenBefore "open.before"
    /// A database is open; it was recovered, and tables that it lacked were made.
    OpenRecovered "open.recovered"
    /// The identity was written again.
    OpenDone "open.done"
    /// A block was fetched.
    BlockFetched "block.fetched"
    /// A block was scanned.
    BlockScanned "block.scanned"
    /// A block was applied in memory.
    BlockApplied "block.applied"
    /// A run of blocks is ready to be written.
    CommitBefore "commit.before"
    /// A part of a big block was written; the next one follows.
    CommitStep "commit.step"
    /// A run of blocks was written.
    CommitAfter "commit.after"
    /// Everybody knows of a run of blocks; the next run of the same batch, or another batch, follows.
    RunDone "run.done"
    /// A block is to be taken back.
    UndoBefore "undo.before"
    /// A part of a big block was taken back; the next one follows.
    UndoStep "undo.step"
    /// What takes a block back is ready to be written.
    UndoWrite "undo.write"
    /// A block was taken back in the database.
    UndoAfter "undo.after"
    /// A block was taken back, and everybody knows; the next one follows.
    UndoNext "undo.next"
    /// All blocks of a stale branch were taken back; nothing of the better one was applied.
    UndoDone "undo.done"
    /// Undo records that are not kept any more are to be dropped.
    ForgetWrite "forget.write"
    /// They were dropped.
    ForgetAfter "forget.after"
    /// All blocks are to be dropped.
    ResetWrite "reset.write"
    /// All blocks were dropped.
    ResetDone "reset.done"
    /// RocksDB writes rows from memory to files.
    Flush "flush"
    /// RocksDB merges files.
    Compaction "compaction"
    /// The log is to be written to the disk before a clean end.
    EndBefore "end.before"
    /// The log was written to the disk before a clean end.
    EndAfter "end.after"
    /// The tip was reached and a new block is waited for.
    Waiting "follow.waiting"
}

#[cfg(not(feature = "kill-points"))]
mod points {
    use super::Window;

    /// Nothing, without the feature `kill-points`.
    #[inline(always)]
    pub fn at(_window: Window) {}

    /// The first argument, without the feature `kill-points`.
    #[inline(always)]
    pub const fn size<T: Copy>(usual: T, _small: T) -> T {
        usual
    }
}

#[cfg(feature = "kill-points")]
mod points {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::{MARK, Window};

    /// When to end.
    struct Plan {
        window: Window,
        nth: u64,
        delay: Option<Duration>,
        reached: AtomicU64,
    }

    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| {
        let text = std::env::var("BTKN_KILL").ok()?;
        let plan = parse(&text);
        if plan.is_none() {
            eprintln!("BTKN_KILL must be window:nth or window:nth:delay_us, not {text}");
            std::process::exit(2);
        }
        plan
    });

    static SMALL: LazyLock<bool> =
        LazyLock::new(|| std::env::var("BTKN_KILL_SMALL").is_ok_and(|v| v == "true"));

    fn parse(text: &str) -> Option<Plan> {
        let mut parts = text.split(':');
        let name = parts.next()?;
        let window = *Window::ALL.iter().find(|window| window.name() == name)?;
        let nth = parts.next()?.parse().ok()?;
        let delay = match parts.next() {
            Some(delay) => Some(Duration::from_micros(delay.parse().ok()?)),
            None => None,
        };
        Some(Plan { window, nth, delay, reached: AtomicU64::new(0) })
    }

    /// Ends the process here, or a while later, if it was asked to.
    pub fn at(window: Window) {
        if due(window) {
            end(window);
        }
    }

    /// Whether the process is to end at this window, now that it is reached once more.
    pub fn due(window: Window) -> bool {
        let Some(plan) = PLAN.as_ref().filter(|plan| plan.window == window) else { return false };
        let reached = plan.reached.fetch_add(1, Ordering::Relaxed) + 1;
        plan.nth == reached
    }

    /// Ends the process, or lets a thread end it a while later.
    pub fn end(window: Window) {
        let delay = PLAN.as_ref().and_then(|plan| plan.delay);
        eprintln!("{MARK}{}", window.name());
        match delay {
            None => die(),
            Some(delay) => {
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    die();
                });
            }
        }
    }

    fn die() -> ! {
        // A signal to oneself arrives before the call returns.
        let _ = kill(Pid::this(), Signal::SIGKILL);
        std::process::abort()
    }

    /// The second argument if small sizes were asked for.
    pub fn size<T: Copy>(usual: T, small: T) -> T {
        if *SMALL { small } else { usual }
    }
}

pub use points::*;
