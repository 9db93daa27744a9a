//! What a master is made of, in the order it starts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use master_api::access::Identity;
use master_apiserver::{Server, ServerConfig};
use master_controllers::{Context, Informers};
use master_registry::ClusterConfig;
use store_env::clock::{SharedClock, SystemClock};
use store_env::task::Group;
use store_handle::{Handle, Term};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::desk::Desk;
use crate::endpoints::Endpoints;
use crate::keys::{Keys, NodeSigner};
use crate::leader;
use crate::removed;
use crate::store::StoreThread;

/// What tasks get to end by themselves.
const GRACE: Duration = Duration::from_secs(5);
/// Watches resume, and pages of a list are read, from at most so long ago.
const HISTORY_KEPT: Duration = Duration::from_secs(300);
/// How long until bootstrap objects are tried again.
const RETRY: Duration = Duration::from_millis(200);

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
    let server = Server::new(server_config(&config, &keys, &handle, &clock)?)?;
    server.mount(Arc::new(desk(&config, &keys, &handle, &server, &clock)?));

    let mut group = Group::under(&stop);
    server.run_background(&mut group);
    let informers = Informers::start(&component(&server, CONTROLLERS, None), &mut group);
    let (compacted, compactor_clock) = (handle.clone(), clock.clone());
    group.spawn("compactor", move |stop| {
        store_handle::compactor::run(compacted, compactor_clock, HISTORY_KEPT, stop)
    });
    let watch = removed::Watch {
        handle: handle.clone(),
        member: config.member_id,
        data_dir: config.data_dir.clone(),
        ca_pem: keys.authority.certificate_pem().as_bytes().to_vec(),
        identity: keys.client_identity(),
    };
    group.spawn("removal", move |stop| watch.run(stop));
    for listener in listeners {
        let server = server.clone();
        group.spawn("api", move |stop| server.serve(listener, stop));
    }
    let leading = Leading { config, keys, clock, handle: handle.clone(), server, informers };
    group.spawn("leading", move |stop| async move {
        let leadership = leading.handle.leadership();
        let start = |term, in_term: &CancellationToken| leading.start(term, in_term);
        Ok(leader::run_while_leading(leadership, &stop, GRACE, start).await?)
    });
    drop(handle);
    // Whatever ends first, the other half is brought down with it: a master is whole or not at all.
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

/// Parts of this process that act as users of their own.
const CONTROLLERS: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

fn component(server: &Arc<Server>, user: &str, fence: Option<Term>) -> kube::Client {
    let groups = vec!["system:authenticated".to_owned()];
    server.client(Identity { user: user.to_owned(), groups, ..Identity::default() }, fence)
}

fn server_config(
    config: &Config,
    keys: &Keys,
    handle: &Arc<dyn Handle>,
    clock: &SharedClock,
) -> anyhow::Result<ServerConfig> {
    let range = |text: &str| text.parse().map_err(|_| anyhow::anyhow!("bad range {text}"));
    Ok(ServerConfig {
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
    })
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

/// What work of a term needs.
struct Leading {
    config: Config,
    keys: Keys,
    clock: SharedClock,
    handle: Arc<dyn Handle>,
    server: Arc<Server>,
    informers: Informers,
}

impl Leading {
    /// Everything that only a leader does, fenced by its term.
    fn start(&self, term: Term, in_term: &CancellationToken) -> Group {
        let mut group = Group::under(in_term);
        let server = self.server.clone();
        group.spawn("bootstrap", move |stop| async move {
            while let Err(error) = server.bootstrap(Some(term)).await {
                tracing::warn!(%error, "cannot create the objects of every cluster yet");
                if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                    return Ok(());
                }
            }
            stop.cancelled().await;
            Ok(())
        });
        let endpoints = Endpoints {
            server: self.server.clone(),
            handle: self.handle.clone(),
            own: self.config.api_advertise,
            ca_pem: self.keys.authority.certificate_pem().as_bytes().to_vec(),
            identity: self.keys.client_identity(),
        };
        group.spawn("endpoints", move |stop| endpoints.run(term, stop));
        let signer =
            NodeSigner { authority: self.keys.authority.clone(), clock: self.clock.clone() };
        let config = master_controllers::Config::new(
            self.keys.authority.certificate_pem().to_owned(),
            self.config.pod_cidr.clone(),
            Arc::new(signer),
        );
        let context = Context {
            client: component(&self.server, CONTROLLERS, Some(term)),
            informers: self.informers.clone(),
            clock: self.clock.clone(),
            config,
        };
        master_controllers::start(context, &mut group);
        let context = master_scheduler::Context {
            client: component(&self.server, SCHEDULER, Some(term)),
            inputs: master_scheduler::Inputs {
                pods: self.informers.pods.clone(),
                nodes: self.informers.nodes.clone(),
                namespaces: self.informers.namespaces.clone(),
                disruption_budgets: self.informers.disruption_budgets.clone(),
            },
            clock: self.clock.clone(),
            strategy: master_scheduler::Strategy::default(),
        };
        master_scheduler::start(context, &mut group);
        group
    }
}
