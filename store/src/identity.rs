//! Who this member is in which group: decided once, then kept beside its data.
//!
//! # Invariants
//! - Members that are given the same `--initial-cluster` and token work out the same numbers.
//! - Once the file is there, flags change nothing of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store_env::net::SharedNetwork;
use store_etcd::urls::{self, Url};
use store_handle::Member;
use store_raft::{Roster, Start, roster};

use crate::config::{Config, Named, Origin, sorted};
use crate::disks;

/// The file, in the data directory.
const FILE: &str = "member.json";
/// Of a group that was not rebuilt.
const FIRST_EPOCH: u64 = 1;
/// How long the members of a group are asked for our number.
const ASK_FOR: Duration = Duration::from_secs(30);
const ASK_WITHIN: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// In the data directory while a recovery is under way.
pub(crate) const INTENT: &str = "recovery.json";

/// A member's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) cluster_id: u64,
    pub(crate) epoch: u64,
    pub(crate) member_id: u64,
    /// All members of the group at its foundation; none if this one joined later.
    pub(crate) founders: Vec<Member>,
    /// Epochs in which this member was, before it recovered its group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) former_epochs: Vec<u64>,
}

impl Identity {
    /// What the data directory says, or else what the flags and the group say.
    pub(crate) async fn find(config: &Config, network: &SharedNetwork) -> anyhow::Result<Self> {
        let folder = &config.data_dir;
        let shown = folder.display();
        if folder.join(INTENT).exists() {
            bail!("a recovery of {shown} was interrupted: kstore recover --data-dir {shown} --yes");
        }
        if let Some(found) = Self::load(folder)? {
            return Ok(found);
        }
        if disks::are_in(folder) {
            bail!(
                "{shown} holds data and no {FILE}: a restore was interrupted, or the file is lost; empty the \
                 directory, then restore again, or add this member as a new one"
            );
        }
        let found = match config.origin {
            Origin::New => {
                Self::founder(&config.name, &config.initial_cluster, &config.token, FIRST_EPOCH)
            }
            Origin::Existing => Self::joiner(config, network).await?,
        };
        found.write(folder)?;
        Ok(found)
    }

    /// What the data directory says.
    pub(crate) fn load(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = data_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Keeps it in the data directory.
    pub(crate) fn write(&self, data_dir: &Path) -> anyhow::Result<()> {
        write(&data_dir.join(FILE), self)
    }

    pub(crate) fn start(&self) -> Start {
        match self.founders.is_empty() {
            true => Start::Join,
            false => Start::Found(self.founders.clone()),
        }
    }

    /// The member `name` of a new group.
    pub(crate) fn founder(name: &str, members: &[Named], token: &str, epoch: u64) -> Self {
        let number = |named: &Named| number(&[&sorted(&named.urls).join(","), token]);
        let founders: Vec<Member> = members
            .iter()
            .map(|named| Member {
                id: number(named),
                name: named.name.clone(),
                peer_address: named.urls[0].address.clone(),
                labels: urls::labels(&named.urls, &[]),
                is_voter: true,
            })
            .collect();
        let mut ids: Vec<String> = founders.iter().map(|founder| founder.id.to_string()).collect();
        ids.sort();
        let mine = members.iter().find(|named| named.name == name);
        Self {
            cluster_id: self::number(&[&ids.join(","), "cluster"]),
            epoch,
            member_id: mine.map_or(0, number),
            founders,
            former_epochs: Vec::new(),
        }
    }

    /// Asks the members of the group as what this one was added.
    async fn joiner(config: &Config, network: &SharedNetwork) -> anyhow::Result<Self> {
        let others = config.initial_cluster.iter().filter(|named| named.name != config.name);
        let others: Vec<&Url> = others.flat_map(|named| &named.urls).collect();
        if others.is_empty() {
            bail!("--initial-cluster names no other member of the group to join");
        }
        let mine = sorted(&config.advertise_peer);
        let deadline = tokio::time::Instant::now() + ASK_FOR;
        let mut reason = String::new();
        while tokio::time::Instant::now() < deadline {
            for other in &others {
                match roster::ask(network.clone(), &other.address, ASK_WITHIN).await {
                    Ok(roster) => match place(&roster, &mine) {
                        Some(found) => return Ok(found),
                        None => {
                            reason = format!("{other} knows no member with the peer URLs {mine:?}");
                        }
                    },
                    Err(error) => reason = format!("{other}: {error}"),
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        bail!(
            "{reason}; add it first: etcdctl member add {} --peer-urls={}",
            config.name,
            mine.join(",")
        )
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, content: &impl Serialize) -> anyhow::Result<()> {
    use std::io::Write as _;
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    Ok(sync_folder_of(path)?)
}

/// Removes a file, for good.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(path)?;
    Ok(sync_folder_of(path)?)
}

fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

/// The member of `roster` whose peer URLs these are.
fn place(roster: &Roster, mine: &[String]) -> Option<Identity> {
    let is_mine = |member: &&Member| {
        let label = member.labels.get(urls::PEER_URLS);
        let urls = urls::parse_list(label.map_or("", String::as_str)).unwrap_or_default();
        sorted(&urls) == mine
    };
    let found = roster.members.iter().find(is_mine)?;
    Some(Identity {
        cluster_id: roster.cluster_id,
        epoch: roster.epoch,
        member_id: found.id,
        founders: Vec::new(),
        former_epochs: Vec::new(),
    })
}

/// The first eight bytes of a hash; never 0.
fn number(parts: &[&str]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    let bytes = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(first).max(1)
}
