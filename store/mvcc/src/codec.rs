//! How a value becomes bytes on disk and on the wire: version byte, checksum, bincode.
//!
//! ```text
//! [version: 1] [crc32 of version and payload: 4, big endian] [payload: bincode, standard configuration]
//! ```
//! bincode has no schema evolution: a type whose shape changes gets a new version, and the old shape is
//! kept for reading. No other module names bincode, so that it can be replaced here.
//!
//! # Invariants
//! - `decode(encode(x)) == x`, and no byte of an encoding can be changed, cut off or added unnoticed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A version of what is written. Members of a group may be of releases that read different ones.
pub type FormatVersion = u8;

/// What is written where no group has agreed on anything later, and the latest that this release reads.
pub const VERSION: FormatVersion = 1;

/// What a value may take at most: no length that is read makes more memory be set aside.
const BYTES_MAX: usize = 128 << 20;

/// Bytes in front of the payload.
const HEADER_BYTES: usize = 5;

/// Why bytes are not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not even a header.
    #[error("{bytes} bytes are too few")]
    TooShort { bytes: usize },
    /// Written by a release that this one does not know.
    #[error("unknown format version {version}")]
    UnknownVersion { version: FormatVersion },
    /// The bytes are not those that were written.
    #[error("checksum {found:08x} instead of {expected:08x}")]
    Checksum { expected: u32, found: u32 },
    /// The bytes are intact, and of another type.
    #[error("malformed: {reason}")]
    Malformed { reason: String },
}

/// The bytes of `value`.
///
/// # Panics
/// If the type has no fixed shape (flattened or untagged serde attributes): a bug, found by its first test.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 64);
    encode_into(value, &mut bytes);
    bytes
}

/// The bytes of `value` in the version on which its readers have agreed.
///
/// No version differs from the first so far but in its number; the one that does gets its shape here.
///
/// # Panics
/// As [`encode`].
pub fn encode_as<T: Serialize>(version: FormatVersion, value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 64);
    write(version, value, &mut bytes);
    bytes
}

/// Appends the bytes of `value` to `bytes`.
///
/// # Panics
/// As [`encode`].
pub fn encode_into<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    write(VERSION, value, bytes);
}

fn write<T: Serialize>(version: FormatVersion, value: &T, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&[version, 0, 0, 0, 0]);
    bincode::serde::encode_into_std_write(value, bytes, bincode::config::standard())
        .expect("writing a type of fixed shape to memory cannot fail");
    let sum = checksum(version, &bytes[start + HEADER_BYTES..]);
    bytes[start + 1..start + HEADER_BYTES].copy_from_slice(&sum.to_be_bytes());
}

/// The value that [`encode`] made these bytes from.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_upto(VERSION, bytes)
}

/// As [`decode`], for values that keep slices of `bytes`.
pub fn decode_borrowed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    decode_upto(VERSION, bytes)
}

/// The value that [`encode_as`] made these bytes from, in a version up to `latest`.
pub fn decode_upto<'a, T: Deserialize<'a>>(
    latest: FormatVersion,
    bytes: &'a [u8],
) -> Result<T, CodecError> {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(CodecError::TooShort { bytes: bytes.len() });
    };
    let [version, sum @ ..] = *header;
    if !(1..=latest).contains(&version) {
        return Err(CodecError::UnknownVersion { version });
    }
    let (expected, found) = (u32::from_be_bytes(sum), checksum(version, payload));
    if expected != found {
        return Err(CodecError::Checksum { expected, found });
    }
    let malformed = |reason: String| CodecError::Malformed { reason };
    let config = bincode::config::standard().with_limit::<BYTES_MAX>();
    let (value, used) = bincode::serde::borrow_decode_from_slice(payload, config)
        .map_err(|error| malformed(error.to_string()))?;
    match payload.len() - used {
        0 => Ok(value),
        extra => Err(malformed(format!("{extra} bytes too many"))),
    }
}

fn checksum(version: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_any_byte_is_noticed() {
        let value = (7_u64, String::from("seven"), vec![1_u8, 2, 3]);
        let bytes = encode(&value);
        assert_eq!(decode(&bytes), Ok(value.clone()));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(decode::<(u64, String, Vec<u8>)>(&changed).is_err(), "byte {at}");
            assert!(decode::<(u64, String, Vec<u8>)>(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(decode::<(u64, String, Vec<u8>)>(&longer).is_err(), "one byte more");
    }

    #[test]
    fn versions_up_to_the_latest_are_read() {
        let later = encode_as(2, &7_u64);
        assert_eq!(decode_upto(2, &later), Ok(7_u64));
        assert_eq!(decode_upto(3, &later), Ok(7_u64));
        assert_eq!(decode::<u64>(&later), Err(CodecError::UnknownVersion { version: 2 }));
        assert_eq!(decode_upto(2, &encode(&7_u64)), Ok(7_u64));
        let mut none = encode(&7_u64);
        none[0] = 0;
        assert_eq!(decode::<u64>(&none), Err(CodecError::UnknownVersion { version: 0 }));
    }

    #[test]
    fn intact_bytes_of_another_type_are_malformed() {
        let error = decode::<u8>(&encode(&(1_u8, 2_u8))).unwrap_err();
        assert_eq!(error, CodecError::Malformed { reason: "1 bytes too many".into() });
    }
}
