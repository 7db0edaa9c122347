//! What can go wrong with the store, and what a user should do about it.
//!
//! RocksDB tells its errors as text alone. What a user can do something about is recognised by the words
//! of the system and of RocksDB in it; the text itself stays in every message, because it names the file.

use std::path::{Path, PathBuf};

use rocksdb::ErrorKind;

use super::identity::IdentityError;
use crate::ledger::ReadError;
use crate::protocol::Height;

/// Why the store could not do something. Its data are as they were before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory holds something else.
    #[error("{0} is not empty and holds no btkn database; choose another --data-dir, or an empty one")]
    Foreign(PathBuf),
    /// There is nothing to read.
    #[error("{0} holds no btkn database yet; run `btkn sync` first, or correct --data-dir")]
    Missing(PathBuf),
    /// Another process has it open.
    #[error(
        "the database in {0} is in use by another btkn process; stop that one, or choose another --data-dir"
    )]
    Locked(PathBuf),
    /// It was made with another configuration.
    #[error("the database in {path} does not fit: {source}")]
    Identity {
        /// The data directory.
        path: PathBuf,
        /// What differs.
        source: IdentityError,
    },
    /// A newer version made it.
    #[error(
        "the database in {path} does not fit: it holds tables that this version of btkn does not know \
         ({reason}); use the version that made it, or a newer one"
    )]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// What RocksDB said, with the names of the tables.
        reason: String,
    },
    /// There is no room on the disk, or no more is allowed.
    #[error(
        "there is no room for the database in {path}: {reason}. Every block applied so far is kept; make room \
         and start btkn again, and it goes on from there"
    )]
    Full {
        /// The data directory.
        path: PathBuf,
        /// What RocksDB or the system said.
        reason: String,
    },
    /// The system does not let this user read or write it.
    #[error(
        "the database in {path} cannot be used: {reason}. Let the user that runs btkn read and write this \
         directory and everything in it, and start btkn again; nothing is lost"
    )]
    Denied {
        /// The data directory.
        path: PathBuf,
        /// What RocksDB or the system said.
        reason: String,
    },
    /// A file is missing, or does not hold what was written to it.
    #[error("the database in {path} is damaged: {reason}. {REBUILD}")]
    Damaged {
        /// The data directory.
        path: PathBuf,
        /// What RocksDB or the system said.
        reason: String,
    },
    /// An older one is kept already.
    #[error(
        "{0} is there already, set aside by an earlier --rebuild: start btkn without --rebuild; or, to rebuild \
         once more, remove that directory or move it away first"
    )]
    Aside(PathBuf),
    /// RocksDB or the file system failed.
    #[error("the database in {path} failed: {reason}")]
    Failed {
        /// The data directory.
        path: PathBuf,
        /// What RocksDB or the system said.
        reason: String,
    },
    /// What is stored cannot be read or does not decode.
    #[error("the database is damaged: {0}. {REBUILD}")]
    Read(#[from] ReadError),
    /// A block cannot be taken back.
    #[error("the database is damaged: the undo record of block {0} is missing. {REBUILD}")]
    NoUndo(Height),
}

/// Why the state after a block cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum HeightError {
    /// There is no such block yet.
    #[error("block {height} is not applied; the last one is {}", tip.map_or("none".into(), |tip| tip.to_string()))]
    Above {
        /// What was asked for.
        height: Height,
        /// The last applied block.
        tip: Option<Height>,
    },
    /// The database starts later.
    #[error("block {height} is below the start height, {start}: nothing is known of the state there")]
    BeforeStart {
        /// What was asked for.
        height: Height,
        /// The first block.
        start: Height,
    },
    /// What it takes was dropped, because somebody asked to keep less.
    #[error(
        "the state after block {height} is not kept any more; the oldest that is kept is that after block {oldest}"
    )]
    Forgotten {
        /// What was asked for.
        height: Height,
        /// The lowest that can be read.
        oldest: Height,
    },
    /// The store failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What to do about damage.
const REBUILD: &str = "Put a good copy of the whole directory in its place, or start `btkn sync` or `btkn run` \
    once with --rebuild: that keeps the damaged database as db.old and recovers the state from the blocks";

impl StoreError {
    /// What an error of RocksDB means to a user.
    pub(super) fn of_rocksdb(data_dir: &Path, e: rocksdb::Error) -> Self {
        let (path, kind, reason) = (PathBuf::from(data_dir), e.kind(), e.into_string());
        let says = |words: &[&str]| words.iter().any(|words| reason.contains(words));
        // The lock of another process, or of this one; a lock file that cannot be opened is another matter.
        if says(&["While lock file", "lock hold by current process"]) {
            return StoreError::Locked(path);
        }
        if says(&["Column families not opened"]) {
            return StoreError::Newer { path, reason };
        }
        // A first start makes the tables one by one; one that was killed leaves some, and no block.
        if says(&["Column family not found"]) {
            return StoreError::Missing(path);
        }
        // Also where RocksDB, which stopped over it, says later that it has stopped.
        if says(&["No space left on device", "Disk quota exceeded", "File too large"]) {
            return StoreError::Full { path, reason };
        }
        if says(&["Permission denied", "Read-only file system", "Operation not permitted"]) {
            return StoreError::Denied { path, reason };
        }
        if says(&["Too many open files"]) {
            let reason = format!("{reason}. Raise the limit of open files (ulimit -n)");
            return StoreError::Failed { path, reason };
        }
        if kind == ErrorKind::Corruption || says(&["No such file or directory", "Input/output error"]) {
            return StoreError::Damaged { path, reason };
        }
        StoreError::Failed { path, reason }
    }

    /// What an error of the file system means to a user.
    pub(super) fn of_system(data_dir: &Path, e: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let (path, reason) = (PathBuf::from(data_dir), e.to_string());
        match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                StoreError::Full { path, reason }
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                StoreError::Denied { path, reason }
            }
            _ => StoreError::Failed { path, reason },
        }
    }

    /// Whether the next try to open the database beside a writer may go better: a file that was listed may
    /// be gone by the time it is opened.
    pub(super) fn may_pass_beside_a_writer(&self) -> bool {
        matches!(self, StoreError::Failed { .. } | StoreError::Damaged { .. })
    }
}
