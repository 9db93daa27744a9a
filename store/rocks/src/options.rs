//! How both databases are tuned, and how their errors become ours.

use std::io;

use rocksdb::{DBCompressionType, Options};

/// What both have in common: small, and quiet.
pub(crate) fn common() -> Options {
    let mut options = Options::default();
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
    options.set_write_buffer_size(16 << 20);
    options.set_max_write_buffer_number(2);
    // A recycled file does not change its size, so that a sync need not write the file system's journal.
    options.set_recycle_log_file_num(4);
    options.set_wal_bytes_per_sync(0);
    options.set_compression_type(DBCompressionType::None);
    options
}

/// The state: flushed when a snapshot is taken, so that its tables are the snapshot.
pub(crate) fn state() -> Options {
    let mut options = common();
    options.set_write_buffer_size(16 << 20);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options
}

pub(crate) fn failed(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
