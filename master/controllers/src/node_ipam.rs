//! Gives each node its part of the cluster's pod addresses.
//!
//! Watches: `Node`. Writes: `Node.spec.podCIDR`.
//!
//! # Invariants
//! - Never two nodes the same: one worker, which asks the store itself (not its copy) what is taken.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use master_api::cidr::Cidr;
use serde_json::json;
use store_env::task::Group;
use tokio::time::timeout;

use crate::context::{Cx, RPC_DEADLINE};
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};

/// Addresses of one node: 256.
const NODE_PREFIX: u8 = 24;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    Controller::new("node-ipam-controller", cx, group).of(&cx.informers.nodes).run(1, reconcile);
}

fn pod_cidr(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.pod_cidr.as_deref().filter(|cidr| !cidr.is_empty())
}

async fn reconcile(cx: Cx, name: String) -> Result<Requeue, Error> {
    let known = cx.informers.nodes.get(&name);
    let Some(node) = known.filter(|node| pod_cidr(node).is_none()) else {
        return Ok(Requeue::OnChange);
    };
    let cluster: Cidr = cx.config.pod_cidr.parse().map_err(|_| {
        Error::Malformed(format!("pod CIDR {:?} is no IPv4 range", cx.config.pod_cidr))
    })?;
    let nodes: Api<Node> = Api::all(cx.client.clone());
    let everything = ListParams::default();
    let live = timeout(RPC_DEADLINE, nodes.list(&everything)).await;
    let live = live.map_err(|_| Error::TooLate("list of nodes"))??;
    if live.items.iter().any(|n| n.metadata.name == node.metadata.name && pod_cidr(n).is_some()) {
        return Ok(Requeue::OnChange);
    }
    let taken = live.items.iter().filter_map(pod_cidr).map(str::to_owned).collect();
    let Some(free) = plan(cluster, &taken) else {
        let text = format!("no addresses left in {}: add nodes with a larger pod CIDR", cluster);
        cx.events.warning(&*node, "CIDRNotAvailable", text);
        return Err(Error::Malformed(format!("{cluster} has no /{NODE_PREFIX} left")));
    };
    let patch = json!({"metadata": {"uid": node.metadata.uid},
        "spec": {"podCIDR": free, "podCIDRs": [free]}});
    cx.merge(&*node, "", patch).await.or_gone()?;
    Ok(Requeue::OnChange)
}

/// The first part of the cluster's range that nobody has.
fn plan(cluster: Cidr, taken: &BTreeSet<String>) -> Option<String> {
    let prefix = NODE_PREFIX.max(cluster.prefix());
    (0..1_u64 << (prefix - cluster.prefix()))
        .map_while(|index| cluster.subnet(prefix, index))
        .map(|part| part.to_string())
        .find(|part| !taken.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cluster: &str, taken: &[&str], expected: Option<&str>) {
        let taken = taken.iter().map(|&part| part.to_owned()).collect();
        let got = plan(cluster.parse().unwrap(), &taken);
        assert_eq!(got.as_deref(), expected, "{cluster} {taken:?}");
    }

    #[test]
    fn first_free_part_is_taken_until_none_is_left() {
        check("10.244.0.0/16", &[], Some("10.244.0.0/24"));
        check("10.244.0.0/16", &["10.244.0.0/24", "10.244.2.0/24"], Some("10.244.1.0/24"));
        check("10.244.0.0/23", &["10.244.0.0/24", "10.244.1.0/24"], None);
        check("10.244.7.0/24", &[], Some("10.244.7.0/24"));
    }
}
