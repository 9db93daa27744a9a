//! What a master is made of, in the order it starts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use master_api::access::Identity;
use master_apiserver::{Server, ServerConfig};
use master_registry::ClusterConfig;
use master_replica::Replica;
use store_env::clock::{SharedClock, SystemClock};
use store_env::task::Group;
use store_handle::Handle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::desk::Desk;
use crate::endpoints::Endpoints;
use crate::keys::{Keys, NodeSigner};
use crate::removed;
use crate::store::StoreThread;

/// What tasks get to end by themselves.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a master until `stop`, or until a part of it fails.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    removed::check(&config.data_dir)?;
    let clock = SystemClock::shared();
    let keys = Keys::load(&config.pki_dir())?;
    let mut listeners = Vec::new();
    for address in &config.api_listen {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.with_context(|| format!("cannot listen on {address}"))?);
    }
    let store_stop = CancellationToken::new();
    let store = StoreThread::start(&config, &keys, clock.clone(), store_stop.clone())?;
    let handle: Arc<dyn Handle> = store.handle.clone();
    let mut group = Group::under(&stop);
    let replica = Replica::start(replica_config(&config, &keys, &handle, &clock)?, &mut group)?;
    let server = replica.server.clone();
    server.mount(Arc::new(desk(&config, &keys, &handle, &server, &clock)?));
    let watch = removed::Watch {
        store: store.handle.clone(),
        member: config.member_id,
        data_dir: config.data_dir.clone(),
        ca_pem: keys.authority.certificate_pem().as_bytes().to_vec(),
        identity: keys.client_identity(),
    };
    group.spawn("removal", move |stop| watch.run(stop));
    store.watch_space(&mut group);
    for listener in listeners {
        let server = server.clone();
        group.spawn("api", move |stop| server.serve(listener, stop));
    }
    let endpoints = Endpoints {
        server,
        handle,
        own: config.api_advertise,
        ca_pem: keys.authority.certificate_pem().as_bytes().to_vec(),
        identity: keys.client_identity(),
    };
    replica.lead(&mut group, move |term, work| {
        let endpoints = endpoints.clone();
        work.spawn("endpoints", move |stop| endpoints.run(term, stop));
    });
    let store_ended = store.ended();
    tokio::pin!(store_ended);
    let api = group.run(GRACE);
    tokio::pin!(api);
    tokio::select! {
        biased;
        ended = &mut api => {
            store_stop.cancel();
            let store = store_ended.await;
            ended?;
            store
        }
        ended = &mut store_ended => {
            stop.cancel();
            api.await?;
            ended.context("the store stopped")
        }
    }
}

fn replica_config(
    config: &Config,
    keys: &Keys,
    handle: &Arc<dyn Handle>,
    clock: &SharedClock,
) -> anyhow::Result<master_replica::Config> {
    let range = |text: &str| text.parse().map_err(|_| anyhow::anyhow!("bad range {text}"));
    let signer = NodeSigner { authority: keys.authority.clone(), clock: clock.clone() };
    let controllers = master_controllers::Config::new(
        keys.authority.certificate_pem().to_owned(),
        config.pod_cidr.clone(),
        Arc::new(signer),
    );
    let server = ServerConfig {
        handle: handle.clone(),
        clock: clock.clone(),
        cluster: ClusterConfig {
            service_cidr: range(&config.service_cidr)?,
            pod_cidr: range(&config.pod_cidr)?,
            cluster_domain: config.cluster_domain.clone(),
            ..ClusterConfig::default()
        },
        tls: keys.api_tls(),
        kubelet_client: keys.kubelet_client(),
        sa_keys_pem: keys.service_account_key_pem.clone().into_bytes(),
        sa_issuer: format!("https://kubernetes.default.svc.{}", config.cluster_domain),
        master_name: config.name.clone(),
        advertise: config.api_advertise,
    };
    Ok(master_replica::Config { server, controllers })
}

fn desk(
    config: &Config,
    keys: &Keys,
    handle: &Arc<dyn Handle>,
    server: &Arc<Server>,
    clock: &SharedClock,
) -> anyhow::Result<Desk> {
    let identity = Identity {
        user: format!("system:master:{}", config.name),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..Identity::default()
    };
    Ok(Desk {
        config: config.clone(),
        authority: keys.authority.clone(),
        service_account_key_pem: keys.service_account_key_pem.clone(),
        handle: handle.clone(),
        client: server.client(identity, None),
        clock: clock.clone(),
        certificate_expires: keys.expires()?,
    })
}
