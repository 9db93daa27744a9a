//! Files that are damaged where it hurts: what was acknowledged is never dropped silently, and what is wrong
//! is named.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use store_mvcc::Record;
use store_raft::disk::{LogDisk, LogOp, StateDisk};
use store_rocks::{RocksLog, RocksState};
use tempfile::TempDir;

use crate::disks::copy;

const ENTRIES: u64 = 300;

/// What a crash leaves of a log of so many entries, one write each.
fn crashed_log() -> TempDir {
    let (folder, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = RocksLog::open(folder.path()).unwrap();
    for index in 0..ENTRIES {
        log.commit(&[LogOp::Append(vec![(index, vec![b'x'; 1_000])])]).unwrap();
    }
    copy(folder.path(), crashed.path()).unwrap();
    crashed
}

fn only(folder: &Path, kind: &str) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|found| found == kind))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    found.sort();
    found.pop().unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn indexes(log: &RocksLog) -> io::Result<Vec<u64>> {
    Ok(log.read(0, u64::MAX, usize::MAX)?.into_iter().map(|(index, _)| index).collect())
}

/// Where the last record of a file that was not recycled ends.
fn end_of(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

#[test]
fn log_is_whole_after_a_crash() {
    let folder = crashed_log();
    let log = RocksLog::open(folder.path()).unwrap();
    assert_eq!(indexes(&log).unwrap(), (0..ENTRIES).collect::<Vec<_>>());
}

#[test]
fn write_that_was_cut_off_is_dropped_and_the_log_goes_on() {
    for cut in [1, 500, 1_020] {
        let folder = crashed_log();
        let wal = only(folder.path(), "log");
        let end = end_of(&wal);
        fs::File::options().write(true).open(&wal).unwrap().set_len((end - cut) as u64).unwrap();
        let log = RocksLog::open(folder.path()).unwrap();
        assert_eq!(indexes(&log).unwrap(), (0..ENTRIES - 1).collect::<Vec<_>>(), "cut by {cut}");
        log.commit(&[LogOp::Append(vec![(ENTRIES - 1, vec![b'y'; 10])])]).unwrap();
        drop(log);
        // The file that was cut off may still be there beside its successor.
        assert_eq!(indexes(&RocksLog::open(folder.path()).unwrap()).unwrap().len(), 300);
    }
}

#[test]
fn last_write_half_overwritten_is_dropped() {
    let folder = crashed_log();
    let wal = only(folder.path(), "log");
    flip(&wal, end_of(&wal) - 300);
    let log = RocksLog::open(folder.path()).unwrap();
    assert_eq!(indexes(&log).unwrap().len(), 299);
}

#[test]
fn damage_in_the_middle_of_the_log_is_refused_again_and_again_and_named() {
    // In the first write, in the middle, in a header, and in the one before the last.
    for back in [300_000, 150_000, 150_004, 2_000, 1_300] {
        let folder = crashed_log();
        let wal = only(folder.path(), "log");
        let at = end_of(&wal).saturating_sub(back).max(20);
        flip(&wal, at);
        for _ in 0..2 {
            let error = RocksLog::open(folder.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            let text = error.to_string();
            assert!(
                text.contains(wal.to_str().unwrap()) && text.contains("would be lost"),
                "{text}"
            );
        }
        flip(&wal, at);
        assert_eq!(indexes(&RocksLog::open(folder.path()).unwrap()).unwrap().len(), 300);
    }
}

#[test]
fn page_that_was_never_written_is_a_hole() {
    let folder = crashed_log();
    let wal = only(folder.path(), "log");
    let mut bytes = fs::read(&wal).unwrap();
    bytes[65_536..131_072].fill(0);
    fs::write(&wal, bytes).unwrap();
    let error = RocksLog::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("would be lost"), "{error}");
}

#[test]
fn damage_in_a_table_of_the_log_is_named() {
    let folder = crashed_log();
    // Replayed and flushed.
    drop(RocksLog::open(folder.path()).unwrap());
    let table = only(folder.path(), "sst");
    flip(&table, 10_000);
    let read = RocksLog::open(folder.path()).and_then(|log| indexes(&log).map(drop));
    let error = read.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    assert!(error.to_string().contains(table.file_name().unwrap().to_str().unwrap()), "{error}");
}

#[test]
fn damage_in_a_table_of_the_state_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let state = RocksState::open(folder.path()).unwrap();
    for number in 0..1_000_u32 {
        // Not to be squeezed: the byte that is flipped must be one of a value.
        let value = (0..200_u32).map(|at| (number.wrapping_mul(2_654_435_761) >> (at % 24)) as u8);
        let put = Record::Put { key: number.to_be_bytes().to_vec(), value: value.collect() };
        state.write(vec![put]).unwrap();
    }
    state.flush().unwrap();
    drop(state);
    let table = only(&folder.path().join("state-000001"), "sst");
    flip(&table, 5_000);
    let load = RocksState::open(folder.path()).and_then(|state| state.load(&mut |_, _| Ok(())));
    let error = load.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    assert!(error.to_string().contains(table.file_name().unwrap().to_str().unwrap()), "{error}");
}

#[test]
fn damage_in_what_names_the_tables_is_refused() {
    let folder = crashed_log();
    drop(RocksLog::open(folder.path()).unwrap());
    let manifest = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let manifest =
        manifest.filter(|path| path.to_str().unwrap().contains("MANIFEST")).max().unwrap();
    flip(&manifest, 20);
    let error = RocksLog::open(folder.path()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
}
