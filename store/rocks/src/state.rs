//! The applied state in RocksDB: one column family without WAL, since the Raft log is one already.
//!
//! One family only: a flush covers one, and what `applied` says must never be ahead of the rows it speaks of.
//! A replacement is a database in a folder of its own; a file that names the current folder makes the switch
//! one rename.
//!
//! ```text
//! FOLDER/current        the name of the folder that counts
//! FOLDER/state-000001/  a database
//! FOLDER/view-000002/   a checkpoint that is being read; removed when the view is dropped
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties;
use rocksdb::{DB, Direction, FlushOptions, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use store_env::disk::ahead;
use store_mvcc::Record;
use store_raft::disk::{Each, Pair, StateDisk, StateReplacement, StateView};

use crate::options::{self, failed};

const CURRENT: &str = "current";

/// What the database is asked about its size.
const TABLE_BYTES: &str = "rocksdb.live-sst-files-size";
const LIVE_BYTES: &str = "rocksdb.estimate-live-data-size";
const MEMORY_BYTES: &str = "rocksdb.cur-size-all-mem-tables";

/// Records in one write of a replacement.
const PUT_RECORDS: usize = 4_096;

/// What is read ahead when all of it is read.
const LOAD_READAHEAD_BYTES: usize = 4 << 20;

/// Records that are handed over together.
const LOAD_CHUNK_BYTES: usize = 256 << 10;

/// The state's database.
#[derive(Clone)]
pub struct RocksState(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    current: RwLock<Current>,
    /// Numbers folders, so that none is used twice.
    last: AtomicU64,
    is_stopping: AtomicBool,
}

struct Current {
    name: String,
    db: DB,
}

impl fmt::Debug for RocksState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksState").field(&self.0.folder).finish()
    }
}

impl RocksState {
    /// Opens or creates the state in this folder, and clears away what a crash left half done.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let name = match fs::read_to_string(folder.join(CURRENT)) {
            Ok(name) => name,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let first = folder_name("state", 1);
                point_to(folder, &first)?;
                first
            }
            Err(error) => return Err(error),
        };
        let mut last = 0;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let found = entry.file_name().to_string_lossy().into_owned();
            let Some((_, number)) = found.split_once('-') else { continue };
            last = last.max(number.parse().unwrap_or(0));
            if found != name {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let db = DB::open(&options::state(), folder.join(&name)).map_err(failed)?;
        let current = RwLock::new(Current { name, db });
        let last = AtomicU64::new(last.max(1));
        let is_stopping = AtomicBool::new(false);
        Ok(Self(Arc::new(Shared { folder: folder.to_owned(), current, last, is_stopping })))
    }

    /// Bytes of its tables, and of what is in memory and will become tables.
    pub fn bytes(&self) -> u64 {
        let current = self.0.current.read();
        property(&current.db, TABLE_BYTES) + property(&current.db, MEMORY_BYTES)
    }

    /// The same, without what is deleted and still takes up space; an estimate.
    pub fn live_bytes(&self) -> u64 {
        let current = self.0.current.read();
        property(&current.db, LIVE_BYTES) + property(&current.db, MEMORY_BYTES)
    }

    /// Gives the space of what was deleted back to the file system. Takes as long as there is much to rewrite.
    pub fn reclaim(&self) -> io::Result<()> {
        let tables = {
            let current = self.0.current.read();
            flush(&current.db)?;
            current.db.live_files().map_err(failed)?
        };
        // Table by table: that needs little room at a time, and can be stopped in between.
        for table in tables {
            if self.0.is_stopping.load(Ordering::Relaxed) {
                break;
            }
            let (from, to) = (table.start_key.as_deref(), table.end_key.as_deref());
            self.0.current.read().db.compact_range(from, to);
        }
        Ok(())
    }

    /// Ends what [`RocksState::reclaim`] does, now and later.
    pub fn stop_reclaiming(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
    }

    fn new_folder(&self, kind: &str) -> String {
        folder_name(kind, self.0.last.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl StateDisk for RocksState {
    fn load(&self, each: &mut Each<'_>) -> io::Result<()> {
        load(&self.0.current.read().db, each)
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.0.current.read().db.get(key).map_err(failed)
    }

    fn write(&self, writes: Vec<Record>) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        for write in &writes {
            match write {
                Record::Put { key, value } => batch.put(key, value),
                Record::Delete { key } => batch.delete(key),
            }
        }
        self.0.current.read().db.write_opt(batch, &unlogged()).map_err(failed)
    }

    fn is_ready(&self) -> bool {
        let Some(current) = self.0.current.try_read() else { return false };
        // Both are said while tables are flushed or merged too slowly: then writes are held back.
        let is_zero = |name| matches!(current.db.property_int_value(name), Ok(Some(0)));
        is_zero(properties::IS_WRITE_STOPPED) && is_zero(properties::ACTUAL_DELAYED_WRITE_RATE)
    }

    fn flush(&self) -> io::Result<()> {
        flush(&self.0.current.read().db)
    }

    fn view(&self) -> io::Result<Box<dyn StateView>> {
        let path = self.0.folder.join(self.new_folder("view"));
        let current = self.0.current.read();
        // Flushes first, there being no WAL; then links the tables.
        let checkpoint = Checkpoint::new(&current.db).map_err(failed)?;
        checkpoint.create_checkpoint(&path).map_err(failed)?;
        let db = DB::open_for_read_only(&options::state(), &path, false).map_err(failed)?;
        Ok(Box::new(RocksView { db: Some(db), path, after: None }))
    }

    fn begin_replace(&self) -> io::Result<Box<dyn StateReplacement>> {
        let name = self.new_folder("state");
        let path = self.0.folder.join(&name);
        let db = DB::open(&options::state(), &path).map_err(failed)?;
        Ok(Box::new(RocksReplacement { state: self.clone(), name, db: Some(db) }))
    }
}

struct RocksView {
    db: Option<DB>,
    path: PathBuf,
    after: Option<Vec<u8>>,
}

impl fmt::Debug for RocksView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksView").field(&self.path).finish()
    }
}

impl StateView for RocksView {
    fn next_chunk(&mut self, bytes_max: usize) -> io::Result<Vec<Pair>> {
        let db = self.db.as_ref().expect("open until it is dropped");
        let start = match &self.after {
            Some(after) => IteratorMode::From(after, Direction::Forward),
            None => IteratorMode::Start,
        };
        let mut chunk: Vec<Pair> = Vec::new();
        let mut bytes = 0;
        for item in db.iterator(start) {
            let (key, value) = item.map_err(failed)?;
            if self.after.as_deref() == Some(&key) {
                continue;
            }
            bytes += key.len() + value.len();
            chunk.push((key.into_vec(), value.into_vec()));
            if bytes >= bytes_max {
                break;
            }
        }
        if let Some((last, _)) = chunk.last() {
            self.after = Some(last.clone());
        }
        Ok(chunk)
    }
}

impl Drop for RocksView {
    fn drop(&mut self) {
        drop(self.db.take());
        remove(&self.path);
    }
}

struct RocksReplacement {
    state: RocksState,
    name: String,
    db: Option<DB>,
}

impl fmt::Debug for RocksReplacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocksReplacement").field(&self.name).finish()
    }
}

impl StateReplacement for RocksReplacement {
    fn put(&mut self, records: Vec<Pair>) -> io::Result<()> {
        let db = self.db.as_ref().expect("open until it is installed");
        for part in records.chunks(PUT_RECORDS) {
            let mut batch = WriteBatch::default();
            part.iter().for_each(|(key, value)| batch.put(key, value));
            db.write_opt(batch, &unlogged()).map_err(failed)?;
        }
        Ok(())
    }

    fn load(&self, each: &mut Each<'_>) -> io::Result<()> {
        load(self.db.as_ref().expect("open until it is installed"), each)
    }

    fn install(mut self: Box<Self>) -> io::Result<()> {
        let db = self.db.take().expect("installed once");
        flush(&db)?;
        let shared = &self.state.0;
        let mut current = shared.current.write();
        point_to(&shared.folder, &self.name)?;
        let old = std::mem::replace(&mut *current, Current { name: self.name.clone(), db });
        drop(current);
        let path = shared.folder.join(&old.name);
        drop(old);
        remove(&path);
        Ok(())
    }
}

impl Drop for RocksReplacement {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            drop(db);
            remove(&self.state.0.folder.join(&self.name));
        }
    }
}

/// Records, one behind the other.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each key ends, and its value.
    ends: Vec<(usize, usize)>,
}

/// What is in the database while it is read: the next records are found and checked while the last are taken.
fn load(db: &DB, each: &mut Each<'_>) -> io::Result<()> {
    let read = |hand: &mut dyn FnMut(Chunk) -> bool| {
        let mut options = ReadOptions::default();
        options.set_readahead_size(LOAD_READAHEAD_BYTES);
        // All of it is read once: the cache is for what is read again.
        options.fill_cache(false);
        let mut records = db.raw_iterator_opt(options);
        records.seek_to_first();
        let mut chunk = Chunk::default();
        while let Some((key, value)) = records.item() {
            chunk.bytes.extend_from_slice(key);
            let key_end = chunk.bytes.len();
            chunk.bytes.extend_from_slice(value);
            chunk.ends.push((key_end, chunk.bytes.len()));
            if chunk.bytes.len() >= LOAD_CHUNK_BYTES && !hand(std::mem::take(&mut chunk)) {
                return Ok(());
            }
            records.next();
        }
        records.status().map_err(failed)?;
        hand(chunk);
        Ok(())
    };
    ahead("state-load", read, |chunk: Chunk| {
        let mut start = 0;
        for (key_end, end) in chunk.ends {
            each(&chunk.bytes[start..key_end], &chunk.bytes[key_end..end])?;
            start = end;
        }
        Ok(())
    })
}

/// 0 if the database does not know.
fn property(db: &DB, name: &str) -> u64 {
    db.property_int_value(name).ok().flatten().unwrap_or(0)
}

fn folder_name(kind: &str, number: u64) -> String {
    format!("{kind}-{number:06}")
}

fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn flush(db: &DB) -> io::Result<()> {
    let mut options = FlushOptions::default();
    options.set_wait(true);
    db.flush_opt(&options).map_err(failed)
}

/// Makes `name` the folder that counts: all or nothing, and durable.
fn point_to(folder: &Path, name: &str) -> io::Result<()> {
    let draft = folder.join("current.draft");
    let mut file = File::create(&draft)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, folder.join(CURRENT))?;
    File::open(folder)?.sync_all()
}

/// Removes a folder nobody needs; the next start does what cannot be done now.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "left behind until the next start");
    }
}
