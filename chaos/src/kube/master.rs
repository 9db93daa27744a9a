//! The rest of a master: the production replica over a member's handle, behind a listener of the simulation's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use master_api::access::Identity;
use master_apiserver::{Server, ServerConfig};
use master_replica::{Config, Replica};
use store_env::clock::SharedClock;
use store_env::net::{Listener, Network};
use store_env::rng;
use store_env::task::{Crew, Group, TaskResult};
use store_handle::{Handle, MemberId, Term};
use tokio_util::sync::CancellationToken;

use super::witness::{Witness, told};
use super::{API_PORT, keys};
use crate::mutant::Mutation;
use crate::net::SimNetwork;
use crate::world::{SharedWorld, host, place};

/// Shorter than anybody's, so that a seed shows it.
pub(crate) const NODE_GRACE: Duration = Duration::from_secs(8);

/// How often a leader looks who belongs to the group.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Nodes renew about as often: with this mutation, some that live are taken for silent.
const HASTY_GRACE: Duration = Duration::from_millis(1_500);

/// Starts everything that a master has above its store.
pub(crate) async fn start(
    id: MemberId,
    handle: Arc<dyn Handle>,
    clock: SharedClock,
    network: &SimNetwork,
    world: &SharedWorld,
    group: &mut Group,
) -> anyhow::Result<()> {
    let keys = keys::shared()?;
    let (late_ms, life) = {
        let world = world.lock();
        (world.kube.late_ms, world.starts.get(&id).copied().unwrap_or(0))
    };
    let rng = rng::named("late", id * 1_000 + u64::from(life));
    let leadership = told(handle.leadership(), late_ms, rng, group);
    let server = ServerConfig {
        handle: Arc::new(Witness { inner: handle.clone(), world: world.clone(), leadership }),
        clock,
        cluster: Default::default(),
        tls: keys.tls,
        kubelet_client: keys.kubelet_client,
        sa_keys_pem: keys.sa_keys_pem,
        sa_issuer: "https://kubernetes.default.svc.cluster.local".into(),
        master_name: format!("m{id}"),
        advertise: address(id)?,
    };
    let mut controllers = master_controllers::Config::new(
        keys::AUTHORITY.into(),
        "10.244.0.0/16".into(),
        Arc::new(keys::NoSigner),
    );
    controllers.node_grace = match world.lock().mutation {
        Some(Mutation::EvictsHastily) => HASTY_GRACE,
        _ => NODE_GRACE,
    };
    let replica = Replica::start(Config { server, controllers }, group)?;
    let door = network.listen(&format!("0.0.0.0:{API_PORT}")).await?;
    let server = replica.server.clone();
    group.spawn("api", move |stop| accept(door, server, stop));
    let told = replica.server.clone();
    replica.lead(group, move |term, group| {
        let (server, handle) = (told.clone(), handle.clone());
        group.spawn("endpoints", move |stop| tell_where(server, handle, term, stop));
    });
    Ok(())
}

/// Where a master says that its API is.
fn address(id: MemberId) -> anyhow::Result<SocketAddr> {
    let last = u8::try_from(place(id)).context("a simulation has few masters")?;
    Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 88, 0, last)), API_PORT))
}

/// The same by the name of its host; `None`: no master has told this address.
pub(crate) fn named(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().ok()?;
    match address.ip() {
        IpAddr::V4(ip) => {
            Some(format!("{}:{}", host(MemberId::from(ip.octets()[3])), address.port()))
        }
        IpAddr::V6(_) => None,
    }
}

/// Says where the API is, whenever the group changes: so nodes and clients learn of masters that come. Unlike a
/// real master it does not ask whether they answer.
async fn tell_where(
    server: Arc<Server>,
    handle: Arc<dyn Handle>,
    term: Term,
    stop: CancellationToken,
) -> TaskResult {
    let mut told = Vec::new();
    loop {
        let members = handle.members();
        let masters = members.iter().map(|member| address(member.id));
        let masters = masters.collect::<anyhow::Result<Vec<SocketAddr>>>()?;
        if masters != told
            && server.set_kubernetes_endpoints(masters.clone(), Some(term)).await.is_ok()
        {
            told = masters;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(TELL_EVERY) => {}
        }
    }
}

async fn accept(
    mut door: Box<dyn Listener>,
    server: Arc<Server>,
    stop: CancellationToken,
) -> TaskResult {
    let mut crew = Crew::new();
    loop {
        let handshake = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            accepted = door.accept() => accepted?,
        };
        let (server, stop) = (server.clone(), stop.clone());
        crew.spawn(async move {
            let Ok(Ok(accepted)) = tokio::time::timeout(Duration::from_secs(2), handshake).await
            else {
                return;
            };
            server.serve_stream(accepted.stream, identity(&accepted.peer), stop).await;
        });
    }
}

/// Who a host is: nodes are nodes, and clients administer.
fn identity(host: &str) -> Identity {
    let (user, group) = match host.starts_with('n') {
        true => (format!("system:node:{host}"), "system:nodes"),
        false => ("kubernetes-admin".to_owned(), "system:masters"),
    };
    let groups = vec![group.to_owned(), "system:authenticated".to_owned()];
    Identity { user, groups, ..Identity::default() }
}
