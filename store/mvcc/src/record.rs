//! The state as flat records in one sorted key space: what is stored, and what a snapshot streams.
//!
//! ```text
//! 'l' id: 8           a lease: time to live, when it is due
//! 'm'                 revision, compacted, time, the last lease id chosen
//! 'r' revision: 8 sub: 4   one version of one key, or its tombstone (version 0)
//! ```
//! Numbers are big endian, so that byte order is their order. Values are [`codec`] encodings. What can be
//! derived (which keys a lease has, what a key's latest version is) is not stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::types::{KeyValue, LeaseId, Revision};

const LEASE: u8 = b'l';
const META: u8 = b'm';
const VERSION: u8 = b'r';

/// One change of the stored records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Put { key: Vec<u8>, value: Vec<u8> },
    Delete { key: Vec<u8> },
}

/// A record's key and value.
pub type RawRecord = (Vec<u8>, Vec<u8>);

/// A record that does not fit: the store must not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt record {}: {reason}", hex(key))]
pub struct Corrupt {
    pub key: Vec<u8>,
    pub reason: String,
}

impl Corrupt {
    pub(crate) fn new(key: &[u8], reason: impl Into<String>) -> Self {
        Self { key: key.to_vec(), reason: reason.into() }
    }
}

/// Whether a record's key is one of those above; a store may keep others beside them.
pub fn is_state(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(LEASE | META | VERSION)))
}

/// What a record is, for those who count and check records and need not understand them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The state's scalars; `now_ms` is the latest time that any proposer had seen.
    Scalars {
        revision: Revision,
        compacted: Revision,
        now_ms: u64,
    },
    Lease,
    /// One version of one key.
    Version {
        revision: Revision,
    },
}

/// Reads a record in full, and says what it is.
pub fn kind(key: &[u8], value: &[u8]) -> Result<Kind, Corrupt> {
    Ok(match parse(key, value)? {
        Parsed::Meta(Meta { revision, compacted, now_ms, .. }) => {
            Kind::Scalars { revision, compacted, now_ms }
        }
        Parsed::Lease(..) => Kind::Lease,
        Parsed::Version(_, kv) => Kind::Version { revision: kv.mod_revision },
    })
}

/// The state's scalars.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) now_ms: u64,
    pub(crate) last_lease: LeaseId,
}

/// What of a lease cannot be derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    pub(crate) ttl_s: i64,
    pub(crate) due_ms: u64,
}

/// A [`KeyValue`] as it lies in its record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct RawKeyValue<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
}

/// A record, read back.
#[derive(Debug)]
pub(crate) enum Parsed<'a> {
    Meta(Meta),
    Lease(LeaseId, LeaseRecord),
    Version(u32, RawKeyValue<'a>),
}

pub(crate) fn meta_key() -> Vec<u8> {
    vec![META]
}

pub(crate) fn lease_key(id: LeaseId) -> Vec<u8> {
    let mut key = vec![LEASE];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

pub(crate) fn version_key(revision: Revision, sub: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.push(VERSION);
    key.extend_from_slice(&revision.to_be_bytes());
    key.extend_from_slice(&sub.to_be_bytes());
    key
}

pub(crate) fn encode_version(kv: &KeyValue) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(kv.key.len() + kv.value.len() + 64);
    codec::encode_into(kv, &mut bytes);
    bytes
}

/// The version that a record holds.
pub(crate) fn parse_version(key: &[u8], value: &[u8]) -> Result<KeyValue, Corrupt> {
    match parse(key, value)? {
        Parsed::Version(_, raw) => Ok(KeyValue {
            key: Bytes::copy_from_slice(raw.key),
            value: Bytes::copy_from_slice(raw.value),
            create_revision: raw.create_revision,
            mod_revision: raw.mod_revision,
            version: raw.version,
            lease: raw.lease,
        }),
        Parsed::Meta(_) | Parsed::Lease(..) => Err(Corrupt::new(key, "not a version")),
    }
}

pub(crate) fn parse<'a>(key: &[u8], value: &'a [u8]) -> Result<Parsed<'a>, Corrupt> {
    let corrupt = |error: CodecError| Corrupt::new(key, error.to_string());
    match (key.first(), key.get(1..).unwrap_or_default()) {
        (Some(&META), []) => codec::decode(value).map(Parsed::Meta).map_err(corrupt),
        (Some(&LEASE), id) => {
            let id = <[u8; 8]>::try_from(id).map_err(|_| Corrupt::new(key, "not a lease id"))?;
            let lease = codec::decode(value).map_err(corrupt)?;
            Ok(Parsed::Lease(LeaseId::from_be_bytes(id), lease))
        }
        (Some(&VERSION), at) => {
            let (revision, sub) = parse_position(at).ok_or(Corrupt::new(key, "not a revision"))?;
            let kv: RawKeyValue<'_> = codec::decode_borrowed(value).map_err(corrupt)?;
            if kv.mod_revision != revision {
                let reason = format!("holds revision {} under another's key", kv.mod_revision);
                return Err(Corrupt::new(key, reason));
            }
            Ok(Parsed::Version(sub, kv))
        }
        _ => Err(Corrupt::new(key, "unknown kind of record")),
    }
}

fn parse_position(bytes: &[u8]) -> Option<(Revision, u32)> {
    let (revision, sub) = bytes.split_first_chunk::<8>()?;
    let sub = <[u8; 4]>::try_from(sub).ok()?;
    Some((Revision::from_be_bytes(*revision), u32::from_be_bytes(sub)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 wrote must be read by every later release: never edit these, only add.
    #[test]
    fn encodings_of_version_1_stay_as_they_are() {
        let kv = KeyValue {
            key: "/registry/a".into(),
            value: "value".into(),
            create_revision: 2,
            mod_revision: 300,
            version: 3,
            lease: -7,
        };
        let tombstone =
            KeyValue { key: "/registry/a".into(), mod_revision: 301, ..KeyValue::default() };
        let meta = Meta { revision: 301, compacted: 5, now_ms: 1_795_000_000_000, last_lease: 1 };
        let lease = LeaseRecord { ttl_s: 60, due_ms: 1_795_000_060_000 };
        #[rustfmt::skip]
        let cases = [
            (version_key(300, 1), encode_version(&kv), "72000000000000012c00000001", "0100b561d10b2f72656769737472792f610576616c756504fb5802060d"),
            (version_key(301, 0), encode_version(&tombstone), "72000000000000012d00000000", "0136e14b180b2f72656769737472792f610000fb5a020000"),
            (meta_key(), codec::encode(&meta), "6d", "01a7edd8c4fb5a020afd005e56eea101000002"),
            (lease_key(-7), codec::encode(&lease), "6cfffffffffffffff9", "01fd5b418e78fd604857eea1010000"),
        ];
        for (key, value, key_hex, value_hex) in cases {
            assert_eq!(hex(&key), key_hex);
            assert_eq!(hex(&value), value_hex, "value of {key_hex}");
        }
        assert!(
            matches!(parse_version(&version_key(300, 1), &encode_version(&kv)), Ok(read) if read == kv)
        );
        assert!(
            matches!(parse(&meta_key(), &codec::encode(&meta)), Ok(Parsed::Meta(read)) if read == meta)
        );
        assert!(
            matches!(parse(&lease_key(-7), &codec::encode(&lease)), Ok(Parsed::Lease(-7, read)) if read == lease)
        );
    }

    #[test]
    fn keys_sort_as_their_numbers() {
        assert!(version_key(255, 9) < version_key(256, 0));
        assert!(version_key(256, 255) < version_key(256, 256));
    }

    #[test]
    fn strange_records_are_refused() {
        let kv = encode_version(&KeyValue { mod_revision: 4, ..KeyValue::default() });
        #[rustfmt::skip]
        let cases: [(&[u8], &[u8], &str); 5] = [
            (b"",                  b"",  "corrupt record : unknown kind of record"),
            (b"x1",                b"",  "corrupt record 7831: unknown kind of record"),
            (b"r1",                b"",  "corrupt record 7231: not a revision"),
            (b"l1",                b"",  "corrupt record 6c31: not a lease id"),
            (&version_key(3, 0),   &kv,  "corrupt record 72000000000000000300000000: holds revision 4 under another's key"),
        ];
        for (key, value, expected) in cases {
            assert_eq!(parse(key, value).unwrap_err().to_string(), expected);
        }
    }
}
