//! The state on disk: RocksDB, one column family for each table, one atomic write for each block or run
//! of blocks.
//!
//! Guarantees: what [`Store::commit`] wrote is there as a whole or not at all, whatever kills the process;
//! the undo record of every block, and the values that it replaced, are written with the block, and kept
//! unless somebody asks to forget them; a [`StoreView`] never sees half a block, and shows the state after
//! any block that is not forgotten; a database of another format, or with blocks of another network, start
//! height or list of entities, is refused before anything is changed. Rules live in `ledger/`; nothing here
//! knows what a row means.

mod audit;
#[cfg(feature = "kill-points")]
mod background;
mod cache;
mod changes;
mod codec;
mod commit;
mod damage;
mod error;
mod figures;
mod history;
mod identity;
mod idle;
mod options;
mod retention;
mod stale;
mod undo;
mod unfinished;
mod view;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::time::Duration;

use rocksdb::{ColumnFamily, DB, WriteBatch};
use tokio::sync::watch;

use crate::kill::{self, Window};
use crate::ledger::keys::{KeyPart, Only};
use crate::ledger::records::TipRecord;
use crate::ledger::tables::{self, Table, TableVisitor, Tip};
use crate::ledger::{Rules, View};
use crate::protocol::Height;

use cache::CACHE;
use history::HISTORY;
use stale::STALE;
use undo::UNDO;

pub use audit::Kept;
pub use cache::CacheRow;
pub use error::{HeightError, StoreError};
pub use identity::{FORMAT, IdentityError};
pub use stale::StaleBlock;
pub use view::{Moment, StoreView};

/// Directory of the database in the data directory.
const DATABASE: &str = "db";

/// Its name until it is complete.
const UNFINISHED: &str = "db.new";

/// What the names of temporary directories begin with that commands make in a data directory. A kill can
/// leave one behind.
pub const TEMPORARY: &str = "btkn-";

/// How often, and with which pause in between, opening is tried beside a writer.
const READ_TRIES: u32 = 10;
const READ_PAUSE: Duration = Duration::from_millis(100);

/// The state on disk.
pub struct Store {
    db: DB,
    data_dir: PathBuf,
    rules: Rules,
    writes: watch::Sender<u64>,
    /// The block that is there in part.
    unfinished: RwLock<Option<Height>>,
}

impl Store {
    /// Opens the database in `data_dir` for these rules, or makes one where there is nothing yet. One that
    /// was made for other rules and holds no block yet is taken over.
    pub fn open(data_dir: &Path, rules: &Rules) -> Result<Store, StoreError> {
        let db_dir = data_dir.join(DATABASE);
        if holds_database(data_dir)? {
            let stored = beside_a_writer(data_dir, read_identity)?;
            if let Err(source) = identity::compare(&stored, rules)
                && has_blocks(data_dir)
            {
                return Err(StoreError::Identity { path: data_dir.into(), source });
            }
        } else {
            create(data_dir, rules)?;
        }
        kill::at(Window::OpenBefore);
        let shared = options::Shared::new();
        let families = options::families(&all_families(), &shared);
        let db = DB::open_cf_descriptors(&options::database(&shared), &db_dir, families)
            .map_err(|e| StoreError::of_rocksdb(data_dir, e))?;
        kill::at(Window::OpenRecovered);
        let store = Store::new(db, data_dir, rules.clone())?;
        store.clear_unfinished()?;
        // Written at every start: the names of entities are for people and may have changed.
        let mut batch = WriteBatch::default();
        batch.put(identity::KEY, identity::encode(rules));
        store.write(batch)?;
        kill::at(Window::OpenDone);
        Ok(store)
    }

    fn new(db: DB, data_dir: &Path, rules: Rules) -> Result<Store, StoreError> {
        let unfinished = RwLock::new(unfinished::load(&db)?);
        Ok(Store { db, data_dir: data_dir.into(), rules, writes: watch::Sender::new(0), unfinished })
    }

    /// Opens the database in `data_dir` to read it, also while another process writes to it. Shows the
    /// state as of now.
    pub fn open_read_only(data_dir: &Path) -> Result<Store, StoreError> {
        if !holds_database(data_dir)? {
            return Err(StoreError::Missing(data_dir.into()));
        }
        beside_a_writer(data_dir, open_to_read)
    }

    /// Refuses a database that was made for other rules.
    pub fn must_fit(&self, rules: &Rules) -> Result<(), StoreError> {
        identity::compare(&self.rules, rules)
            .map_err(|source| StoreError::Identity { path: self.data_dir.clone(), source })
    }

    /// Deletes the database in `data_dir`, which nobody has open, and the directory if nothing else is there.
    pub fn destroy(data_dir: &Path) -> Result<(), StoreError> {
        let db_dir = data_dir.join(DATABASE);
        DB::destroy(&rocksdb::Options::default(), &db_dir)
            .map_err(|e| StoreError::of_rocksdb(data_dir, e))?;
        let _ = std::fs::remove_dir(db_dir);
        // Not empty if the user keeps something else there.
        let _ = std::fs::remove_dir(data_dir);
        Ok(())
    }

    /// What the database was made for.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The state as of the last commit.
    pub fn view(&self) -> StoreView<'_> {
        StoreView::new(self)
    }

    /// Which moment a view would show that were taken now. To ask for it costs next to nothing; a view of its
    /// own makes each reader wait for a lock of the database, twice.
    pub fn moment(&self) -> Moment {
        self.with_unfinished(|before| Moment { sequence: self.db.latest_sequence_number(), before })
    }

    /// The last applied block.
    pub fn tip(&self) -> Result<Option<TipRecord>, StoreError> {
        Ok(self.view().get::<Tip>(&Only)?)
    }

    /// Counts what is written from here on: whoever waits for another tip is woken by it, and looks.
    pub fn writes(&self) -> watch::Receiver<u64> {
        self.writes.subscribe()
    }

    /// Makes sure that everything is on the disk; called before a clean end.
    pub fn flush(&self) -> Result<(), StoreError> {
        kill::at(Window::EndBefore);
        self.db.flush_wal(true).map_err(|e| self.failed(e))?;
        kill::at(Window::EndAfter);
        Ok(())
    }

    /// Every write that counts goes through here: all of it or nothing, and on the disk when this returns.
    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.db.write_opt(batch, &options::write()).map_err(|e| self.failed(e))?;
        self.writes.send_modify(|writes| *writes += 1);
        Ok(())
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, StoreError> {
        Ok(view::family(&self.db, name)?)
    }

    /// All column families.
    fn families(&self) -> impl Iterator<Item = Result<&ColumnFamily, StoreError>> {
        family_names().into_iter().map(|name| self.family(name))
    }

    fn failed(&self, e: rocksdb::Error) -> StoreError {
        StoreError::of_rocksdb(&self.data_dir, e)
    }
}

/// Makes a database that holds its identity and nothing else. It gets its name once it is complete, so
/// that the next start goes on where one that was killed ended, whenever that was.
fn create(data_dir: &Path, rules: &Rules) -> Result<(), StoreError> {
    let failed = |e: std::io::Error| StoreError::of_system(data_dir, &e);
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    for entry in std::fs::read_dir(data_dir).map_err(failed)? {
        if !is_ours(&entry.map_err(failed)?.file_name()) {
            return Err(StoreError::Foreign(data_dir.into()));
        }
    }
    let unfinished = data_dir.join(UNFINISHED);
    let db = DB::open(&options::database(&options::Shared::new()), &unfinished)
        .map_err(|e| StoreError::of_rocksdb(data_dir, e))?;
    kill::at(Window::CreateEmpty);
    db.put_opt(identity::KEY, identity::encode(rules), &options::write())
        .map_err(|e| StoreError::of_rocksdb(data_dir, e))?;
    drop(db);
    kill::at(Window::CreateNamed);
    std::fs::rename(unfinished, data_dir.join(DATABASE)).map_err(failed)
}

/// Whether something in a data directory without a database is no reason not to make one there.
fn is_ours(name: &OsStr) -> bool {
    name == UNFINISHED || name == damage::ASIDE || name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

/// Whether there is a database, good or damaged. One that lacks its first file is not taken for none.
fn holds_database(data_dir: &Path) -> Result<bool, StoreError> {
    let db_dir = data_dir.join(DATABASE);
    if db_dir.join("CURRENT").exists() {
        return Ok(true);
    }
    match std::fs::read_dir(&db_dir).map(|mut entries| entries.next()) {
        Ok(Some(_)) => {
            let reason = format!("{} is missing", db_dir.join("CURRENT").display());
            Err(StoreError::Damaged { path: data_dir.into(), reason })
        }
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(StoreError::of_system(data_dir, &e))
        }
        _ => Ok(false),
    }
}

/// Whether the database holds anything but its identity: a first start with a mistake in its options ends
/// before it does, and the next one, without the mistake, must not have to clear it away. In doubt, it does.
fn has_blocks(data_dir: &Path) -> bool {
    let tip = beside_a_writer(data_dir, open_to_read).and_then(|store| store.tip());
    !matches!(tip, Ok(None) | Err(StoreError::Missing(_)))
}

/// Reads what somebody else may be writing to, and tries again where the writer got in between: it may
/// delete a file between the moment its list is read and the moment it is opened, which is no damage. And
/// RocksDB reads the list of files first and the logs after it: rows of a log that went away in between are
/// in a file which that list does not name, and would be missing. Logs go oldest first, so if those that
/// were there before are still there, all are.
fn beside_a_writer<T>(
    data_dir: &Path,
    read: impl Fn(&Path) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut tries = 1;
    loop {
        let logs_before = logs(data_dir)?;
        let mut outcome = read(data_dir);
        if !logs_before.is_subset(&logs(data_dir)?) {
            let reason = "its log was written to a file while it was opened to read; try again".into();
            outcome = Err(StoreError::Failed { path: data_dir.into(), reason });
        }
        match outcome {
            Err(e) if e.may_pass_beside_a_writer() && tries < READ_TRIES => std::thread::sleep(READ_PAUSE),
            outcome => return outcome,
        }
        tries += 1;
    }
}

fn open_to_read(data_dir: &Path) -> Result<Store, StoreError> {
    let rules = read_identity(data_dir)?;
    let shared = options::Shared::new();
    let families = options::families(&all_families(), &shared);
    let options = options::read_only(&shared);
    let db = DB::open_cf_descriptors_read_only(&options, data_dir.join(DATABASE), families, false)
        .map_err(|e| StoreError::of_rocksdb(data_dir, e))?;
    Store::new(db, data_dir, rules)
}

/// The names of the write-ahead logs.
fn logs(data_dir: &Path) -> Result<BTreeSet<OsString>, StoreError> {
    let failed = |e: std::io::Error| StoreError::of_system(data_dir, &e);
    let mut logs = BTreeSet::new();
    for entry in std::fs::read_dir(data_dir.join(DATABASE)).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "log") {
            logs.insert(name);
        }
    }
    Ok(logs)
}

fn read_identity(data_dir: &Path) -> Result<Rules, StoreError> {
    // Only the default column family is opened: a newer format may have others.
    let options = options::database(&options::Shared::new());
    let db = DB::open_for_read_only(&options, data_dir.join(DATABASE), false)
        .map_err(|e| StoreError::of_rocksdb(data_dir, e))?;
    let bytes = db.get(identity::KEY).map_err(|e| StoreError::of_rocksdb(data_dir, e))?;
    let bytes = bytes.ok_or_else(|| StoreError::Foreign(data_dir.into()))?;
    identity::decode(&bytes).map_err(|source| match source {
        IdentityError::Unreadable(_) => {
            StoreError::Damaged { path: data_dir.into(), reason: source.to_string() }
        }
        source => StoreError::Identity { path: data_dir.into(), source },
    })
}

fn family_names() -> Vec<&'static str> {
    all_families().into_iter().map(|(name, _)| name).collect()
}

/// Every column family by name, with the length of what keys of a group have in common; see
/// [`KeyPart::GROUP`].
fn all_families() -> Vec<(&'static str, usize)> {
    struct Families(Vec<(&'static str, usize)>);
    impl TableVisitor for Families {
        type Error = std::convert::Infallible;

        fn table<T: Table>(&mut self) -> Result<(), Self::Error> {
            self.0.push((T::NAME, T::Key::GROUP));
            Ok(())
        }
    }
    let others = [rocksdb::DEFAULT_COLUMN_FAMILY_NAME, UNDO, HISTORY, CACHE, STALE];
    let mut families = Families(others.map(|name| (name, 0)).to_vec());
    match tables::visit_tables(&mut families) {
        Ok(()) => families.0,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unfinished_tests;
