//! The cluster's DNS, served by every node on the address of the DNS service.
//!
//! A pod asks its own node, so that losing any other machine never costs a name. [`zone`] is pure.

mod server;
pub mod zone;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_server::Server;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use master_client::informer::{Informer, ListWatch, Store};
use node_net::ip::{self, NetError};
use store_env::task::{Group, TaskError, TaskResult};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use zone::Zone;

const PORT: u16 = 53;
/// Changes that come this close together are served together.
const GATHER: Duration = Duration::from_millis(10);
const TCP_IDLE: Duration = Duration::from_secs(5);
/// Responses that may wait on one TCP connection.
const TCP_RESPONSES: usize = 64;

/// What the DNS must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The DNS service's address, `10.96.0.10`: put on this node's loopback device.
    pub address: Ipv4Addr,
    /// `cluster.local`
    pub domain: String,
}

/// Starts the DNS's tasks: two informers, the zone's keeper, the server.
pub fn start(client: &kube::Client, config: Config, group: &mut Group) {
    let (services, services_feed) =
        Informer::new(kube::Api::<Service>::all(client.clone()), ListWatch::all());
    let (slices, slices_feed) =
        Informer::new(kube::Api::<EndpointSlice>::all(client.clone()), ListWatch::all());
    let zone = Arc::new(ArcSwap::from_pointee(Zone::empty(&config.domain)));
    group.spawn("dns-services", move |stop| services_feed.run(stop));
    group.spawn("dns-slices", move |stop| slices_feed.run(stop));
    let (domain, kept) = (config.domain.clone(), zone.clone());
    group.spawn("dns-zone", move |stop| keep(domain, services, slices, kept, stop));
    group.spawn("dns", move |stop| serve(config, zone, stop));
}

/// Takes the address off this node again; for a node that is stopped for good.
pub async fn release(address: Ipv4Addr) -> Result<(), NetError> {
    ip::ip(&["addr", "del", &format!("{address}/32"), "dev", "lo"]).await.map(|_| ())
}

/// Keeps the zone equal to what the stores say.
async fn keep(
    domain: String,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    zone: Arc<ArcSwap<Zone>>,
    stop: CancellationToken,
) -> TaskResult {
    let mut service_changes = services.subscribe();
    let mut slice_changes = slices.subscribe();
    loop {
        let (service_list, slice_list) = (services.list(), slices.list());
        zone.store(Arc::new(Zone::build(
            &domain,
            service_list.iter().map(AsRef::as_ref),
            slice_list.iter().map(AsRef::as_ref),
        )));
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(_) = service_changes.recv() => {}
            Some(_) = slice_changes.recv() => {}
        }
        tokio::time::sleep(GATHER).await;
        while service_changes.try_recv().is_ok() || slice_changes.try_recv().is_ok() {}
    }
}

async fn serve(config: Config, zone: Arc<ArcSwap<Zone>>, stop: CancellationToken) -> TaskResult {
    ip::ip(&["addr", "replace", &format!("{}/32", config.address), "dev", "lo"]).await?;
    let at = (IpAddr::from(config.address), PORT);
    let named = |error: std::io::Error| -> TaskError {
        format!("cannot serve DNS on {}:{PORT}: {error}", config.address).into()
    };
    let mut server = Server::new(server::Handler::new(zone));
    server.register_socket(UdpSocket::bind(at).await.map_err(named)?);
    let listener = TcpListener::bind(at).await.map_err(named)?;
    server.register_listener(listener, TCP_IDLE, TCP_RESPONSES);
    tokio::select! {
        biased;
        () = stop.cancelled() => {
            server.shutdown_gracefully().await?;
            Ok(())
        }
        ended = server.block_until_done() => Ok(ended?),
    }
}
