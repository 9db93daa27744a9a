//! What is written is read back, whatever is done to it is noticed, and its bytes stay as they are.

use std::io::Cursor;

use bytes::Bytes;
use proptest::prelude::*;
use store_mvcc::types::{Batch, Command, Fenced, Op, PutRequest, Term, Txn};
use store_mvcc::{Record, State, Versions};

use super::*;

type Pair = (Vec<u8>, Vec<u8>);
type Change = fn(&mut Vec<u8>);

#[derive(Debug)]
struct Records(std::vec::IntoIter<Pair>);

impl Export for Records {
    fn next_chunk(&mut self, bytes_max: usize) -> io::Result<Vec<Pair>> {
        let mut bytes = 0;
        let mut chunk = Vec::new();
        while bytes < bytes_max
            && let Some((key, value)) = self.0.next()
        {
            bytes += key.len() + value.len();
            chunk.push((key, value));
        }
        Ok(chunk)
    }
}

/// Nothing is stored yet.
#[derive(Debug)]
struct Nothing;

impl Versions for Nothing {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

/// The records of a store with a lease and so many puts.
fn records(puts: i64, value_bytes: usize) -> Vec<Pair> {
    let mut state = State::default();
    let put = |number: i64| {
        let value = Bytes::from(vec![b'v'; value_bytes]);
        let put = PutRequest { key: format!("k{number}").into(), value, ..PutRequest::default() };
        Command::Txn(Txn { success: vec![Op::Put(put)], ..Txn::default() })
    };
    let commands = std::iter::once(Command::LeaseGrant { id: 7, ttl_s: 60 });
    let commands = commands.chain((0..puts).map(put));
    let fenced = commands.map(|command| Fenced { fence: None, command }).collect();
    let batch = Batch { now_ms: 1_795_000_000_000, commands: fenced };
    let applied = state.apply(Term(1), &batch, &Nothing);
    let mut records: Vec<Pair> = applied
        .writes
        .into_iter()
        .map(|record| match record {
            Record::Put { key, value } => (key, value),
            Record::Delete { key } => (key, Vec::new()),
        })
        .collect();
    records.sort();
    records
}

fn pack(records: Vec<Pair>) -> Vec<u8> {
    let mut packer = Packer::new(Box::new(Records(records.into_iter())));
    let mut bytes = Vec::new();
    while !packer.is_done() {
        bytes.extend_from_slice(&packer.next_piece().unwrap());
    }
    bytes
}

fn problem(bytes: &[u8]) -> String {
    check(&mut Cursor::new(bytes)).map_or_else(|error| error.to_string(), |_| "fine".into())
}

#[test]
fn everything_that_was_packed_is_read_back() {
    for (puts, value_bytes) in [(0, 0), (1, 0), (3, 10), (100, 10_000)] {
        let written = records(puts, value_bytes);
        let bytes = pack(written.clone());
        assert_eq!(bytes.len() % BLOCK, SUM_BYTES);
        let mut found = Vec::new();
        let read = read(&bytes[..], |key, value| {
            found.push((key, value));
            Ok(())
        });
        let summary = read.unwrap();
        assert_eq!(found, written);
        assert_eq!(check(&mut Cursor::new(&bytes)).unwrap(), summary);
        assert_eq!((summary.revision, summary.leases), (1 + puts, 1));
        assert_eq!((summary.versions, summary.bytes), (puts as u64, bytes.len() as u64));
    }
    assert_eq!(check(&mut Cursor::new(pack(Vec::new()))).unwrap().revision, 1);
}

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let whole = pack(records(30, 100));
    let changed = |change: Change| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        problem(&bytes)
    };
    #[rustfmt::skip]
    let cases: [(Change, &str); 8] = [
        (|_| {},                                          "fine"),
        (|bytes| bytes.clear(),                           "it is not a snapshot of kstore"),
        (|bytes| bytes[0] ^= 1,                           "it is not a snapshot of kstore"),
        (|bytes| bytes[17] = b'2',                        "it was written by a later release"),
        (|bytes| bytes.truncate(100),                     "it is cut off: a whole snapshot is a multiple of 512 bytes and 32, this is 100"),
        (|bytes| drop(bytes.drain(100..612)),             "it is damaged: its checksum is"),
        (|bytes| bytes[60] ^= 1,                          "it is damaged: its checksum is"),
        (|bytes| bytes.extend([0; 512]),                  "it is damaged: its checksum is"),
    ];
    for (change, expected) in cases {
        let found = changed(change);
        assert!(found.starts_with(expected), "{found} instead of {expected}");
    }
}

/// Version 1, byte for byte: what was saved must be restored by every later release. Never edit, only add.
#[test]
fn snapshot_of_version_1_stays_as_it_is() {
    let bytes = include_bytes!("fixtures/snapshot-1.bin");
    assert_eq!(pack(records(3, 10)), bytes);
    let summary = check(&mut Cursor::new(bytes)).unwrap();
    assert_eq!((summary.revision, summary.versions, summary.leases), (4, 3, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(fuzz_cases()))]
    /// Whatever the bytes are: an answer, no panic, no memory for what is not there.
    #[test]
    fn any_bytes_are_read_or_refused(
        cuts in prop::collection::vec((0..2_000_usize, any::<u8>()), 0..4),
        length in 0..2_000_usize,
    ) {
        let mut bytes = pack(records(3, 300));
        let whole = bytes.clone();
        for (at, byte) in cuts {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(length);
        let outcome = read(&bytes[..], |_, _| Ok(()));
        prop_assert_eq!(outcome.is_ok(), bytes == whole);
    }
}

/// Cases of a property that feeds mutated bytes: `TRIREME_FUZZ_CASES` for a longer run.
fn fuzz_cases() -> u32 {
    let asked = std::env::var("TRIREME_FUZZ_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(2_000)
}
