//! RocksDB options, each with its reason.

use crate::kill;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options};

/// Bytes of memory for blocks that were read, shared by all column families.
const BLOCK_CACHE: usize = 128 << 20;

/// Options of the database as a whole.
pub(super) fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A torn record at the end of the log is a write that was never acknowledged; anything else is damage
    // that a user must hear of.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Tables refer to each other, so that their files must tell of the same moment.
    options.set_atomic_flush(true);
    // Below the usual limit of 1,024 open files, with room for sockets and block files.
    options.set_max_open_files(256);
    // Old logs would otherwise stay until every one of many small column families is flushed.
    options.set_max_total_wal_size(256 << 20);
    options.increase_parallelism(2);
    // The info log is for developers of RocksDB; without a limit it grows for ever.
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(8 << 20);
    options
}

/// Options to read beside a process that writes.
pub(super) fn read_only() -> Options {
    let mut options = database();
    // Opens every file at once: what is open stays readable when the writer deletes it.
    options.set_max_open_files(-1);
    options
}

/// The column families with their options.
pub(super) fn families(names: &[&str]) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE);
    names.iter().map(|name| ColumnFamilyDescriptor::new(*name, family(&cache))).collect()
}

fn family(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Most look-ups of a snapshot are for TTXOs that were never seen before: a filter answers them.
    table.set_bloom_filter(10.0, false);
    // Index and filters count towards the cache, so that memory is bounded.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(6);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    // Rows at the bottom are the bulk and the coldest.
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
    options.set_write_buffer_size(kill::size(32 << 20, 64 << 10));
    options.set_level_zero_file_num_compaction_trigger(kill::size(4, 2));
    options.set_target_file_size_base(kill::size(64 << 20, 64 << 10));
    options.set_max_write_buffer_number(3);
    options
}
