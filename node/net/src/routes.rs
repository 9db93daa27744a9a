//! Routes to the other nodes' pods, and the door through which pods leave the cluster's network.
//!
//! # Invariants
//! - Only routes into the cluster's pod range are ever touched, and of those only ones marked as ours.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use master_client::informer::Store;
use store_env::task::TaskResult;
use tokio_util::sync::CancellationToken;

use crate::ip::{self, NetError};
use crate::{Config, cni};

/// Marks our routes (`ip route … proto 84`).
const PROTOCOL: &str = "84";
const RETRY: Duration = Duration::from_secs(1);
/// Nodes that are no neighbours are reached through this VXLAN network.
const VXLAN_ID: &str = "4284";

/// What this node's network should look like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// This node's own pods.
    pub own: Option<String>,
    /// Pod range → the node that has it.
    pub others: BTreeMap<String, Ipv4Addr>,
}

/// Reads the nodes.
pub fn plan<'a>(config: &Config, nodes: impl Iterator<Item = &'a Node>) -> Plan {
    let mut plan = Plan::default();
    for node in nodes {
        let spec = node.spec.as_ref();
        let Some(range) = spec.and_then(|spec| spec.pod_cidr.clone()) else { continue };
        if node.metadata.name.as_deref() == Some(&config.node_name) {
            plan.own = Some(range);
        } else if let Some(address) = internal_address(node) {
            plan.others.insert(range, address);
        }
    }
    plan
}

fn internal_address(node: &Node) -> Option<Ipv4Addr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|it| it.type_ == "InternalIP")?.address.parse().ok()
}

/// Keeps routes and CNI configuration as the nodes ask, until stopped.
pub async fn run(config: Config, nodes: Store<Node>, stop: CancellationToken) -> TaskResult {
    let mut changes = nodes.subscribe();
    if stop.run_until_cancelled(nodes.wait_synced()).await.is_none() {
        return Ok(());
    }
    let mut done = None;
    loop {
        let list = nodes.list();
        let wanted = plan(&config, list.iter().map(AsRef::as_ref));
        let mut failed = false;
        if done.as_ref() != Some(&wanted) {
            match carry_out(&config, &wanted).await {
                Ok(()) => done = Some(wanted),
                Err(error) => {
                    tracing::warn!(%error, "the pod network is not as it should be");
                    failed = true;
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(_) = changes.recv() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
        }
        while changes.try_recv().is_ok() {}
    }
}

async fn carry_out(config: &Config, plan: &Plan) -> Result<(), NetError> {
    ip::sysctl("ipv4.ip_forward", "1").await?;
    if let Some(own) = &plan.own {
        ip::nft(&leave_as_node(config, own)).await?;
        cni::write(config, own).await?;
    }
    let there = ours(config).await?;
    for range in there.keys().filter(|range| !plan.others.contains_key(*range)) {
        ip::ip(&["route", "del", range, "proto", PROTOCOL]).await?;
    }
    for (range, node) in &plan.others {
        add_route(config, range, *node).await?;
    }
    Ok(())
}

/// Our routes as the kernel has them.
async fn ours(config: &Config) -> Result<BTreeMap<String, String>, NetError> {
    let text = ip::ip(&["route", "show", "proto", PROTOCOL]).await?;
    let network = config.pod_cidr_cluster.split('.').take(2).collect::<Vec<_>>().join(".");
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(range, _)| range.starts_with(&format!("{network}.")))
        .map(|(range, rest)| (range.to_owned(), rest.to_owned()))
        .collect())
}

async fn add_route(config: &Config, range: &str, node: Ipv4Addr) -> Result<(), NetError> {
    let via = node.to_string();
    if is_neighbour(&via).await? {
        ip::ip(&["route", "replace", range, "via", &via, "proto", PROTOCOL]).await?;
        return Ok(());
    }
    let device = vxlan(config).await?;
    // The other end's address inside the VXLAN network is its node address.
    ip::ip(&["route", "replace", range, "via", &via, "dev", &device, "onlink", "proto", PROTOCOL])
        .await?;
    let mac = vxlan_mac(node);
    ip::ip(&["neigh", "replace", &via, "lladdr", &mac, "dev", &device, "nud", "permanent"]).await?;
    ip::run("bridge", &["fdb", "replace", &mac, "dev", &device, "dst", &via], "").await?;
    Ok(())
}

/// Whether the kernel reaches an address without a gateway.
async fn is_neighbour(address: &str) -> Result<bool, NetError> {
    let text = ip::ip(&["route", "get", address]).await?;
    Ok(!text.split_whitespace().any(|word| word == "via"))
}

/// The VXLAN device of this node, made when it is first needed.
async fn vxlan(config: &Config) -> Result<String, NetError> {
    let device = format!("trv-{}", config.cluster_id);
    if ip::ip(&["link", "show", "dev", &device]).await.is_err() {
        let (local, mac) = (config.node_ip.to_string(), vxlan_mac(config.node_ip));
        ip::ip(&[
            "link",
            "add",
            &device,
            "address",
            &mac,
            "type",
            "vxlan",
            "id",
            VXLAN_ID,
            "dstport",
            "4789",
            "local",
            &local,
            "nolearning",
        ])
        .await?;
        ip::ip(&["link", "set", &device, "mtu", "1450", "up"]).await?;
    }
    Ok(device)
}

/// A locally administered address that follows from the node's: nobody has to be asked for it.
fn vxlan_mac(node: Ipv4Addr) -> String {
    let [a, b, c, d] = node.octets();
    format!("0e:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Pods that talk to the world outside leave as the node; inside the cluster they keep their address.
fn leave_as_node(config: &Config, own: &str) -> String {
    let table = format!("tri-{}-net-{}", config.cluster_id, config.node_name);
    let cluster = &config.pod_cidr_cluster;
    format!(
        "table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n\
         chain postrouting {{ type nat hook postrouting priority srcnat + 5; policy accept; \
         ip saddr {own} ip daddr != {{ {cluster}, 127.0.0.0/8 }} masquerade; }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, range: Option<&str>, address: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name}, "spec": {"podCIDR": range},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }))
        .unwrap()
    }

    #[test]
    fn every_other_node_with_a_range_gets_a_route() {
        let config = Config {
            cluster_id: "t".into(),
            node_name: "here".into(),
            node_ip: [10, 88, 0, 1].into(),
            pod_cidr_cluster: "10.244.0.0/16".into(),
            cni_conf_dir: "/c".into(),
            ipam_dir: "/i".into(),
        };
        let nodes = [
            node("here", Some("10.244.0.0/24"), "10.88.0.1"),
            node("there", Some("10.244.1.0/24"), "10.88.0.2"),
            node("new", None, "10.88.0.3"),
        ];
        let plan = plan(&config, nodes.iter());
        assert_eq!(plan.own.as_deref(), Some("10.244.0.0/24"));
        let expected = [("10.244.1.0/24".to_owned(), Ipv4Addr::new(10, 88, 0, 2))];
        assert_eq!(plan.others, expected.into());
    }

    #[test]
    fn vxlan_address_follows_from_the_node() {
        assert_eq!(vxlan_mac(Ipv4Addr::new(10, 88, 0, 2)), "0e:54:0a:58:00:02");
    }
}
