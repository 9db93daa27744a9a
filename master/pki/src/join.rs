//! What a joining machine and a master say to each other, over TLS that the join token pins.
//!
//! The machine posts a [`JoinRequest`] to [`PATH`] with the token's bootstrap token as its bearer.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::Credential;

/// Where a machine asks to join.
pub const PATH: &str = "/trireme/v1/join";

/// Where a master tells how it is: a [`MasterStatus`].
pub const STATUS_PATH: &str = "/trireme/v1/status";

/// Where an administrator asks for a new join token (`?part=master|node`).
pub const TOKEN_PATH: &str = "/trireme/v1/token";

/// Where an administrator removes a master (`?name=`).
pub const REMOVE_PATH: &str = "/trireme/v1/remove";

/// How a machine asks to be let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "lowercase")]
pub enum JoinRequest {
    Master {
        name: String,
        /// Where the other masters reach it for Raft.
        peer: SocketAddr,
        /// Where nodes and pods reach its API.
        api: SocketAddr,
    },
    Node {
        name: String,
        addresses: Vec<IpAddr>,
        /// For the certificate that the node shows to masters.
        client_csr: String,
        /// For the certificate that the node's own server shows.
        serving_csr: String,
    },
}

/// What every machine of the cluster must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterFacts {
    pub cluster_id: u64,
    pub service_cidr: String,
    pub pod_cidr: String,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    /// `https://ip:port` of every master.
    pub masters: Vec<String>,
}

/// What a machine that was let in gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "lowercase")]
pub enum JoinReply {
    Master {
        facts: ClusterFacts,
        member_id: u64,
        authority: Credential,
        service_account_key_pem: String,
    },
    Node {
        facts: ClusterFacts,
        authority_pem: String,
        client_certificate_pem: String,
        serving_certificate_pem: String,
    },
}

/// A master's own account of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MasterStatus {
    pub name: String,
    /// `leader`, `follower`, `candidate` or `learner`.
    pub role: String,
    pub leader: Option<String>,
    pub term: u64,
    pub revision: i64,
    pub applied: u64,
    /// Log entries that it has not applied yet.
    pub lag: u64,
    pub sync_p99_ms: f64,
    /// RFC 3339, of the first of its certificates to end.
    pub certificate_expires: String,
    pub members: Vec<MemberStatus>,
}

/// A member of the group, as a master sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    pub id: u64,
    pub name: String,
    /// `https://ip:port` of its API.
    pub api: String,
    pub is_voter: bool,
}
