//! Where things lie under a cluster's folder, and which names and addresses follow from it.
//!
//! ```text
//! DIR/cluster.json         what the cluster is made of, if it is all on this machine
//! DIR/admin.kubeconfig     the administrator's way in
//! DIR/pki/ca.crt           the cluster's authority
//! DIR/run/<name>.pid       one per master and node
//! DIR/logs/<name>.log
//! DIR/images/*.tar         loaded by every node at start
//! DIR/<name>/              data of one master or node
//! ```

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::Home;

/// The choice of address ranges: 0 is the default cluster's, others follow from the folder's name.
const RANGES_MAX: u8 = 30;

/// A cluster's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub dir: PathBuf,
}

impl Layout {
    /// The folder that was asked for, else `~/.trireme`.
    pub(super) fn of(home: &Home) -> anyhow::Result<Self> {
        let dir = match &home.data_dir {
            Some(dir) => std::path::absolute(dir)?,
            None => default_dir()?,
        };
        Ok(Self { dir })
    }

    pub(super) fn is_default(&self) -> bool {
        default_dir().is_ok_and(|dir| dir == self.dir)
    }

    pub(super) fn admin_kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.dir.join("pki/ca.crt")
    }

    pub(super) fn images(&self) -> PathBuf {
        self.dir.join("images")
    }

    pub(super) fn of_part(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The folder, for messages.
    pub(super) fn shown(&self) -> String {
        self.dir.display().to_string()
    }

    fn cluster_json(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    /// What the local cluster is made of, if it was ever started.
    pub(super) fn load(&self) -> anyhow::Result<Option<Cluster>> {
        let path = self.cluster_json();
        match std::fs::read(&path) {
            Ok(text) => {
                let cluster = serde_json::from_slice(&text)
                    .with_context(|| format!("{} is damaged", path.display()))?;
                Ok(Some(cluster))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    pub(super) fn save(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(cluster)?;
        master_pki::files::write_public(&self.cluster_json(), &text)?;
        Ok(())
    }

    /// A short name that differs between folders: bridges, namespaces and tables are called after it.
    pub(super) fn id(&self) -> String {
        let hash = hash(&self.dir);
        format!("{:04x}", hash & 0xffff)
    }
}

fn default_dir() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set: give --data-dir DIR")?;
    Ok(PathBuf::from(home).join(".trireme"))
}

/// FNV-1a over the path.
fn hash(path: &Path) -> u64 {
    path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What a local cluster is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cluster {
    pub id: String,
    pub base_port: u16,
    /// Which of the address ranges it uses.
    pub ranges: u8,
    pub masters: Vec<String>,
    pub nodes: Vec<String>,
}

/// The ranges of the clusters that run on this machine: their bridges have the first address.
pub(super) fn taken() -> BTreeSet<u8> {
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = addresses.filter_map(|it| Some(it.address?.as_sockaddr_in()?.ip().octets()));
    addresses.filter(|it| it[..2] == [10, 88]).map(|it| it[2]).collect()
}

impl Cluster {
    /// With address ranges that are not among those `taken` by other clusters, while there are any.
    pub(super) fn new(layout: &Layout, base_port: u16, taken: &BTreeSet<u8>) -> Self {
        let draw = u8::try_from((hash(&layout.dir) >> 16) % u64::from(RANGES_MAX - 1)).unwrap_or(0);
        let mut choices = (0..RANGES_MAX - 1).map(|step| 1 + (draw + step) % (RANGES_MAX - 1));
        let free = choices.find(|ranges| !taken.contains(ranges)).unwrap_or(1 + draw);
        let ranges = if layout.is_default() { 0 } else { free };
        Self { id: layout.id(), base_port, ranges, masters: Vec::new(), nodes: Vec::new() }
    }

    pub(super) fn service_cidr(&self) -> String {
        format!("10.{}.0.0/16", 96 + self.ranges)
    }

    pub(super) fn cluster_dns(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96 + self.ranges, 0, 10)
    }

    pub(super) fn pod_cidr(&self) -> String {
        // The default is the one that everybody knows; the others lie below it.
        let second = if self.ranges == 0 { 244 } else { 200 + self.ranges };
        format!("10.{second}.0.0/16")
    }

    /// The bridge's own address, which is also the first node's.
    pub(super) fn bridge_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 88, self.ranges, 1)
    }

    pub(super) fn bridge(&self) -> String {
        format!("tri-{}", self.id)
    }

    /// The address of the `index`-th node, from 0.
    pub(super) fn node_address(&self, index: usize) -> Ipv4Addr {
        let last = u8::try_from(1 + index).unwrap_or(u8::MAX);
        Ipv4Addr::new(10, 88, self.ranges, last)
    }

    /// The namespace that a node lives in; the first one lives in the machine's own.
    pub(super) fn node_netns(&self, index: usize) -> Option<String> {
        (index > 0).then(|| format!("tri-{}-node-{}", self.id, index + 1))
    }

    pub(super) fn api_port(&self, index: usize) -> u16 {
        self.base_port + u16::try_from(index).unwrap_or(0)
    }

    pub(super) fn peer_port(&self, index: usize) -> u16 {
        self.api_port(index) + 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &str) -> Layout {
        Layout { dir: dir.into() }
    }

    #[test]
    fn folders_have_names_and_ranges_of_their_own() {
        let a = Cluster::new(&layout("/tmp/a"), 6443, &BTreeSet::new());
        let b = Cluster::new(&layout("/tmp/b"), 7443, &BTreeSet::new());
        assert_ne!(a.id, b.id);
        assert_ne!((a.service_cidr(), a.pod_cidr()), (b.service_cidr(), b.pod_cidr()));
        assert!(a.ranges > 0 && b.ranges > 0, "range 0 belongs to the default cluster");
        let again = |taken| Cluster::new(&layout("/tmp/a"), 6443, &taken).ranges;
        assert_ne!(again([a.ranges].into()), a.ranges, "another cluster has these");
        let others = (1..RANGES_MAX).filter(|it| *it != 4).collect();
        assert_eq!(again(others), 4, "the last that is free");
    }

    #[test]
    fn first_node_shares_the_machine_and_the_others_do_not() {
        let cluster =
            Cluster { ranges: 0, ..Cluster::new(&layout("/tmp/a"), 6443, &BTreeSet::new()) };
        assert_eq!(cluster.node_address(0).to_string(), "10.88.0.1");
        assert_eq!(cluster.node_address(1).to_string(), "10.88.0.2");
        assert_eq!(cluster.node_netns(0), None);
        assert!(cluster.node_netns(1).unwrap().ends_with("-node-2"));
        assert_eq!((cluster.api_port(2), cluster.peer_port(2)), (6445, 6545));
    }
}
