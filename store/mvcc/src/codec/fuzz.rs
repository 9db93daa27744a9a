//! Bytes that nobody wrote: whatever comes from a disk or a peer is a value or an error, never a panic, and
//! never makes more memory be set aside than a message may take.
//!
//! `TRIREME_FUZZ_CASES=1000000 cargo test -p store-mvcc fuzz` runs longer.

use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::DeserializeOwned;

use super::*;
use crate::record;
use crate::state::tests::batch;
use crate::types::{Batch, KeyValue, Reply};

/// How many cases a property of this kind has.
pub(crate) fn cases() -> u32 {
    let asked = std::env::var("TRIREME_FUZZ_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

/// A change of some bytes.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index),
    Cut(Index),
}

pub(crate) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    // Lengths and the marks of wide numbers are what decoders trust.
    let byte = prop_oneof![any::<u8>(), 250..=255_u8];
    let wide = prop::collection::vec(250..=255_u8, 1..10);
    let one = prop_oneof![
        4 => (any::<Index>(), byte).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        2 => (any::<Index>(), wide).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        1 => any::<Index>().prop_map(Mutation::Remove),
        1 => any::<Index>().prop_map(Mutation::Cut),
    ];
    prop::collection::vec(one, 0..5)
}

pub(crate) fn mutate(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        if bytes.is_empty() {
            return bytes;
        }
        let length = bytes.len();
        match mutation {
            Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Mutation::Remove(at) => drop(bytes.remove(at.index(length))),
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

/// A payload with the header that belongs to it.
fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(checksum(VERSION, payload).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What decodes is a value like any other: its own bytes give it back.
fn check<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = decode::<T>(bytes) {
        assert_eq!(decode::<T>(&encode(&value)), Ok(value));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn fuzz_batches(batch in batch(), mutations in mutations()) {
        let bytes = encode(&batch);
        check::<Batch>(&mutate(bytes.clone(), &mutations));
        let payload = mutate(bytes[HEADER_BYTES..].to_vec(), &mutations);
        check::<Batch>(&sealed(&payload));
        check::<KeyValue>(&sealed(&payload));
        check::<Result<Reply, crate::types::Error>>(&sealed(&payload));
    }

    #[test]
    fn fuzz_records(
        key in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'l'), Just(b'm'), Just(b'r')], 0..15),
        kv in ("[a-z/]{0,20}", "[a-z]{0,40}", any::<[i64; 4]>()),
        mutations in mutations(),
    ) {
        let (name, value, [create_revision, mod_revision, version, lease]) = kv;
        let kv = KeyValue {
            key: name.into(),
            value: value.into(),
            create_revision,
            mod_revision,
            version,
            lease,
        };
        let payload = mutate(encode(&kv)[HEADER_BYTES..].to_vec(), &mutations);
        let own = record::version_key(mod_revision, 0);
        for key in [key, own] {
            for value in [&sealed(&payload)[..], &payload] {
                let kind = record::kind(&key, value);
                prop_assert!(record::is_state(&key) || kind.is_err());
            }
            // A state of such records is one, or is refused.
            drop(crate::State::restore([(key, sealed(&payload))]));
        }
    }
}
