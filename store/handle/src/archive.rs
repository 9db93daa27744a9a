//! A snapshot as bytes: every record of a store, and a checksum over all of it at the end.
//!
//! ```text
//! "trireme-snapshot-1\n"  (key bytes: u32, value bytes: u32, key, value)*  0xffffffff
//! zeros up to a multiple of 512, then the SHA-256 of everything before it
//! ```
//! Numbers are big endian. The length is what etcd's tools look at to see that the checksum is there.
//!
//! # Invariants
//! - [`read`] believes no length before the bytes are there: what it holds is bounded by what it has read.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use store_mvcc::record::{self, Corrupt, Kind};
use store_mvcc::types::Revision;

use crate::handle::Export;

/// The first bytes of a snapshot of this version.
const MAGIC: &[u8] = b"trireme-snapshot-1\n";
/// What the first bytes of every version have in common.
const FAMILY: &[u8] = b"trireme-snapshot-";
/// In place of a record: there are no more.
const END: u32 = u32::MAX;
/// A snapshot's length is a multiple of it, and the checksum.
const BLOCK: usize = 512;
/// Bytes of the checksum.
const SUM_BYTES: usize = 32;
/// Bytes of records in one piece, about.
const PIECE_BYTES: usize = 256 << 10;

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(
        "it is not a snapshot of kstore or kmaster: it does not begin with `trireme-snapshot-1` \
         (a snapshot of etcd's own is not read)"
    )]
    Foreign,
    #[error("it was written by a later release, which this one does not read")]
    Later,
    #[error("it is cut off: a whole snapshot is a multiple of 512 bytes and 32, this is {bytes}")]
    CutOff { bytes: u64 },
    #[error("it is damaged: its checksum is {found}, and should be {expected}")]
    Checksum { expected: String, found: String },
    #[error("it is damaged: {0}")]
    Record(#[from] Corrupt),
    #[error("it is damaged: {0}")]
    Shape(&'static str),
}

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub revision: Revision,
    pub compacted: Revision,
    /// The latest time that its store had seen, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Versions of keys, those that are history included.
    pub versions: u64,
    pub leases: u64,
    /// All of its bytes, the checksum included.
    pub bytes: u64,
    /// The checksum at its end.
    pub sum: [u8; SUM_BYTES],
}

/// Makes a snapshot's bytes, piece by piece.
#[derive(Debug)]
pub struct Packer {
    export: Box<dyn Export>,
    sum: Sha256,
    bytes: usize,
    is_done: bool,
}

impl Packer {
    /// Of everything that `export` yields.
    pub fn new(export: Box<dyn Export>) -> Self {
        Self { export, sum: Sha256::new(), bytes: 0, is_done: false }
    }

    /// Whether the last piece has been taken.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The next piece. May read a disk.
    pub fn next_piece(&mut self) -> io::Result<Bytes> {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES + 4096);
        if self.bytes == 0 {
            piece.put_slice(MAGIC);
        }
        let records = self.export.next_chunk(PIECE_BYTES)?;
        self.is_done = records.is_empty();
        for (key, value) in records {
            piece.put_u32(length(&key)?);
            piece.put_u32(length(&value)?);
            piece.put_slice(&key);
            piece.put_slice(&value);
        }
        if self.is_done {
            piece.put_u32(END);
            piece.put_bytes(0, padding(self.bytes + piece.len()));
        }
        self.bytes += piece.len();
        self.sum.update(&piece);
        if self.is_done {
            piece.put_slice(&self.sum.clone().finalize());
        }
        Ok(piece.freeze())
    }
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length != END);
    length.ok_or_else(|| io::Error::other("a record is too large for a snapshot"))
}

fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK) - bytes
}

/// Checks a file as a whole, by its length and its checksum, before anything in it is believed; then reads
/// it once more, and every record in it.
pub fn check(file: &mut (impl Read + Seek)) -> Result<Summary, ArchiveError> {
    let bytes = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut first = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut first)?;
    check_magic(&first)?;
    let Some(summed) = bytes.checked_sub(SUM_BYTES as u64).filter(|rest| rest % BLOCK as u64 == 0)
    else {
        return Err(ArchiveError::CutOff { bytes });
    };
    let mut hasher = Sha256::new();
    hasher.update(&first);
    let mut body = file.by_ref().take(summed - first.len() as u64);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match body.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let mut expected = Vec::new();
    file.read_to_end(&mut expected)?;
    check_sum(hasher, &expected)?;
    file.seek(SeekFrom::Start(0))?;
    read(file, |_, _| Ok(()))
}

/// Reads a snapshot to its end, and hands each record over. Only once it has returned are they known to be
/// those that were written.
pub fn read(
    source: impl Read,
    mut each: impl FnMut(Vec<u8>, Vec<u8>) -> io::Result<()>,
) -> Result<Summary, ArchiveError> {
    let mut source = Summed { source, sum: Sha256::new(), bytes: 0 };
    check_magic(&source.take(MAGIC.len())?)?;
    let mut summary = Summary::default();
    let mut has_scalars = false;
    loop {
        let key_bytes = source.take_u32()?;
        if key_bytes == END {
            break;
        }
        let value_bytes = source.take_u32()?;
        let key = source.take(key_bytes as usize)?;
        let value = source.take(value_bytes as usize)?;
        match record::kind(&key, &value)? {
            Kind::Scalars { revision, compacted, now_ms } => {
                (summary.revision, summary.compacted, summary.now_ms) =
                    (revision, compacted, now_ms);
                has_scalars = true;
            }
            Kind::Lease => summary.leases += 1,
            Kind::Version { .. } => summary.versions += 1,
        }
        each(key, value)?;
    }
    if !has_scalars && summary.versions + summary.leases > 0 {
        return Err(ArchiveError::Shape("the record with the revision is missing"));
    }
    // An empty store is at revision 1, and writes nothing down.
    summary.revision = summary.revision.max(1);
    let padding = source.take(padding(source.bytes))?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(ArchiveError::Shape("there is something after the last record"));
    }
    let hasher = source.sum.clone();
    let expected = source.take(SUM_BYTES)?;
    check_sum(hasher, &expected)?;
    if source.source.read(&mut [0])? != 0 {
        return Err(ArchiveError::Shape("there is something after the checksum"));
    }
    summary.bytes = source.bytes as u64;
    summary.sum.copy_from_slice(&expected);
    Ok(summary)
}

/// A source that sums up what is taken from it.
struct Summed<R> {
    source: R,
    sum: Sha256,
    bytes: usize,
}

impl<R: Read> Summed<R> {
    fn take(&mut self, count: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut taken = Vec::new();
        (&mut self.source).take(count as u64).read_to_end(&mut taken)?;
        self.bytes += taken.len();
        if taken.len() < count {
            return Err(ArchiveError::CutOff { bytes: self.bytes as u64 });
        }
        self.sum.update(&taken);
        Ok(taken)
    }

    fn take_u32(&mut self) -> Result<u32, ArchiveError> {
        let mut number = [0; 4];
        number.copy_from_slice(&self.take(4)?);
        Ok(u32::from_be_bytes(number))
    }
}

fn check_magic(first: &[u8]) -> Result<(), ArchiveError> {
    match first {
        MAGIC => Ok(()),
        _ if first.starts_with(FAMILY) => Err(ArchiveError::Later),
        _ => Err(ArchiveError::Foreign),
    }
}

fn check_sum(hasher: Sha256, expected: &[u8]) -> Result<(), ArchiveError> {
    let found = hasher.finalize();
    if found[..] == *expected {
        return Ok(());
    }
    Err(ArchiveError::Checksum { expected: hex(expected), found: hex(&found) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
