//! The pod network of a node: every pod has a routed veth, every other node a route.
//!
//! No bridge, no overlay between nodes of one segment; nodes that are not neighbours are reached through
//! VXLAN. Pods keep their addresses inside the cluster; what they send elsewhere leaves as the node.

pub mod cni;
pub mod ip;
pub mod lab;
pub mod routes;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Node;
use master_client::informer::{Informer, ListWatch};
use store_env::task::Group;

/// What the pod network must know of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names the nft table and the CNI network: two clusters share a machine.
    pub cluster_id: String,
    pub node_name: String,
    pub node_ip: Ipv4Addr,
    /// All pods of the cluster: `10.244.0.0/16`.
    pub pod_cidr_cluster: String,
    /// Where the CNI configuration is written, for containerd to find.
    pub cni_conf_dir: PathBuf,
    /// Where `host-local` keeps which address is whose.
    pub ipam_dir: PathBuf,
}

/// Starts the tasks that keep this node's pod network in shape.
pub fn start(client: &kube::Client, config: Config, group: &mut Group) {
    let (nodes, feed) = Informer::new(kube::Api::<Node>::all(client.clone()), ListWatch::all());
    group.spawn("net-nodes", move |stop| feed.run(stop));
    group.spawn("net", move |stop| routes::run(config, nodes, stop));
}
