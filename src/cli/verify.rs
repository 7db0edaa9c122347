//! `btkn verify`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::{Failure, run, stop_on_interrupt, write_json};
use crate::config::Config;
use crate::scan::VerifyBlocks;
use crate::store::{Store, StoreError, TEMPORARY};
use crate::sync::status::SyncStatus;
use crate::sync::{Options, Sync};
use crate::verify::{self, Extent, Outcome};

/// Directory of the second state, in the data directory or the one that the user names, after
/// [`TEMPORARY`]. It is emptied and deleted: nobody keeps a database under such a name.
const SCRATCH: &str = "verify";

/// Compares the database with the state that follows from the source.
pub fn verify(config: &Config, scratch_dir: Option<&Path>) -> Result<(), Failure> {
    let stop = stop_on_interrupt()?;
    let stored = Store::open_read_only(&config.data_dir)?;
    stored.must_fit(&config.rules)?;
    let source = run::open_source(config, &stop)?;
    let scratch =
        Scratch::open(scratch_dir.unwrap_or(&config.data_dir).join(format!("{TEMPORARY}{SCRATCH}")), config)?;
    let (status, _) = watch::channel(SyncStatus::starting());
    // Blocks above the tip of the database are taken back at the end, however many the last batch had. Every
    // block is proven in full, however much of it was when the database was made.
    let options = Options { undo_blocks: None, verify_blocks: VerifyBlocks::Full, ..run::options(config) };
    let mut sync = Sync::new(scratch.store.clone(), source, options, status, stop)?;
    let outcome = verify::verify(&stored, &mut sync, &scratch.store);
    drop(sync);
    scratch.remove();
    match outcome? {
        Outcome::Equal(extent) => report(extent, config.json),
        Outcome::Differs(difference) => Err(Failure::Differs(difference)),
        Outcome::Stopped => Err(Failure::StoppedVerifying),
    }
}

fn report(extent: Extent, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if json {
        write_json(&mut out, &extent)?;
        writeln!(out)?;
    } else {
        let Extent { blocks, rows } = extent;
        writeln!(out, "{blocks} blocks and {rows} rows, all as they follow from the source")?;
    }
    Ok(out.flush()?)
}

/// A store for a state that nobody needs afterwards.
struct Scratch {
    dir: PathBuf,
    store: Arc<Store>,
}

impl Scratch {
    /// Makes it, or empties one that was left behind when it was killed.
    fn open(dir: PathBuf, config: &Config) -> Result<Scratch, StoreError> {
        let store = Store::open(&dir, &config.rules)?;
        store.reset(None)?;
        Ok(Scratch { dir, store: Arc::new(store) })
    }

    /// Deletes it. What cannot be deleted is only in the way of the user, who is told.
    fn remove(self) {
        let Scratch { dir, store } = self;
        drop(store);
        if let Err(e) = Store::destroy(&dir) {
            tracing::warn!("{} is of no use any more, but cannot be deleted: {e}", dir.display());
        }
    }
}
