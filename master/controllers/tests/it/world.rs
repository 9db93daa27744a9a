//! One master without a network: store, API server, informers, controllers.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use master_api::access::Identity;
use master_apiserver::{KubeletClient, Server, ServerConfig, TlsMaterial};
use master_client::informer::Kind;
use master_controllers::{Config, Context, CsrSubject, Informers, SignRequest, Signer};
use master_pki::{Authority, Profile, Usage};
use serde_json::{Value, json};
use store_env::clock::SystemClock;
use store_env::task::{Crew, Group};
use tokio_util::sync::CancellationToken;

/// How long anything may take to come about.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) client: kube::Client,
    server: Arc<Server>,
    informers: Informers,
    config: Config,
    stop: CancellationToken,
    crew: Crew,
}

#[derive(Debug)]
struct TestSigner(Authority);

impl Signer for TestSigner {
    fn inspect(&self, csr_pem: &str) -> Result<CsrSubject, String> {
        let csr = master_pki::Csr::parse(csr_pem).map_err(|error| error.to_string())?;
        let addresses = csr.ip_addresses.iter().map(ToString::to_string);
        Ok(CsrSubject {
            common_name: csr.common_name,
            organizations: csr.organizations,
            alt_names: csr.dns_names.into_iter().chain(addresses).collect(),
        })
    }

    fn sign(&self, request: &SignRequest) -> Result<String, String> {
        let profile = Profile {
            common_name: request.common_name.clone(),
            organization: request.organization.clone(),
            alt_names: request.alt_names.clone(),
            usage: if request.is_serving { Usage::Server } else { Usage::Client },
            lifetime: request.lifetime,
        };
        self.0.sign_request(&request.csr_pem, &profile, 0).map_err(|error| error.to_string())
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose controllers are configured by `configure`.
    pub(crate) async fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let authority = Authority::generate("test-ca", 0).unwrap();
        let ca_pem = authority.certificate_pem().to_owned();
        let stop = CancellationToken::new();
        let mut group = Group::under(&stop);
        let clock = SystemClock::shared();
        let handle = store_handle::local::Local::start(clock.clone(), &mut group);
        let credential = |usage| {
            let profile = Profile {
                common_name: "server".to_owned(),
                organization: None,
                alt_names: vec!["127.0.0.1".to_owned()],
                usage,
                lifetime: Duration::from_secs(86_400),
            };
            authority.issue(&profile, clock.unix_ms()).unwrap()
        };
        let (tls, kubelet) = (credential(Usage::Server), credential(Usage::Client));
        let server = Server::new(ServerConfig {
            handle,
            clock: clock.clone(),
            cluster: Default::default(),
            tls: TlsMaterial {
                cert_chain_pem: tls.certificate_pem.into(),
                key_pem: tls.key_pem.into(),
                client_ca_pem: ca_pem.clone().into(),
            },
            kubelet_client: KubeletClient {
                cert_chain_pem: kubelet.certificate_pem.into(),
                key_pem: kubelet.key_pem.into(),
                ca_pem: ca_pem.clone().into(),
            },
            sa_keys_pem: master_auth::tokens::generate_pem().unwrap().into(),
            sa_issuer: "https://kubernetes.default.svc.cluster.local".into(),
            master_name: "master-1".into(),
            advertise: "127.0.0.1:6443".parse().unwrap(),
        })
        .unwrap();
        server.run_background(&mut group);
        let identity = |user: &str, group: &str| Identity {
            user: user.to_owned(),
            groups: vec![group.to_owned(), "system:authenticated".to_owned()],
            ..Identity::default()
        };
        let client = server.client(identity("admin", "system:masters"), None);
        let keeper = |group: &str, plural: &str| server.keeper(group, plural);
        let informers = Informers::start(&client, keeper, &mut group);
        let mut crew = Crew::new();
        crew.spawn(async move { group.run(Duration::from_secs(10)).await.unwrap() });
        assert!(server.cacher().wait_for(1, DEADLINE).await);
        server.bootstrap(None).await.unwrap();
        let signer = Arc::new(TestSigner(authority));
        let mut config = Config::new(ca_pem, "10.244.0.0/16".to_owned(), signer);
        configure(&mut config);
        let mut world = Self { client, server, informers, config, stop, crew };
        world.lead();
        world
    }

    /// Starts the controllers, as the user they are in a master.
    fn lead(&mut self) {
        let identity = Identity {
            user: "system:kube-controller-manager".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..Identity::default()
        };
        let context = Context {
            client: self.server.client(identity, None),
            informers: self.informers.clone(),
            clock: SystemClock::shared(),
            config: self.config.clone(),
        };
        let mut group = Group::under(&self.stop);
        master_controllers::start(context, &mut group);
        self.crew.spawn(async move { group.run(Duration::from_secs(10)).await.unwrap() });
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.crew.finish(Duration::from_secs(20)).await;
    }

    /// Objects of the namespace `default`.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Kind + serde::Serialize + kube::Resource<Scope = NamespaceResourceScope>,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    pub(crate) async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Kind + kube::Resource<Scope = NamespaceResourceScope>,
    {
        self.api().patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap()
    }

    /// The pods with this image; terminating ones are finished off on the way, as a kubelet would.
    pub(crate) async fn pods(&self, image: &str) -> Vec<Pod> {
        let api: Api<Pod> = self.api();
        let mut pods = api.list(&Default::default()).await.unwrap().items;
        for pod in &pods {
            if pod.metadata.deletion_timestamp.is_some() {
                let now = DeleteParams::default().grace_period(0);
                drop(api.delete(pod.metadata.name.as_deref().unwrap(), &now).await);
            }
        }
        pods.retain(|pod| {
            let containers = &pod.spec.as_ref().unwrap().containers;
            let is_wanted = containers[0].image.as_deref() == Some(image);
            is_wanted && pod.metadata.deletion_timestamp.is_none()
        });
        pods
    }

    /// Says that all pods with this image run and are ready.
    pub(crate) async fn make_ready(&self, image: &str) {
        for (place, pod) in self.pods(image).await.iter().enumerate() {
            let status = json!({"status": {"phase": "Running", "podIP": format!("10.1.0.{}", place + 1),
                "conditions": [{"type": "Ready", "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            let name = pod.metadata.name.as_deref().unwrap();
            let patch = Patch::Strategic(status);
            drop(self.api::<Pod>().patch_status(name, &PatchParams::default(), &patch).await);
        }
    }
}

/// Asks again until the answer is as expected.
pub(crate) async fn until<T, Fut>(expected: T, mut ask: impl FnMut() -> Fut)
where
    T: PartialEq + Debug,
    Fut: Future<Output = T>,
{
    let mut last = None;
    let asking = async {
        loop {
            let answer = ask().await;
            if answer == expected {
                return;
            }
            last = Some(answer);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, asking).await.is_ok();
    assert!(in_time, "{last:?} instead of {expected:?}");
}

pub(crate) fn deployment(replicas: i32, image: &str) -> Value {
    json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
        "template": template(image)}})
}

pub(crate) fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 8080}]}]}})
}
