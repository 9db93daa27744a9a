//! Looks through the log's write-ahead files before RocksDB replays them.
//!
//! RocksDB recycles these files, which makes a sync half as dear; what lies behind the last record is rubbish
//! then, and so replay stops at the first record that is not intact, whatever comes after it. After a crash
//! that is right: the last write was under way, and nobody was told that it was done. But damage in the
//! middle would silently take all later entries with it, and those were acknowledged. So: whenever there is an
//! intact write behind a place where replay would stop, it is first tried, on the files as they are and
//! without a change to them, whether replay gets to that write.
//!
//! ```text
//! a file     blocks of 32 KiB; no record crosses a block, a write may be several records
//! a record   masked CRC-32C: 4, length: 2, kind: 1, [number of the file: 4], payload    (little endian)
//! a write    sequence: 8, count of operations: 4, ...
//! ```
//! Source: RocksDB's `db/log_format.h` and `db/log_reader.cc`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
const RECYCLABLE_HEADER: usize = 11;

/// What replay will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The last operation of the last intact write; 0 if there is none.
    pub(crate) last_sequence: u64,
    /// The first record of these files that was begun and is not intact.
    pub(crate) damaged: Option<Place>,
    /// An intact write that does not follow on the one before it: replay may not get there.
    pub(crate) beyond: Option<Place>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) offset: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {} of {}", self.offset, self.file.display())
    }
}

/// Looks through all files of this database.
pub(crate) fn look_through(folder: &Path) -> io::Result<Finding> {
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|kind| kind == "log"))
        {
            files.push((number, path));
        }
    }
    files.sort();
    let mut finding = Finding::default();
    let mut next_sequence = None;
    for (number, file) in files {
        let bytes = fs::read(&file)?;
        scan(&bytes, number as u32, &mut |found| match found {
            Found::Write { offset, sequence, count } => {
                let follows = next_sequence.is_none_or(|next| next == sequence);
                if (!follows || finding.damaged.is_some()) && finding.beyond.is_none() {
                    finding.beyond = Some(Place { file: file.clone(), offset });
                }
                let end = sequence.saturating_add(u64::from(count));
                next_sequence = Some(end);
                finding.last_sequence = finding.last_sequence.max(end.saturating_sub(1));
            }
            Found::Damage { offset } => {
                let place = || Place { file: file.clone(), offset };
                finding.damaged.get_or_insert_with(place);
            }
        });
    }
    Ok(finding)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Write { offset: usize, sequence: u64, count: u32 },
    Damage { offset: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Full,
    First,
    Middle,
    Last,
}

/// What stands at a place where a record could begin.
enum Parsed<'a> {
    Record {
        part: Part,
        payload: &'a [u8],
        bytes: usize,
    },
    /// A record of this file, and not as it was written, or not to its end.
    Damaged,
    /// Never written, or written when the file had another number.
    Rubbish,
}

fn scan(bytes: &[u8], number: u32, tell: &mut dyn FnMut(Found)) {
    // A write that has begun: where, and what its first bytes say.
    let mut open: Option<(usize, [u8; 12])> = None;
    let mut is_searched = false;
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        let mut at = 0;
        while block.len() - at >= HEADER {
            let offset = index * BLOCK + at;
            let (part, payload, size) = match parse(&block[at..], number) {
                Parsed::Record { part, payload, bytes } => (part, payload, bytes),
                parsed => {
                    open = None;
                    let is_damaged = matches!(parsed, Parsed::Damaged);
                    if is_damaged {
                        tell(Found::Damage { offset });
                    }
                    // Later blocks begin with a record again; within this one, it has to be searched for.
                    if is_searched && !is_damaged {
                        break;
                    }
                    is_searched = true;
                    let intact =
                        |at: &usize| matches!(parse(&block[*at..], number), Parsed::Record { .. });
                    match (at + 1..block.len().saturating_sub(HEADER)).find(intact) {
                        Some(found) => at = found,
                        None => break,
                    }
                    continue;
                }
            };
            at += size;
            let head = || payload.first_chunk::<12>().copied();
            let whole = match part {
                Part::Full => head().map(|head| (offset, head)),
                Part::First => {
                    open = head().map(|head| (offset, head));
                    None
                }
                Part::Middle => None,
                Part::Last => open.take(),
            };
            if let Some((offset, head)) = whole {
                let [sequence @ .., c0, c1, c2, c3] = head;
                let count = u32::from_le_bytes([c0, c1, c2, c3]);
                tell(Found::Write { offset, sequence: u64::from_le_bytes(sequence), count });
            }
        }
    }
}

fn parse(bytes: &[u8], number: u32) -> Parsed<'_> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Parsed::Rubbish };
    let [c0, c1, c2, c3, l0, l1, kind] = *header;
    let (part, size) = match kind {
        1 => (Part::Full, HEADER),
        2 => (Part::First, HEADER),
        3 => (Part::Middle, HEADER),
        4 => (Part::Last, HEADER),
        5 => (Part::Full, RECYCLABLE_HEADER),
        6 => (Part::First, RECYCLABLE_HEADER),
        7 => (Part::Middle, RECYCLABLE_HEADER),
        8 => (Part::Last, RECYCLABLE_HEADER),
        _ => return Parsed::Rubbish,
    };
    let is_ours =
        bytes.get(HEADER..size).is_some_and(|own| own == &number.to_le_bytes()[..own.len()]);
    if !is_ours {
        return Parsed::Rubbish;
    }
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let Some(summed) = bytes.get(HEADER - 1..size + length) else { return Parsed::Damaged };
    if unmask(u32::from_le_bytes([c0, c1, c2, c3])) != crc32c(summed) {
        return Parsed::Damaged;
    }
    Parsed::Record { part, payload: &summed[size + 1 - HEADER..], bytes: size + length }
}

fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}

/// CRC-32 with Castagnoli's polynomial, a byte at a time: it reads a few megabytes once a start.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |sum: u32, byte: &u8| TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8);
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = index as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, number: u32, payload: &[u8]) -> Vec<u8> {
        let mut summed = vec![kind];
        if kind > 4 {
            summed.extend(number.to_le_bytes());
        }
        summed.extend(payload);
        let masked = crc32c(&summed).rotate_right(15).wrapping_add(0xa282_ead8);
        let mut record = masked.to_le_bytes().to_vec();
        record.extend(u16::try_from(payload.len()).unwrap().to_le_bytes());
        record.extend(summed);
        record
    }

    fn write(sequence: u64, count: u32, filling: usize) -> Vec<u8> {
        let mut payload = sequence.to_le_bytes().to_vec();
        payload.extend(count.to_le_bytes());
        payload.extend(vec![b'x'; filling]);
        payload
    }

    fn found(bytes: &[u8]) -> String {
        let mut text = String::new();
        scan(bytes, 9, &mut |found| {
            text += &match found {
                Found::Write { sequence, count, .. } => format!("{sequence}+{count} "),
                Found::Damage { offset } => format!("damage@{offset} "),
            }
        });
        text
    }

    #[test]
    fn checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn intact_writes_are_found_behind_damage_and_before_rubbish() {
        let full = |sequence| record(5, 9, &write(sequence, 2, 50));
        let all = [full(1), full(3), full(5)].concat();
        let size = full(1).len();
        let changed = |at: usize| {
            let mut bytes = all.clone();
            bytes[at] ^= 1;
            found(&bytes)
        };
        assert_eq!(found(&all), "1+2 3+2 5+2 ");
        assert_eq!(changed(size + 30), format!("1+2 damage@{size} 5+2 "), "its payload");
        assert_eq!(changed(size + 4), format!("1+2 damage@{size} 5+2 "), "its length");
        assert_eq!(changed(size + 6), format!("1+2 damage@{size} 5+2 "), "its kind");
        assert_eq!(changed(size + 7), "1+2 5+2 ", "its file's number");
        assert_eq!(changed(2 * size + 30), format!("1+2 3+2 damage@{} ", 2 * size));
        assert_eq!(found(&all[..3 * size - 1]), format!("1+2 3+2 damage@{} ", 2 * size));
        let recycled = [full(1), record(5, 8, &write(77, 2, 50))].concat();
        assert_eq!(
            found(&recycled),
            "1+2 ",
            "what the file held under its last number is not looked at"
        );
        assert_eq!(found(&[full(1), vec![0; 100_000]].concat()), "1+2 ");
    }

    #[test]
    fn write_of_several_records_is_whole_or_none() {
        let payload = write(4, 1, 40_000);
        let (first, last) = payload.split_at(BLOCK - RECYCLABLE_HEADER);
        let mut bytes =
            [record(6, 9, first), record(8, 9, last), record(5, 9, &write(5, 1, 0))].concat();
        assert_eq!(found(&bytes), "4+1 5+1 ");
        bytes[BLOCK + 100] ^= 1;
        assert_eq!(found(&bytes), format!("damage@{BLOCK} 5+1 "));
        bytes[BLOCK + 100] ^= 1;
        bytes[100] ^= 1;
        assert_eq!(found(&bytes[..40_000]), format!("damage@0 damage@{BLOCK} "));
        assert_eq!(found(&bytes), "damage@0 5+1 ");
    }
}
