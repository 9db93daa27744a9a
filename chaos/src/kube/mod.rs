//! The rest of a master in a simulation, and all that it serves: nodes with a kubelet that is simulated, and
//! clients, all of which speak the real API over the simulated network.
//!
//! ```text
//! host m1…  store (../member.rs) → witness → master-replica: API server, informers; controllers and scheduler in a term
//! host n1…  node.rs: a kubelet over `master-client`; what it runs outlives it
//! host c1…  workload/*.rs over `master-client`
//! ```
//! Who is at the other end of a connection is what its preamble says: there is no TLS. Everything behind that is
//! the production code.

pub mod client;
pub mod converged;
pub mod keys;
pub mod master;
pub mod node;
pub mod objects;
pub mod story;
pub mod witness;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Uri;
use master_client::masters::{self, MastersConfig};
use store_handle::MemberId;

use crate::clock::SimClock;
use crate::net::SimNetwork;
use crate::world::{SharedWorld, host};

/// Where a master's API is served.
pub(crate) const API_PORT: u16 = 6_443;

/// How often nodes and clients read who the masters are: sooner than real ones, as masters come and go faster.
const LEARN_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// Nodes are counted from here, and clients from the other, so that faults can cut them off as they do members.
const NODES: MemberId = 1_000;
const CLIENTS: MemberId = 2_000;

/// The machine of a node.
pub fn node(number: u64) -> MemberId {
    NODES + number
}

/// The machine of a client.
pub fn client(number: u64) -> MemberId {
    CLIENTS + number
}

/// The host of a machine that is no member; `None` if it is one.
pub(crate) fn host_of(machine: MemberId) -> Option<String> {
    match machine {
        CLIENTS.. => Some(format!("c{}", machine - CLIENTS)),
        NODES.. => Some(format!("n{}", machine - NODES)),
        _ => None,
    }
}

/// A pod that was started somewhere: namespace/name, and uid.
pub type PodId = (String, String);

/// A deployment, or a StatefulSet, as clients last wanted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub replicas: u32,
    pub image: String,
}

/// A client of these real masters, for whoever has this name.
pub type Connect =
    dyn Fn(&str, &[MemberId]) -> anyhow::Result<kube::Client> + Send + Sync + 'static;

/// How real masters are reached; in a simulation there are none.
#[derive(Clone)]
pub struct Door(pub Arc<Connect>);

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door(…)")
    }
}

/// What nodes and clients leave outside their hosts.
#[derive(Debug, Default)]
pub struct Kube {
    pub door: Option<Door>,
    /// How many nodes there are; none: only the store is simulated.
    pub nodes: u64,
    /// A master hears up to so much later that it leads no more.
    pub late_ms: u64,
    /// The pods whose containers run, by node: they outlive a kubelet.
    pub running: BTreeMap<String, BTreeSet<PodId>>,
    /// By namespace/name; what the clients' last acknowledged or pending wishes are.
    pub wanted: BTreeMap<String, Wanted>,
    /// The same of StatefulSets.
    pub wanted_sets: BTreeMap<String, Wanted>,
    /// Clients that have not finished what they began.
    pub busy: u32,
    /// Kubelets say nothing more: all has come to be, and the members are to agree.
    pub is_quiet: bool,
}

impl Kube {
    /// The zone of a node: two of them, of equal size.
    pub(crate) fn zone(node: u64) -> &'static str {
        if node.is_multiple_of(2) { "b" } else { "a" }
    }
}

/// A client of these masters, as the host of this name.
pub(crate) fn connect(
    world: &SharedWorld,
    name: &str,
    masters: &[MemberId],
) -> anyhow::Result<kube::Client> {
    let door = world.lock().kube.door.clone();
    if let Some(Door(connect)) = door {
        return connect(name, masters);
    }
    let uri = |member: &MemberId| format!("http://{}:{API_PORT}", host(*member)).parse::<Uri>();
    let mut config = MastersConfig::new(masters.iter().map(uri).collect::<Result<_, _>>()?);
    let links = world.lock().links.clone();
    config.network = Some(Arc::new(SimNetwork { name: name.to_owned(), links }));
    config.clock = Arc::new(SimClock::default());
    config.request_timeout = Some(std::time::Duration::from_secs(5));
    config.insecure = true;
    config.spread = true;
    // Who asks one master only wants to know what that one says.
    config.refresh = masters.len() > 1;
    config.refresh_every = LEARN_EVERY;
    Ok(masters::connect(config)?)
}
