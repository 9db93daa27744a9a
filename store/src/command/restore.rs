//! `kstore snapshot restore`: a new member's data directory, which begins with a snapshot.
//!
//! All members of the new group are restored from the same file with the same flags: what they begin with is
//! equal, to the byte.
//!
//! # Invariants
//! - `member.json` is written last: a directory without it is not a member's, and none starts there.

use std::fs::{self, File};
use std::io::Seek as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use sha2::{Digest, Sha256};
use store_env::clock::SystemClock;
use store_handle::Revision;
use store_handle::archive::{self, Summary};
use store_raft::disk::StateDisk;
use store_raft::rebuild::{self, Disks, Place, Plan};

use super::{LEAP, say, status};
use crate::identity::Identity;
use crate::{config, disks};

/// Bytes of records that are written together, about.
const CHUNK_BYTES: usize = 1 << 20;

/// What stands for everything in the snapshot, in the new group's log.
const BASE: Place = Place { term: 1, index: 1 };

/// From what, and who it shall be. Flags are `etcdutl`'s.
#[derive(Clone, Debug, Args)]
pub(super) struct Restore {
    file: PathBuf,
    /// What this member is called.
    #[arg(long, default_value = "default")]
    name: String,
    /// Where its data shall lie: a directory that is empty or not there yet; `NAME.etcd` if not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// All members of the new group: NAME=PEER-URL,... ; this one alone if not given.
    #[arg(long)]
    initial_cluster: Option<String>,
    /// Tells groups apart that are made of the same addresses.
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Where other members reach this one.
    #[arg(long, default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: String,
    /// So many revisions are left out, so that none that a client has seen comes a second time.
    #[arg(long, default_value_t = LEAP, value_name = "REVISIONS", value_parser = clap::value_parser!(i64).range(0..=1 << 60))]
    bump_revision: Revision,
    /// History before is compacted, so that watches from then begin anew. Always so unless
    /// `--bump-revision` is 0.
    #[arg(long)]
    mark_compacted: bool,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let urls = config::peer_urls(&self.initial_advertise_peer_urls)?;
        let members = config::founders(&self.name, self.initial_cluster.as_deref(), &urls)?;
        let default = || PathBuf::from(format!("{}.etcd", self.name));
        let data_dir = self.data_dir.clone().unwrap_or_else(default);
        let (mut file, summary) = status::open(&self.file)?;
        must_be_empty(&data_dir)?;
        fs::create_dir_all(&data_dir)
            .with_context(|| format!("cannot create {}", data_dir.display()))?;
        let is_leap = self.bump_revision > 0 || self.mark_compacted;
        let leap = is_leap.then_some(self.bump_revision);
        let epoch = epoch(&summary, leap);
        let identity = Identity::founder(&self.name, &members, &self.initial_cluster_token, epoch);
        let revision = fill(&mut file, &data_dir, &identity, leap)?;
        identity.write(&data_dir)?;
        say(&format!(
            "{}: member {:x} of cluster {:x}, epoch {epoch}, with everything up to revision {}; it goes on \
             after revision {revision}{}",
            data_dir.display(),
            identity.member_id,
            identity.cluster_id,
            summary.revision,
            if is_leap { ", before which history is compacted" } else { "" },
        ));
        Ok(())
    }
}

/// Files of the file system's own do not count.
fn must_be_empty(folder: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    for entry in entries {
        let name = entry?.file_name();
        if name != "lost+found" {
            let (folder, name) = (folder.display(), name.display());
            bail!(
                "{folder} is not empty ({name}): give another --data-dir, or move away what is there"
            );
        }
    }
    Ok(())
}

/// Another one than that of any group with the same addresses that was not restored just so.
fn epoch(summary: &Summary, leap: Option<Revision>) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(summary.sum);
    hasher.update(leap.unwrap_or(-1).to_be_bytes());
    let bytes = hasher.finalize();
    2 + u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn fill(
    file: &mut File,
    data_dir: &Path,
    identity: &Identity,
    leap: Option<Revision>,
) -> anyhow::Result<Revision> {
    let (log, state) = disks::open(data_dir)?;
    let mut replacement = state.begin_replace()?;
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    file.rewind()?;
    archive::read(std::io::BufReader::new(file), |key, value| {
        bytes += key.len() + value.len();
        chunk.push((key, value));
        if bytes < CHUNK_BYTES {
            return Ok(());
        }
        bytes = 0;
        replacement.put(std::mem::take(&mut chunk))
    })?;
    replacement.put(chunk)?;
    replacement.install()?;
    let disks = Disks { log, state, clock: SystemClock::shared() };
    let members = identity.founders.clone();
    let plan = Plan { members, me: identity.member_id, base: BASE, leap };
    Ok(rebuild::rebuild(&disks, &plan)?)
}
