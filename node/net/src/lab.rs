//! Several nodes on one machine: a bridge, and for each node but the first a namespace on it.
//!
//! ```text
//!   host (node-1, masters)          netns of node-2
//!   bridge 10.88.0.1/24  ----veth---- eth0 10.88.0.2/24, default via 10.88.0.1
//! ```
//! Each namespace is to its node what a machine of its own would be. Run in the machine's own namespace.

use std::net::Ipv4Addr;

use crate::ip::{self, NetError};

/// A local cluster's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lab {
    pub bridge: String,
    /// The bridge's address with its prefix length: `10.88.0.1/24`.
    pub address: String,
    /// The namespaces, with their address.
    pub nodes: Vec<(String, Ipv4Addr)>,
}

impl Lab {
    /// Makes what is missing.
    pub async fn up(&self) -> Result<(), NetError> {
        if ip::ip(&["link", "show", "dev", &self.bridge]).await.is_err() {
            ip::ip(&["link", "add", &self.bridge, "type", "bridge"]).await?;
        }
        ip::ip(&["addr", "replace", &self.address, "dev", &self.bridge]).await?;
        ip::ip(&["link", "set", &self.bridge, "up"]).await?;
        ip::sysctl("ipv4.ip_forward", "1").await?;
        for (index, (netns, address)) in self.nodes.iter().enumerate() {
            self.node_up(index, netns, *address).await?;
        }
        Ok(())
    }

    async fn node_up(&self, index: usize, netns: &str, address: Ipv4Addr) -> Result<(), NetError> {
        if ip::ip(&["-n", netns, "link", "show", "dev", "eth0"]).await.is_ok() {
            return Ok(());
        }
        // Left half-made by a start that was interrupted: begin again.
        let _ = ip::ip(&["netns", "del", netns]).await;
        ip::ip(&["netns", "add", netns]).await?;
        let peer = self.peer(index);
        let _ = ip::ip(&["link", "del", &peer]).await;
        ip::ip(&["link", "add", &peer, "type", "veth", "peer", "name", "eth0", "netns", netns])
            .await?;
        ip::ip(&["link", "set", &peer, "master", &self.bridge, "up"]).await?;
        // With br_netfilter, a connection that is redirected back to the node it came from is bridged,
        // not routed: the port must be allowed to send it where it came from.
        ip::ip(&["link", "set", &peer, "type", "bridge_slave", "hairpin", "on"]).await?;
        let (gateway, length) = self.address.split_once('/').unwrap_or((&self.address, "24"));
        let own = format!("{address}/{length}");
        ip::ip(&["-n", netns, "link", "set", "lo", "up"]).await?;
        ip::ip(&["-n", netns, "addr", "add", &own, "dev", "eth0"]).await?;
        ip::ip(&["-n", netns, "link", "set", "eth0", "up"]).await?;
        ip::ip(&["-n", netns, "route", "add", "default", "via", gateway]).await?;
        Ok(())
    }

    /// Removes all of it; what is not there is no error.
    pub async fn down(&self) -> Result<(), NetError> {
        for (netns, _) in &self.nodes {
            if let Err(error) = ip::ip(&["netns", "del", netns]).await {
                tracing::debug!(%error, "namespace was not there");
            }
        }
        if let Err(error) = ip::ip(&["link", "del", &self.bridge]).await {
            tracing::debug!(%error, "bridge was not there");
        }
        Ok(())
    }

    /// The bridge's end of a node's cable; interface names have at most 15 characters.
    fn peer(&self, index: usize) -> String {
        format!("{}-{}", self.bridge, index + 2)
    }
}
