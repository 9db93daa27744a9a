//! The masters and nodes on this machine: where each lies, how its daemon is run; read back from their folders.
//!
//! `kctl start` and `kctl cluster` make the same folders, so whatever finds them here works for both.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use master_pki::files;
use master_pki::join::ClusterFacts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::process::Daemon;

/// A master is complete once this is in its folder: what its daemon reads.
const MASTER_FILE: &str = "config.json";
/// A node is complete once this is in its folder: what it was told when it joined, and its place.
const NODE_FILE: &str = "facts.json";
/// Written by a node's daemon: the masters as the cluster last named them.
const NODE_MASTERS_FILE: &str = "masters.json";

/// Where a master's daemon listens, and how others reach it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MasterPlace {
    pub name: String,
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// The first one is for this machine.
    pub api_listen: Vec<SocketAddr>,
    pub api_advertise: SocketAddr,
    #[serde(rename = "peerListen")]
    pub peer: SocketAddr,
}

impl MasterPlace {
    pub(super) fn daemon(&self, layout: &Layout) -> Daemon {
        let config = self.config_file().display().to_string();
        Daemon::new(layout, &self.name, "kmaster", vec!["run".into(), "--config".into(), config])
    }

    /// What its daemon reads.
    pub(super) fn config_file(&self) -> PathBuf {
        self.data_dir.join(MASTER_FILE)
    }

    /// Whether this master was set up before.
    pub(super) fn exists(&self) -> bool {
        self.config_file().exists()
    }

    /// Where this machine reaches its API.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.api_listen[0])
    }
}

/// Where a node's daemon lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodePlace {
    pub name: String,
    #[serde(skip)]
    pub data_dir: PathBuf,
    pub address: IpAddr,
    pub netns: Option<String>,
    /// Tells the clusters on one machine apart: [`Layout::id`].
    pub local_id: String,
}

/// What lies in a node's file.
#[derive(Serialize)]
struct Joined<'a> {
    #[serde(flatten)]
    facts: &'a ClusterFacts,
    #[serde(flatten)]
    place: &'a NodePlace,
}

impl NodePlace {
    pub(super) fn exists(&self) -> bool {
        self.data_dir.join(NODE_FILE).exists()
    }

    /// The last step of a join.
    pub(super) fn complete(&self, facts: &ClusterFacts) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(&Joined { facts, place: self })?;
        files::write_public(&self.data_dir.join(NODE_FILE), &text)?;
        Ok(())
    }

    /// All masters that the node ever heard of at its join, and those that there were of late.
    pub(super) fn masters(&self) -> anyhow::Result<Vec<String>> {
        let facts: ClusterFacts = read(&self.data_dir.join(NODE_FILE))?;
        let mut masters = facts.masters;
        let later = read::<Vec<String>>(&self.data_dir.join(NODE_MASTERS_FILE));
        masters.extend(later.unwrap_or_default());
        let mut seen = std::collections::BTreeSet::new();
        masters.retain(|url| seen.insert(url.clone()));
        Ok(masters)
    }

    pub(super) fn cgroup_root(&self) -> String {
        format!("/trireme-{}", self.local_id)
    }

    /// The node's daemon; its flags follow from what it was told when it joined.
    pub(super) fn daemon(&self, layout: &Layout) -> anyhow::Result<Daemon> {
        let facts: ClusterFacts = read(&self.data_dir.join(NODE_FILE))?;
        let pki = self.data_dir.join("pki");
        let path = |path: PathBuf| path.display().to_string();
        let mut args: Vec<String> = vec!["run".into()];
        let mut flag = |name: &str, value: String| args.extend([format!("--{name}"), value]);
        flag("name", self.name.clone());
        flag("data-dir", path(self.data_dir.clone()));
        flag("masters", facts.masters.join(","));
        flag("ca", path(pki.join("ca.crt")));
        flag("cert", path(pki.join("client.crt")));
        flag("key", path(pki.join("client.key")));
        flag("serving-cert", path(pki.join("serving.crt")));
        flag("serving-key", path(pki.join("serving.key")));
        flag("node-ip", self.address.to_string());
        flag("cluster-dns", facts.cluster_dns.to_string());
        flag("cluster-domain", facts.cluster_domain.clone());
        flag("pod-cidr-cluster", facts.pod_cidr.clone());
        flag("service-cidr", facts.service_cidr.clone());
        flag("cluster-id", self.local_id.clone());
        flag("cgroup-root", format!("{}/{}", self.cgroup_root(), self.name));
        flag("images", path(layout.images()));
        flag("manifests", path(self.data_dir.join("manifests")));
        if let Some(netns) = &self.netns {
            flag("netns", netns.clone());
        }
        Ok(Daemon::new(layout, &self.name, "knode", args))
    }
}

/// The masters that were set up in this folder.
pub(super) fn masters(layout: &Layout) -> anyhow::Result<Vec<MasterPlace>> {
    let found = folders_with(layout, MASTER_FILE)?.into_iter().map(|data_dir| {
        let place: MasterPlace = read(&data_dir.join(MASTER_FILE))?;
        anyhow::ensure!(!place.api_listen.is_empty(), "{} listens nowhere", place.name);
        Ok(MasterPlace { data_dir, ..place })
    });
    found.collect()
}

/// The nodes that were set up in this folder.
pub(super) fn nodes(layout: &Layout) -> anyhow::Result<Vec<NodePlace>> {
    let found = folders_with(layout, NODE_FILE)?.into_iter().map(|data_dir| {
        let place: NodePlace = read(&data_dir.join(NODE_FILE))?;
        Ok(NodePlace { data_dir, ..place })
    });
    found.collect()
}

fn folders_with(layout: &Layout, file: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    match std::fs::read_dir(&layout.dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| layout.shown()),
        Ok(entries) => {
            for entry in entries {
                let folder = entry?.path();
                if folder.join(file).is_file() {
                    folders.push(folder);
                }
            }
        }
    }
    folders.sort();
    Ok(folders)
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let shown = || path.display().to_string();
    let text = files::read(path).with_context(shown)?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged", shown()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_found_again_as_it_was_set_up() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { dir: folder.path().to_owned() };
        assert_eq!(nodes(&layout).unwrap(), []);
        let place = NodePlace {
            name: "node-1".into(),
            data_dir: layout.of_part("node-1"),
            address: [10, 0, 0, 4].into(),
            netns: None,
            local_id: layout.id(),
        };
        let facts = ClusterFacts {
            cluster_id: 7,
            service_cidr: "10.96.0.0/16".into(),
            pod_cidr: "10.244.0.0/16".into(),
            cluster_dns: [10, 96, 0, 10].into(),
            cluster_domain: "cluster.local".into(),
            masters: vec!["https://a".into(), "https://b".into()],
        };
        place.complete(&facts).unwrap();
        assert_eq!(nodes(&layout).unwrap(), std::slice::from_ref(&place));
        assert_eq!(masters(&layout).unwrap(), []);
        let later = place.data_dir.join(NODE_MASTERS_FILE);
        std::fs::write(later, r#"["https://b", "https://c"]"#).unwrap();
        assert_eq!(place.masters().unwrap(), ["https://a", "https://b", "https://c"]);
    }
}
