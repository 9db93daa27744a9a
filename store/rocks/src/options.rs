//! How both databases are tuned, and how their errors become ours.

use std::io;

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, Options};

/// What is written and not in a table yet, of each database: twice so much while a table is made of it.
const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// Blocks of the log kept in memory: its tail is in memory anyway, and the rest is read in order.
const LOG_CACHE_BYTES: usize = 1 << 20;

/// Blocks of the state kept in memory, with the indexes and filters of its tables.
const STATE_CACHE_BYTES: usize = 8 << 20;

/// One entry in a table's index for so much: 20 GiB of data have some 30 MiB of index.
const STATE_BLOCK_BYTES: usize = 16 << 10;

/// A table of which so many records in a row are deletions is compacted, so that their space comes back
/// without anything being written. Of these in the window, so many must be deletions.
const DELETIONS_WINDOW: usize = 8_192;
const DELETIONS_MIN: usize = 4_096;
/// Or this part of all of its records.
const DELETIONS_RATIO: f64 = 0.5;

/// What one merge of tables reads and writes is bounded by these: each needs its own room on the disk until it
/// is done, and one that finds none stops all of them. A database's tables all span its scalars, and so all
/// of the first level, with the newest tables (twenty write buffers, then writes wait), take part in each merge.
const TABLE_BYTES: u64 = 16 << 20;
const FIRST_LEVEL_BYTES: u64 = 64 << 20;
const MERGE_BYTES: u64 = 128 << 20;
const NEWEST_TABLES_SLOW: i32 = 12;
const NEWEST_TABLES_MAX: i32 = 20;

/// What both have in common: small, and quiet.
pub(crate) fn common() -> Options {
    let mut options = Options::default();
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_max_bytes_for_level_base(FIRST_LEVEL_BYTES);
    options.set_max_compaction_bytes(MERGE_BYTES);
    options.set_level_zero_slowdown_writes_trigger(NEWEST_TABLES_SLOW);
    options.set_level_zero_stop_writes_trigger(NEWEST_TABLES_MAX);
    options.create_if_missing(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    options.set_max_open_files(256);
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_pipelined_write(false);
    options
}

/// The log: mostly written, read after a restart only; most entries are purged before they reach a table.
pub(crate) fn log() -> Options {
    let mut options = common();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    // A recycled file does not change its size, so that a sync need not write the file system's journal.
    options.set_recycle_log_file_num(4);
    options.set_wal_bytes_per_sync(0);
    options.set_compression_type(DBCompressionType::None);
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(LOG_CACHE_BYTES));
    options.set_block_based_table_factory(&tables);
    options
}

/// The state: flushed when a snapshot is taken, so that its tables are the snapshot.
pub(crate) fn state() -> Options {
    let mut options = common();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(STATE_CACHE_BYTES));
    tables.set_block_size(STATE_BLOCK_BYTES);
    // Every table spans nearly all keys, since each has the scalars: the filter finds the right one.
    tables.set_bloom_filter(10.0, false);
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    options.set_block_based_table_factory(&tables);
    options.add_compact_on_deletion_collector_factory(
        DELETIONS_WINDOW,
        DELETIONS_MIN,
        DELETIONS_RATIO,
    );
    options
}

pub(crate) fn failed(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
