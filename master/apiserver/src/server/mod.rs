//! The server: what every request may use, built once from its configuration.

pub mod accept;
pub mod client;
pub mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use master_auth::admission;
use master_auth::authn::Authenticator;
use master_auth::authz::Authorizer;
use master_auth::tokens::{TokenError, Tokens};
use master_registry::ClusterConfig;
use parking_lot::Mutex;
use store_env::clock::SharedClock;
use store_env::task::{Crew, Group};
use store_handle::Handle;
use tokio_util::sync::CancellationToken;

use crate::cacher::Cacher;
use crate::filter::in_flight::Places;
use crate::metrics::Metrics;
use crate::rest::quota::Turns;
use crate::route::Route;
use crate::served::{Current, Served};
use crate::storage::Storage;
use crate::subresource::kubelet::Kubelets;

pub use tls::{TlsError, TlsMaterial};

/// How this server proves to kubelets who it is, and whom it believes to be one; all PEM.
#[derive(Clone)]
pub struct KubeletClient {
    pub cert_chain_pem: Vec<u8>,
    pub key_pem: Vec<u8>,
    /// Kubelets' serving certificates are signed by this CA.
    pub ca_pem: Vec<u8>,
}

impl std::fmt::Debug for KubeletClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletClient").finish_non_exhaustive()
    }
}

/// Everything a server is made of.
#[derive(Clone)]
pub struct ServerConfig {
    pub handle: Arc<dyn Handle>,
    pub clock: SharedClock,
    pub cluster: ClusterConfig,
    pub tls: TlsMaterial,
    pub kubelet_client: KubeletClient,
    /// The keys of service-account tokens, PEM; equal on all masters, the first one signs.
    pub sa_keys_pem: Vec<u8>,
    /// The `iss` of tokens: `https://kubernetes.default.svc.cluster.local`.
    pub sa_issuer: String,
    pub master_name: String,
    /// Where clients inside the cluster reach this master.
    pub advertise: SocketAddr,
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig").field("master", &self.master_name).finish_non_exhaustive()
    }
}

/// Why a server cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("service-account keys: {0}")]
    Tokens(#[from] TokenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("service CIDR {0} is too small")]
    ServiceCidr(String),
}

/// One master's API server.
#[derive(Debug)]
pub struct Server {
    pub(crate) handle: Arc<dyn Handle>,
    pub(crate) clock: SharedClock,
    pub(crate) cluster: ClusterConfig,
    pub(crate) tls: TlsMaterial,
    pub(crate) master_name: String,
    pub(crate) advertise: SocketAddr,
    pub(crate) cacher: Arc<Cacher>,
    pub(crate) storage: Storage,
    served: Served,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) admission: admission::Chain,
    pub(crate) kubelets: Kubelets,
    pub(crate) metrics: Metrics,
    pub(crate) places: Places,
    pub(crate) quota_turns: Turns,
    /// Streams end when this is cancelled.
    pub(crate) draining: CancellationToken,
    /// Connections that were handed over: exec, attach, port-forward.
    pub(crate) tunnels: Mutex<Crew>,
    /// Paths of whoever assembled this server.
    routes: Mutex<Vec<Arc<dyn Route>>>,
}

impl Server {
    /// A server; nothing runs and nothing listens yet.
    pub fn new(config: ServerConfig) -> Result<Arc<Self>, ConfigError> {
        tls::server_config(&config.tls)?;
        let cacher = Arc::new(Cacher::new(config.handle.clone()));
        let tokens = Arc::new(Tokens::new(&config.sa_keys_pem, &config.sa_issuer, &[])?);
        let changes = cacher.rbac_changes();
        let authorizer = Arc::new(Authorizer::with_changes(cacher.clone(), changes));
        let clock = config.clock;
        Ok(Arc::new(Self {
            authenticator: Authenticator::new(tokens.clone(), cacher.clone(), clock.clone()),
            admission: admission::chain(&authorizer),
            authorizer,
            storage: Storage::new(config.handle.clone(), clock.clone()),
            served: Served::new(cacher.clone(), config.advertise),
            kubelets: Kubelets::new(&config.kubelet_client)?,
            tokens,
            cacher,
            handle: config.handle,
            clock,
            cluster: config.cluster,
            tls: config.tls,
            master_name: config.master_name,
            advertise: config.advertise,
            metrics: Metrics::default(),
            places: Places::default(),
            quota_turns: Turns::default(),
            draining: CancellationToken::new(),
            tunnels: Mutex::default(),
            routes: Mutex::default(),
        }))
    }

    /// Starts what must run for requests to be answered: the feed of the cache.
    pub fn run_background(&self, group: &mut Group) {
        let cacher = self.cacher.clone();
        group.spawn("cacher", |stop| cacher.feed(stop));
    }

    /// Lets `route` answer what lies below its prefix.
    pub fn mount(&self, route: Arc<dyn Route>) {
        self.routes.lock().push(route);
    }

    /// Who answers a path that is no resource, if not the server itself.
    pub(crate) fn route(&self, path: &str) -> Option<Arc<dyn Route>> {
        self.routes.lock().iter().find(|route| path.starts_with(route.prefix())).cloned()
    }

    /// What is served as of now: as this master's copy of the definitions of kinds says.
    pub(crate) fn served(&self) -> Arc<Current> {
        self.served.current()
    }

    /// This master's copy of all objects.
    pub fn cacher(&self) -> &Arc<Cacher> {
        &self.cacher
    }

    /// The address of the service `kubernetes`: the first of the service range.
    pub fn kubernetes_service_ip(&self) -> Option<IpAddr> {
        self.cluster.service_cidr.nth(1).map(IpAddr::V4)
    }
}
