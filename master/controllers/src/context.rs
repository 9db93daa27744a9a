//! What every controller is given: the copies to read, the client to write with, the clock.
//!
//! # Invariants
//! - A write returns only after this master's own copy shows it: the next look at the object reads what the last one
//!   wrote. If that takes too long, the key that is looked at is left alone until the copy shows it.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::Request;
use master_client::informer::{Kind, Store, key_of};
use master_client::pod::Pod;
use serde::Serialize;
use serde_json::json;
use store_env::clock::SharedClock;
use tokio::time::timeout;

use crate::error::Error;
use crate::events::Recorder;
use crate::informers::{Informers, Known};
use crate::unseen::Unseen;

/// One request to the API server takes this long at most.
pub(crate) const RPC_DEADLINE: Duration = Duration::from_secs(30);
/// How long a writer waits for its own write to show up in its copy.
const OWN_WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// What a certificate is asked for; decided by the controller, not by the requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignRequest {
    /// PEM, as in the `CertificateSigningRequest`.
    pub csr_pem: String,
    pub common_name: String,
    pub organization: Option<String>,
    /// Names and addresses of a serving certificate.
    pub alt_names: Vec<String>,
    /// A serving certificate, not a client's.
    pub is_serving: bool,
    pub lifetime: Duration,
}

/// What a signing request says of itself, read from its PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsrSubject {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// Names and addresses, in textual form.
    pub alt_names: Vec<String>,
}

/// The certificate authority, as seen from here.
pub trait Signer: Send + Sync + Debug {
    /// Reads and checks a request.
    fn inspect(&self, csr_pem: &str) -> Result<CsrSubject, String>;

    /// Issues the certificate chain, as PEM.
    fn sign(&self, request: &SignRequest) -> Result<String, String>;
}

/// What the controllers need to know of the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// The certificate authority, PEM: published as `kube-root-ca.crt`.
    pub root_ca_pem: String,
    /// Nodes get a /24 each of this: `10.244.0.0/16`.
    pub pod_cidr: String,
    /// Signs node certificates.
    pub signer: Arc<dyn Signer>,
    /// A node that shows no sign of life for this long is unknown.
    pub node_grace: Duration,
    /// Finished pods that are kept in the whole cluster.
    pub terminated_pods_max: usize,
}

impl Config {
    /// Upstream's defaults (50 s since v1.32; 12,500 pods).
    pub fn new(root_ca_pem: String, pod_cidr: String, signer: Arc<dyn Signer>) -> Self {
        let node_grace = Duration::from_secs(50);
        Self { root_ca_pem, pod_cidr, signer, node_grace, terminated_pods_max: 12_500 }
    }
}

/// What [`start`](crate::start) is given.
#[derive(Clone)]
pub struct Context {
    /// Writes through this master; every write carries the term of this leadership.
    pub client: kube::Client,
    pub informers: Informers,
    pub clock: SharedClock,
    pub config: Config,
}

impl Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("config", &self.config).finish_non_exhaustive()
    }
}

/// One controller's view: the context, and a recorder that signs its events.
#[derive(Clone)]
pub(crate) struct Cx {
    pub(crate) client: kube::Client,
    pub(crate) informers: Arc<Informers>,
    pub(crate) clock: SharedClock,
    pub(crate) config: Arc<Config>,
    pub(crate) events: Recorder,
    /// Of the key that is looked at.
    pub(crate) unseen: Unseen,
}

impl Cx {
    pub(crate) fn now(&self) -> Timestamp {
        let ms = i64::try_from(self.clock.unix_ms()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
    }

    /// Now, in whole seconds, as it is written into objects.
    pub(crate) fn now_s(&self) -> Time {
        Time(Timestamp::from_second(self.now().as_second()).unwrap_or(Timestamp::MAX))
    }

    /// Creates an object of a kind that is watched here.
    pub(crate) async fn create<K: Known + Serialize>(&self, object: &K) -> Result<K, Error> {
        let created = self.create_unseen(object).await?;
        self.catch_up(&created).await?;
        Ok(created)
    }

    /// Creates a pod: it is there, even if the copy takes its time to show it.
    pub(crate) async fn create_pod(&self, pod: &core::v1::Pod) -> Result<Pod, Error> {
        let request = requests_of(pod).create(&PostParams::default(), json(pod)?);
        let created = self.ask(request).await?;
        self.is_seen(&created).await;
        Ok(created)
    }

    /// Creates an object without waiting for a copy to show it.
    pub(crate) async fn create_unseen<K: Kind + Serialize>(&self, object: &K) -> Result<K, Error> {
        let request = requests_of(object).create(&PostParams::default(), json(object)?);
        self.ask(request).await
    }

    /// Writes an object as a whole; refused if it changed since it was read.
    pub(crate) async fn replace<K: Known + Serialize>(&self, object: &K) -> Result<K, Error> {
        let request =
            requests_of(object).replace(name(object), &PostParams::default(), json(object)?);
        let written = self.ask(request).await?;
        self.catch_up(&written).await?;
        Ok(written)
    }

    /// Writes a subresource (`status`, `approval`, `finalize`) of an object.
    pub(crate) async fn replace_part<K: Known + Serialize>(
        &self,
        part: &str,
        object: &K,
    ) -> Result<K, Error> {
        let params = PostParams::default();
        let request =
            requests_of(object).replace_subresource(part, name(object), &params, json(object)?);
        let written = self.ask(request).await?;
        self.catch_up(&written).await?;
        Ok(written)
    }

    /// Writes an object's status; refused if it changed since it was read.
    pub(crate) async fn replace_status<K: Known + Serialize>(
        &self,
        object: &K,
    ) -> Result<K, Error> {
        self.replace_part("status", object).await
    }

    /// A JSON merge patch of an object, on `part` of it if that is not empty.
    pub(crate) async fn merge<K: Known>(
        &self,
        object: &K,
        part: &str,
        patch: impl Serialize + Debug,
    ) -> Result<K, Error> {
        let (requests, params, patch) =
            (requests_of(object), PatchParams::default(), Patch::Merge(patch));
        let request = if part.is_empty() {
            requests.patch(name(object), &params, &patch)
        } else {
            requests.patch_subresource(part, name(object), &params, &patch)
        };
        let written = self.ask(request).await?;
        self.catch_up(&written).await?;
        Ok(written)
    }

    /// Changes what `status` says, and adds to its lists by their keys; refused if the object changed since it was read.
    pub(crate) async fn patch_status<K: Known>(
        &self,
        object: &K,
        status: impl Serialize + Debug,
    ) -> Result<K, Error> {
        let meta = object.meta();
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": status,
        }));
        let params = PatchParams::default();
        let request =
            requests_of(object).patch_subresource("status", name(object), &params, &patch);
        let written = self.ask(request).await?;
        self.catch_up(&written).await?;
        Ok(written)
    }

    /// Deletes this very object (by uid), in the background.
    pub(crate) async fn delete<K: Known>(&self, object: &K) -> Result<(), Error> {
        self.delete_with(object, None).await
    }

    /// Deletes this very object (by uid); `grace_s` 0 is at once.
    pub(crate) async fn delete_with<K: Known>(
        &self,
        object: &K,
        grace_s: Option<u32>,
    ) -> Result<(), Error> {
        let params = DeleteParams {
            grace_period_seconds: grace_s,
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions {
                uid: object.meta().uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        self.delete_as(object, &params).await
    }

    /// Deletes this very object after what it owns; refused if it changed since it was read.
    pub(crate) async fn delete_last<K: Known>(&self, object: &K) -> Result<(), Error> {
        let meta = object.meta();
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(Preconditions {
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        self.delete_as(object, &params).await
    }

    async fn delete_as<K: Known>(&self, object: &K, params: &DeleteParams) -> Result<(), Error> {
        let request = requests_of(object).delete(name(object), params);
        let answer = self.client.request_status::<K>(request.map_err(build)?);
        let _either =
            timeout(RPC_DEADLINE, answer).await.map_err(|_| Error::TooLate("delete"))??;
        let is_at_once = params.grace_period_seconds == Some(0);
        let (key, uid) = (key_of(object), object.meta().uid.clone());
        let is_seen = move |store: &Store<K>| {
            store.get(&key).is_none_or(|known| {
                let meta = known.meta();
                // What has finalizers stays for a while, however it is deleted.
                let may_stay = !is_at_once || meta.finalizers.iter().flatten().next().is_some();
                meta.uid != uid || (meta.deletion_timestamp.is_some() && may_stay)
            })
        };
        let store = K::store(&self.informers);
        let _owed = self.unseen.owed({
            let (store, is_seen) = (store.clone(), is_seen.clone());
            move || is_seen(&store)
        });
        // It is on its way, even if the copy takes its time to show it.
        let _late = timeout(OWN_WRITE_DEADLINE, store.wait_until(is_seen)).await;
        Ok(())
    }

    /// The object as the store has it, not as the local copy shows it; `None` if it is gone.
    pub(crate) async fn live<K: Kind>(&self, object: &K) -> Result<Option<K>, Error> {
        let request = requests_of(object).get(name(object), &kube::api::GetParams::default());
        match self.ask(request).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Error> {
        let answer = self.client.request::<T>(request.map_err(build)?);
        Ok(timeout(RPC_DEADLINE, answer).await.map_err(|_| Error::TooLate("request"))??)
    }

    /// Waits until the local copy is as new as `written`.
    async fn catch_up<K: Known>(&self, written: &K) -> Result<(), Error> {
        self.is_seen(written).await.then_some(()).ok_or(Error::TooLate("own write"))
    }

    /// Waits for the same, but not for ever; whether it has come about.
    async fn is_seen<K: Known>(&self, written: &K) -> bool {
        let version = written.meta().resource_version.clone().unwrap_or_default();
        let store = K::store(&self.informers);
        let _owed = self.unseen.owed({
            let (store, version) = (store.clone(), version.clone());
            move || store.wait_version(&version).now_or_never().is_some()
        });
        timeout(OWN_WRITE_DEADLINE, store.wait_version(&version)).await.is_ok()
    }
}

/// Requests for the collection that `object` is in.
fn requests_of<K: Kind>(object: &K) -> Request {
    let namespace = object.meta().namespace.as_deref().filter(|name| !name.is_empty());
    Request::new(<K as Resource>::url_path(&(), namespace))
}

fn name<K: Kind>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

fn json<K: Serialize>(object: &K) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(object).map_err(|error| Error::Malformed(error.to_string()))
}

fn build(error: kube::core::request::Error) -> Error {
    Error::Api(kube::Error::BuildRequest(error))
}
