//! Who is in a group: asked by one that has been added to it, before it knows its own number.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store_env::net::SharedNetwork;
use store_handle::Member;

use crate::peers::{self, Times};
use crate::proto::Frame;
use crate::proto::peer_client::PeerClient;
use crate::wire;

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    pub cluster_id: u64,
    pub epoch: u64,
    pub members: Vec<Member>,
}

/// Asks the member that listens at `address` (`host:port`), and waits at most `within`.
pub async fn ask(network: SharedNetwork, address: &str, within: Duration) -> io::Result<Roster> {
    let times = Times::new(100, u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
    let channel = peers::channel(network, times, address).map_err(io::Error::other)?;
    let mut client = PeerClient::new(channel);
    let asked = tokio::time::timeout(within, client.roster(Frame::default())).await;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let frame = asked
        .map_err(late)?
        .map_err(|status| io::Error::other(peers::classify(&status).to_string()))?;
    wire::unframe(frame.get_ref())
}
