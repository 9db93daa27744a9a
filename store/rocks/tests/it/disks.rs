//! Both disks do what their traits say, and what the ones in memory do.

use std::io;

use store_mvcc::Record;
use store_raft::disk::{LogDisk, LogHead, LogOp, Pair, StateDisk};
use store_raft::memory::{MemoryLog, MemoryState};
use store_rocks::{RocksLog, RocksState};

fn pair(key: &str, value: &str) -> Pair {
    (key.into(), value.into())
}

fn put(key: &str, value: &str) -> Record {
    Record::Put { key: key.into(), value: value.into() }
}

fn all(disk: &dyn StateDisk) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut take = |key: &[u8], value: &[u8]| -> io::Result<()> {
        pairs.push((key.to_vec(), value.to_vec()));
        Ok(())
    };
    disk.load(&mut take).unwrap();
    pairs
}

fn check_log(disk: &dyn LogDisk) -> io::Result<()> {
    assert_eq!(disk.head()?, LogHead::default());
    let records = |range: std::ops::Range<u64>| range.map(|n| (n, vec![b'x'; 10])).collect();
    disk.commit(&[LogOp::Append(records(0..300)), LogOp::Vote(b"v1".into())])?;
    disk.commit(&[LogOp::Truncate { from: 280 }, LogOp::Append(records(280..290))])?;
    disk.commit(&[
        LogOp::Purge { upto: 99, mark: b"p".into() },
        LogOp::Vote(b"v2".into()),
        LogOp::Committed(b"c".into()),
    ])?;
    let head = LogHead {
        vote: Some(b"v2".into()),
        committed: Some(b"c".into()),
        purged: Some(b"p".into()),
    };
    assert_eq!(disk.head()?, head);
    let indexes = |from, to, bytes| -> io::Result<Vec<u64>> {
        Ok(disk.read(from, to, bytes)?.into_iter().map(|(index, _)| index).collect())
    };
    assert_eq!(indexes(0, u64::MAX, usize::MAX)?, (100..290).collect::<Vec<_>>());
    assert_eq!(indexes(255, 258, usize::MAX)?, [255, 256, 257]);
    assert_eq!(indexes(255, 290, 25)?, [255, 256]);
    assert_eq!(indexes(255, 290, 1)?, [255]);
    Ok(())
}

fn check_state(disk: &dyn StateDisk) -> io::Result<()> {
    disk.write(vec![put("a", "1"), put("b", "2"), put("c", "3")])?;
    disk.write(vec![Record::Delete { key: "b".into() }, put("a", "4")])?;
    assert_eq!(all(disk), [pair("a", "4"), pair("c", "3")]);
    assert_eq!(disk.get(b"a")?, Some(b"4".to_vec()));
    assert_eq!(disk.get(b"b")?, None);
    let mut taken = 0;
    let refused = disk.load(&mut |_, _| {
        taken += 1;
        Err(io::Error::other("enough"))
    });
    assert_eq!((refused.unwrap_err().to_string(), taken), ("enough".into(), 1));

    let mut view = disk.view()?;
    disk.write(vec![put("d", "5")])?;
    assert_eq!(view.next_chunk(1)?, [pair("a", "4")]);
    assert_eq!(view.next_chunk(1 << 20)?, [pair("c", "3")]);
    assert_eq!(view.next_chunk(1)?, []);

    let mut dropped = disk.begin_replace()?;
    dropped.put(vec![pair("z", "9")])?;
    drop(dropped);
    assert_eq!(all(disk).len(), 3);

    let mut replacement = disk.begin_replace()?;
    replacement.put(vec![pair("x", "7"), pair("y", "8")])?;
    disk.write(vec![put("e", "6")])?;
    let mut held = Vec::new();
    replacement.load(&mut |key, _| {
        held.push(key.to_vec());
        Ok(())
    })?;
    assert_eq!(held, [b"x", b"y"]);
    replacement.install()?;
    assert_eq!(disk.get(b"x")?, Some(b"7".to_vec()));
    assert_eq!(disk.get(b"e")?, None);
    disk.write(vec![put("z", "9")])?;
    assert_eq!(all(disk), [pair("x", "7"), pair("y", "8"), pair("z", "9")]);
    disk.flush()
}

#[test]
fn log_on_rocksdb_and_in_memory_keep_the_same_promises() {
    let folder = tempfile::tempdir().unwrap();
    check_log(&MemoryLog::default()).unwrap();
    check_log(&RocksLog::open(folder.path()).unwrap()).unwrap();
    let again = RocksLog::open(folder.path()).unwrap();
    assert_eq!(again.read(0, u64::MAX, usize::MAX).unwrap().len(), 190);
    assert_eq!(again.head().unwrap().vote, Some(b"v2".into()));
}

#[test]
fn state_on_rocksdb_and_in_memory_keep_the_same_promises() {
    let folder = tempfile::tempdir().unwrap();
    check_state(&MemoryState::default()).unwrap();
    let disk = RocksState::open(folder.path()).unwrap();
    check_state(&disk).unwrap();
    drop(disk);
    let again = RocksState::open(folder.path()).unwrap();
    assert_eq!(all(&again), [pair("x", "7"), pair("y", "8"), pair("z", "9")]);
    let folders = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(folders, 2, "the one in use, and the file that names it");
}

#[test]
fn rows_and_applied_are_never_torn_apart() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RocksState::open(folder.path()).unwrap();
    for n in 0..100 {
        disk.write(vec![put(&format!("row{n:03}"), "x"), put("applied", &format!("{n}"))]).unwrap();
        if n == 60 {
            disk.flush().unwrap();
        }
    }
    // What a crash leaves: the folder as it is now, without the memory of the process.
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path()).unwrap();
    let left = all(&RocksState::open(crashed.path()).unwrap());
    let applied = left.iter().find(|(key, _)| key == b"applied").unwrap();
    assert_eq!(applied.1, b"60");
    assert_eq!(left.len(), 1 + 61);
}

pub(crate) fn copy(from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// All entries in one table, below the first level, as they are once the log has been compacted.
fn settled(folder: &std::path::Path) {
    let db = rocksdb::DB::open(&rocksdb::Options::default(), folder).unwrap();
    db.compact_range(None::<&[u8]>, None::<&[u8]>);
}

#[test]
fn purge_takes_the_tables_of_what_is_purged_and_of_nothing_else() {
    for purged in 0..3_u64 {
        let folder = tempfile::tempdir().unwrap();
        let log = RocksLog::open(folder.path()).unwrap();
        log.commit(&[LogOp::Append((0..3).map(|n| (n, vec![b'x'; 10])).collect())]).unwrap();
        drop(log);
        settled(folder.path());
        let log = RocksLog::open(folder.path()).unwrap();
        log.commit(&[LogOp::Purge { upto: purged, mark: b"p".into() }]).unwrap();
        let left = log.read(0, u64::MAX, usize::MAX).unwrap();
        let indexes: Vec<u64> = left.into_iter().map(|(index, _)| index).collect();
        assert_eq!(indexes, (purged + 1..3).collect::<Vec<_>>());
        let tables = std::fs::read_dir(folder.path()).unwrap();
        let is_table = |path: &std::path::Path| path.extension().is_some_and(|kind| kind == "sst");
        let count = tables.filter(|entry| is_table(&entry.as_ref().unwrap().path())).count();
        assert_eq!(count, usize::from(purged < 2), "of purged entries no table is left");
    }
}
