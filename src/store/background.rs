//! What the feature `kill-points` adds to the store: kills while RocksDB works in the background, and a
//! record of what was written.
//!
//! RocksDB does not say when it starts to flush or to compact. So the work is asked for here, of all
//! tables, and the process ends once RocksDB counts it as running. Work that was over before it was seen
//! does not count as a window that was reached.

use rocksdb::FlushOptions;
use rocksdb::properties::{NUM_RUNNING_COMPACTIONS, NUM_RUNNING_FLUSHES, PropName};

use super::{Store, family_names};
use crate::kill::{self, Window};

impl Store {
    /// Says what a kill must not lose any more.
    pub(super) fn say_what_is_written(&self) {
        if kill::size(false, true)
            && let Ok(tip) = self.tip()
        {
            eprintln!("{}{}", kill::WRITTEN, tip.map_or("none".into(), |tip| tip.hash.to_string()));
        }
    }

    /// Ends the process in the midst of a flush or a compaction, if it was asked to.
    pub(super) fn kill_in_background(&self) {
        let families = || family_names().into_iter().filter_map(|name| self.db.cf_handle(name));
        if kill::due(Window::Flush) {
            self.kill_while(Window::Flush, NUM_RUNNING_FLUSHES, || {
                // What fails here fails at the next commit too, and is told there.
                let _ = self.db.flush_cfs_opt(&families().collect::<Vec<_>>(), &FlushOptions::default());
            });
        }
        if kill::due(Window::Compaction) {
            self.kill_while(Window::Compaction, NUM_RUNNING_COMPACTIONS, || {
                families().for_each(|family| self.db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>));
            });
        }
    }

    fn kill_while(&self, window: Window, running: &PropName, work: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let worker = scope.spawn(work);
            while !worker.is_finished() {
                if self.db.property_int_value(running).is_ok_and(|running| running > Some(0)) {
                    kill::end(window);
                    break;
                }
            }
        });
    }
}
