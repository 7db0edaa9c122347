//! RocksDB options, each with its reason.
//!
//! Memory: blocks that were read, their indexes and filters, and rows that are not in files yet, together
//! take about [`MEMORY`] bytes, however many tables and rows there are. On top of it come rows that are
//! being written to files (at most [`WRITE_BUFFERS`] again), and what a merge of files reads ahead.
//!
//! Crashes: every write is one record of the log, and is on the disk before it returns. A process that is
//! killed loses nothing that was committed; so does a machine that loses power, unless its disk lies. What
//! a disk that lies or fails leaves of the log is read up to the first damage: a state that some block
//! left, from which the next start goes on.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options,
    SliceTransform, WriteBufferManager, WriteOptions,
};

use super::history::{self, HISTORY};
use crate::kill;
use crate::ledger::tables::{Declared, Table};

/// Bytes of memory for blocks of files and for rows that are not in files yet, of all tables together.
const MEMORY: usize = 192 << 20;

/// The part of [`MEMORY`] that rows may take before they are written to files.
const WRITE_BUFFERS: usize = 64 << 20;

/// Levels of files that RocksDB has unless it is told otherwise.
const LEVELS: usize = 7;

/// What RocksDB has for the window of a compressor unless it is told otherwise.
const DEFAULT_WINDOW: i32 = -14;

/// The fastest.
const ZSTD_LEVEL: i32 = 1;

/// Memory that all tables share.
pub(super) struct Shared {
    cache: Cache,
    buffers: WriteBufferManager,
}

impl Shared {
    pub fn new() -> Self {
        let cache = Cache::new_lru_cache(MEMORY);
        // Each table has buffers of its own, which add up to gigabytes if every one may fill. Counted
        // together, and towards the cache, they cannot. Writers are not held up at the limit: a reader may
        // keep a buffer in memory, and must not be able to stop the only writer.
        let limit = kill::size(WRITE_BUFFERS, 256 << 10);
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(limit, false, cache.clone());
        Shared { cache, buffers }
    }
}

/// Options of the database as a whole.
pub(super) fn database(shared: &Shared) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_write_buffer_manager(&shared.buffers);
    // A log is replayed up to the first record that is torn or damaged, and what follows is dropped: the
    // blocks are applied again. The stricter modes refuse to open after a power failure that left rubbish
    // behind the last good record, and all that a user could do is delete the database.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // Tables refer to each other: their files tell of the same moment, or dropping the rest of a damaged
    // log would leave some of them ahead of the others.
    options.set_atomic_flush(true);
    // Below the usual limit of 1,024 open files, with room for sockets and block files.
    options.set_max_open_files(256);
    // What a start may have to replay, should the buffers not fill for long.
    options.set_max_total_wal_size(128 << 20);
    // One flush and one merge at a time beside the writer: the scan of blocks needs the cores.
    options.increase_parallelism(2);
    // A merge reads ahead in every file that it merges, some dozens; the default of 2 MB takes more memory
    // than everything else.
    options.set_compaction_readahead_size(512 << 10);
    // The info log is for developers of RocksDB; without a limit it grows for ever.
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(8 << 20);
    options
}

/// Options to read beside a process that writes.
pub(super) fn read_only(shared: &Shared) -> Options {
    let mut options = database(shared);
    // Opens every file at once: what is open stays readable when the writer deletes it.
    options.set_max_open_files(-1);
    options
}

/// Options of every write that counts.
pub(super) fn write() -> WriteOptions {
    let mut options = WriteOptions::default();
    // To the disk before it returns. A kill needs this not: what is handed to the system survives it. A
    // power failure does, for the system writes pages of the log in any order, and RocksDB steps over a
    // page of zeros without a word. One such write for a run of blocks costs next to nothing.
    options.set_sync(true);
    options
}

/// Options of a step of a big block that others follow. It is not in the log: all of the steps are in
/// files before the last one is written. Tables are flushed together, so that what a kill leaves of the
/// steps is a beginning of them.
pub(super) fn write_step() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// The column families with their options, from their names and the lengths of their groups.
pub(super) fn families(families: &[(&str, usize)], shared: &Shared) -> Vec<ColumnFamilyDescriptor> {
    let options = |name, group| {
        let mut options = family(&shared.cache);
        if group > 0 {
            // Most files have nothing of the owner or the output whose rows are looked for: filters know.
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(group));
        }
        if name == Declared::NAME {
            // Hashes by hashes: there is nothing to compress, and every delta reads all of them.
            options.set_compression_per_level(&[DBCompressionType::None; LEVELS]);
            options.set_bottommost_compression_type(DBCompressionType::None);
        }
        if name == HISTORY {
            // Reading at a height asks for the history of rows that mostly have none: a filter knows.
            options.set_prefix_extractor(history::prefixes());
        }
        options
    };
    families.iter().map(|(name, group)| ColumnFamilyDescriptor::new(*name, options(*name, *group))).collect()
}

fn family(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    // One cache for all tables, so that memory does not grow with their number.
    table.set_block_cache(cache);
    // Most look-ups of a snapshot are for TTXOs that were never seen before: a filter answers them.
    table.set_bloom_filter(10.0, false);
    // Index and filters count towards the cache, so that memory is bounded.
    table.set_cache_index_and_filter_blocks(true);
    // Those of the newest files are used by every look-up.
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // With checksums that also notice blocks which stand in another place than where they were written.
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    // Rows that are new are soon merged again; on the way down, what costs next to nothing.
    let mut levels = [DBCompressionType::Lz4; LEVELS];
    levels[0] = DBCompressionType::None;
    options.set_compression_per_level(&levels);
    // Rows at the bottom are the bulk and the coldest. Keys and hashes compress badly, at any level.
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_bottommost_compression_options(DEFAULT_WINDOW, ZSTD_LEVEL, 0, 0, true);
    // Eight new files are merged at once, not four: a big block makes many, and each merge writes the bottom
    // of its table anew. A look-up passes by the files by their filters.
    options.set_level_zero_file_num_compaction_trigger(8);
    // The most that one table may hold of the common limit: half of it, so that one can fill while
    // another is written.
    options.set_write_buffer_size(kill::size(WRITE_BUFFERS / 2, 64 << 10));
    // One that fills and one that is written to a file; then the writer waits for the disk.
    options.set_max_write_buffer_number(2);
    #[cfg(feature = "kill-points")]
    small_files(&mut options);
    options
}

/// Files so small that a few hundred blocks make RocksDB merge them, where small sizes were asked for.
#[cfg(feature = "kill-points")]
fn small_files(options: &mut Options) {
    if kill::size(false, true) {
        options.set_level_zero_file_num_compaction_trigger(2);
        options.set_target_file_size_base(16 << 10);
        options.set_max_bytes_for_level_base(32 << 10);
    }
}
