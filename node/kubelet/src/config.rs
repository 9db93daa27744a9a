//! What a kubelet is told at its start.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// A kubelet's settings, complete before anything starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the Node object and of this machine in the cluster.
    pub node_name: String,
    /// Address of the machine: `InternalIP`, and `hostIP` of its pods.
    pub node_ip: IpAddr,
    /// Where pods' volumes, logs and marks are kept.
    pub data_dir: PathBuf,
    /// Directory of static pods' manifests.
    pub manifests: Option<PathBuf>,
    /// Address of the cluster's DNS.
    pub cluster_dns: Option<IpAddr>,
    /// Suffix of the cluster's names, such as `cluster.local`.
    pub cluster_domain: String,
    /// Parent of all pods' cgroups, such as `/trireme-abcd`; differs between nodes of one machine.
    pub cgroup_root: String,
    /// Where the kubelet's server listens.
    pub listen: SocketAddr,
    /// The server's certificate and who may call it; no server without.
    pub server: Option<ServerTls>,
    /// Labels that the node gives itself.
    pub labels: Vec<(String, String)>,
    /// How many pods may run here.
    pub pods_max: u32,
}

/// TLS of the kubelet's server, all in PEM.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// Certificate chain, leaf first.
    pub cert_pem: Vec<u8>,
    /// The leaf's key.
    pub key_pem: Vec<u8>,
    /// Who signs the clients that may call.
    pub client_ca_pem: Vec<u8>,
}

impl Config {
    /// `DATA-DIR/pods/UID`: volumes, hosts file and termination messages of one pod.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }

    /// Parent of all pods' directories.
    pub fn pods_dir(&self) -> PathBuf {
        self.data_dir.join("pods")
    }

    /// Parent of all pods' logs.
    pub fn logs_dir(&self) -> PathBuf {
        self.data_dir.join("logs/pods")
    }

    /// `LOGS/NAMESPACE_NAME_UID`, as upstream names it.
    pub fn pod_logs_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs_dir().join(format!("{namespace}_{name}_{uid}"))
    }

    /// Where static pods come from, if anywhere.
    pub fn manifests(&self) -> Option<&Path> {
        self.manifests.as_deref()
    }

    /// The labels that the node gives itself.
    pub(crate) fn own_labels(&self) -> Vec<(String, String)> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let own = [
            ("kubernetes.io/hostname", self.node_name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", architecture),
        ];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        own.chain(self.labels.iter().cloned()).collect()
    }
}
