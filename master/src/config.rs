//! What a master must know before it starts; read from one file, checked whole before a port binds.
//!
//! `kctl cluster init` and `kctl cluster join` write the file (`DATA-DIR/config.json`).

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How this member came to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It is the first member of a new cluster.
    Init,
    /// It waits to be added by the members that are there.
    Join,
}

/// A master's configuration. Every address is `ip:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    pub name: String,
    /// Drawn when the cluster was made; members refuse peers of another cluster.
    pub cluster_id: u64,
    /// Drawn when the member was added, never used again after its removal.
    pub member_id: u64,
    pub origin: Origin,
    /// Where the API is served.
    pub api_listen: Vec<SocketAddr>,
    /// Where nodes, pods and other masters reach this API.
    pub api_advertise: SocketAddr,
    pub peer_listen: SocketAddr,
    pub peer_advertise: SocketAddr,
    /// Cluster IPs come from here: `10.96.0.0/16`.
    pub service_cidr: String,
    /// Nodes get their pods' addresses from here: `10.244.0.0/16`.
    pub pod_cidr: String,
    /// The address of the DNS service.
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    #[serde(default = "default_heartbeat_ms")]
    pub heartbeat_ms: u64,
    #[serde(default = "default_election_ms")]
    pub election_ms: u64,
    /// Where data, keys and certificates lie: the folder of the file itself.
    #[serde(skip)]
    pub data_dir: PathBuf,
}

fn default_heartbeat_ms() -> u64 {
    100
}

fn default_election_ms() -> u64 {
    1_000
}

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}", path = path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("{path}: {field}: {problem}", path = path.display())]
    Invalid { path: PathBuf, field: &'static str, problem: String },
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut config: Self = serde_json::from_slice(&text)
            .map_err(|source| ConfigError::Malformed { path: path.to_owned(), source })?;
        config.data_dir = path.parent().unwrap_or(Path::new(".")).to_owned();
        match config.problem() {
            None => Ok(config),
            Some((field, problem)) => {
                Err(ConfigError::Invalid { path: path.to_owned(), field, problem })
            }
        }
    }

    /// The folder of keys and certificates.
    pub fn pki_dir(&self) -> PathBuf {
        self.data_dir.join("pki")
    }

    fn problem(&self) -> Option<(&'static str, String)> {
        if self.name.is_empty() {
            return Some(("name", "must not be empty".into()));
        }
        if self.member_id == 0 {
            return Some(("memberId", "must not be 0".into()));
        }
        if self.api_listen.is_empty() {
            return Some(("apiListen", "needs at least one address".into()));
        }
        if self.election_ms < 5 * self.heartbeat_ms {
            let least = 5 * self.heartbeat_ms;
            return Some(("electionMs", format!("must be at least 5 heartbeats: {least}")));
        }
        for (field, cidr) in [("serviceCidr", &self.service_cidr), ("podCidr", &self.pod_cidr)] {
            if !is_ipv4_cidr(cidr) {
                return Some((field, format!("`{cidr}` is not of the form 10.96.0.0/16")));
            }
        }
        None
    }
}

fn is_ipv4_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, length)| {
        address.parse::<std::net::Ipv4Addr>().is_ok()
            && length.parse::<u8>().is_ok_and(|length| length <= 28)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut serde_json::Value), expected: &str) {
        let mut json = serde_json::json!({
            "name": "master-1", "clusterId": 1, "memberId": 2, "origin": "init",
            "apiListen": ["127.0.0.1:6443"], "apiAdvertise": "127.0.0.1:6443",
            "peerListen": "127.0.0.1:6543", "peerAdvertise": "127.0.0.1:6543",
            "serviceCidr": "10.96.0.0/16", "podCidr": "10.244.0.0/16",
            "clusterDns": "10.96.0.10", "clusterDomain": "cluster.local",
        });
        change(&mut json);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, json.to_string()).unwrap();
        let got = Config::load(&path).map_or_else(|error| error.to_string(), |_| "fine".into());
        assert!(got.contains(expected), "{got} should contain {expected}");
    }

    #[test]
    fn wrong_fields_are_named() {
        check(|_| {}, "fine");
        check(|json| json["name"] = "".into(), "name: must not be empty");
        check(|json| json["memberId"] = 0.into(), "memberId");
        check(|json| json["apiListen"] = serde_json::json!([]), "apiListen");
        check(|json| json["apiAdvertise"] = "here".into(), "invalid socket address");
        check(|json| json["podCidr"] = "10.244.0.0".into(), "podCidr: `10.244.0.0`");
        check(|json| json["electionMs"] = 300.into(), "electionMs: must be at least 5");
        check(|json| json["surprise"] = 1.into(), "unknown field `surprise`");
    }
}
