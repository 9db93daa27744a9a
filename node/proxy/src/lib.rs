//! kube-proxy: services become nftables rules on this node.
//!
//! [`state`] reads services and endpoint slices, [`rules`] turns them into text, both pure; [`run`] feeds
//! the kernel. Rules stay when the agent ends: connections go on without it.

pub mod nft;
pub mod rules;
pub mod state;

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use master_client::informer::{Change, Informer, ListWatch, Store};
use store_env::task::{Group, TaskResult};
use tokio_util::sync::CancellationToken;

use rules::Ruleset;
use state::Config;

/// Changes that come this close together are programmed together.
const GATHER: Duration = Duration::from_millis(5);
/// After a refusal the whole table is written anew, but not in a tight loop.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the proxy's tasks: two informers, and the one that programs the kernel.
pub fn start(client: &kube::Client, config: Config, group: &mut Group) {
    let (services, services_feed) =
        Informer::new(kube::Api::<Service>::all(client.clone()), ListWatch::all());
    let (slices, slices_feed) =
        Informer::new(kube::Api::<EndpointSlice>::all(client.clone()), ListWatch::all());
    group.spawn("proxy-services", move |stop| services_feed.run(stop));
    group.spawn("proxy-slices", move |stop| slices_feed.run(stop));
    group.spawn("proxy", move |stop| run(config, services, slices, stop));
}

/// Keeps the kernel's rules equal to what the stores say, until stopped.
pub async fn run(
    config: Config,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    stop: CancellationToken,
) -> TaskResult {
    let mut service_changes = services.subscribe();
    let mut slice_changes = slices.subscribe();
    let ready = async {
        services.wait_synced().await;
        slices.wait_synced().await;
    };
    // Rules of an earlier run stay in force until both kinds are known: nothing is torn down meanwhile.
    if stop.run_until_cancelled(ready).await.is_none() {
        return Ok(());
    }
    let mut programmed: Option<Ruleset> = None;
    loop {
        let retry = !program(&config, &services, &slices, &mut programmed).await;
        let again = async {
            if retry {
                tokio::time::sleep(RETRY).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(()) = touched(&mut service_changes) => {}
            Some(()) = touched(&mut slice_changes) => {}
            () = again => {}
        }
        tokio::time::sleep(GATHER).await;
        while service_changes.try_recv().is_ok() || slice_changes.try_recv().is_ok() {}
    }
}

async fn touched<K>(changes: &mut tokio::sync::mpsc::Receiver<Change<K>>) -> Option<()> {
    changes.recv().await.map(|_| ())
}

/// True unless the kernel refused.
async fn program(
    config: &Config,
    services: &Store<Service>,
    slices: &Store<EndpointSlice>,
    programmed: &mut Option<Ruleset>,
) -> bool {
    let (services, slices) = (services.list(), slices.list());
    let state =
        state::build(config, services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref));
    let empty = Ruleset::default();
    let next = Ruleset::of(&state, programmed.as_ref().unwrap_or(&empty));
    let text = match programmed.as_ref() {
        Some(old) => rules::change(config, old, &next),
        None => rules::full(config, &next),
    };
    if text.is_empty() {
        return true;
    }
    match nft::apply(&text).await {
        Ok(()) => {
            tracing::debug!(elements = next.len(), "programmed");
            if let Some(old) = programmed.as_ref() {
                nft::forget_flows(old, &next, config.node_ip).await;
            }
            *programmed = Some(next);
            true
        }
        Err(error) => {
            tracing::warn!(%error, "cannot program services; the table is written anew");
            *programmed = None;
            false
        }
    }
}
