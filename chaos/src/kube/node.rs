//! A node: a small kubelet over the real API. It registers its node, renews its lease, runs what is bound to it,
//! says so, and lets go of what is deleted.
//!
//! # Invariants
//! - Containers outlive the kubelet, and run on while no master is heard.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use master_client::informer::{Informer, ListWatch, Store, key_of};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use store_env::rng;
use store_env::task::{Group, TaskResult};
use store_handle::MemberId;
use tokio_util::sync::CancellationToken;

use super::story::Run;
use super::{Kube, PodId, connect, node};
use crate::world::{self, SharedWorld, host};

/// What each node has to give, in thousandths of a CPU.
pub(crate) const CPU_MILLIS: u64 = 1_200;
const PODS_MAX: u64 = 40;

const RENEW_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(150);
const LEASES: &str = "kube-node-lease";

/// Runs a node until its machine ends.
pub(crate) async fn serve(number: u64, world: SharedWorld) -> turmoil::Result {
    let masters: Vec<MemberId> = world.lock().machines.keys().copied().collect();
    run(number, &masters, world, &CancellationToken::new()).await.map_err(Into::into)
}

/// Runs a node of these masters until it is told to stop.
pub async fn run(
    number: u64,
    masters: &[MemberId],
    world: SharedWorld,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let name = host(node(number));
    let client = connect(&world, &name, masters)?;
    let mut group = Group::under(stop);
    let pods: Api<Pod> = Api::all(client.clone());
    let bound = ListWatch::all().fields(format!("spec.nodeName={name}"));
    let (store, informer) = Informer::new(pods, bound);
    group.spawn("pods", |stop| informer.run(stop));
    let vital = Vital { number, name: name.clone(), client: client.clone(), world: world.clone() };
    group.spawn("vital signs", |stop| vital.run(stop));
    let rng = rng::named("node", number);
    let worker = Worker { name, client, world, store, rng, starting: BTreeMap::new() };
    group.spawn("pod workers", |stop| worker.run(stop));
    Ok(group.run(Duration::from_secs(1)).await?)
}

/// Whether kubelets are to say nothing more.
fn is_quiet(world: &SharedWorld) -> bool {
    world.lock().kube.is_quiet
}

/// The node object and its lease.
struct Vital {
    number: u64,
    name: String,
    client: kube::Client,
    world: SharedWorld,
}

impl Vital {
    async fn run(self, stop: CancellationToken) -> TaskResult {
        loop {
            if !is_quiet(&self.world) {
                if let Err(error) = self.report().await {
                    tracing::debug!(node = self.name, %error, "not reported");
                } else {
                    self.world.lock().count("vital signs");
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
        }
    }

    /// The lease shows life; the status is written when the masters think otherwise.
    async fn report(&self) -> Result<(), kube::Error> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let known = match nodes.get_opt(&self.name).await? {
            Some(known) => known,
            None => nodes.create(&PostParams::default(), &from(self.object())).await?,
        };
        let conditions = known.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let is_ready = conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True");
        if !is_ready {
            let status = json!({ "status": self.object()["status"] });
            let params = PatchParams::default();
            nodes.patch_status(&self.name, &params, &Patch::Merge(status)).await?;
        }
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let spec =
            json!({"holderIdentity": self.name, "leaseDurationSeconds": 8, "renewTime": now()});
        let renewed = json!({ "spec": spec });
        match leases.patch(&self.name, &PatchParams::default(), &Patch::Merge(renewed)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let lease = json!({"metadata": {"name": self.name}, "spec": spec});
                leases.create(&PostParams::default(), &from(lease)).await.map(drop)
            }
            outcome => outcome.map(drop),
        }
    }

    fn object(&self) -> serde_json::Value {
        let cpu = format!("{CPU_MILLIS}m");
        let room = json!({"cpu": cpu, "memory": "8Gi", "pods": PODS_MAX.to_string()});
        let condition = |kind: &str, status: &str| {
            json!({"type": kind, "status": status, "reason": "Simulated", "message": "",
                "lastHeartbeatTime": seconds(), "lastTransitionTime": seconds()})
        };
        json!({
            "metadata": {"name": self.name, "labels": {
                "kubernetes.io/hostname": self.name,
                "topology.kubernetes.io/zone": Kube::zone(self.number),
            }},
            "status": {"capacity": room, "allocatable": room, "conditions": [
                condition("MemoryPressure", "False"), condition("DiskPressure", "False"),
                condition("PIDPressure", "False"), condition("Ready", "True")]},
        })
    }
}

/// Runs pods.
struct Worker {
    name: String,
    client: kube::Client,
    world: SharedWorld,
    store: Store<Pod>,
    rng: StdRng,
    /// Pods whose images are being fetched, and until when.
    starting: BTreeMap<PodId, Duration>,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) -> TaskResult {
        loop {
            // What an empty copy does not show may be there all the same.
            if self.store.synced() && !is_quiet(&self.world) {
                self.look().await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&mut self) {
        let pods = self.store.list();
        let id = |pod: &Pod| (key_of(pod), pod.metadata.uid.clone().unwrap_or_default());
        for gone in self.running() {
            if !pods.iter().any(|pod| id(pod) == gone) {
                self.stop(&gone);
            }
        }
        for pod in pods {
            let id = id(&pod);
            let outcome = if pod.metadata.deletion_timestamp.is_some() {
                self.stop(&id);
                self.let_go(&pod).await
            } else if self.is_started(&id) && !is_said_to_run(&pod) {
                self.say(&pod).await
            } else {
                Ok(())
            };
            if let Err(error) = outcome {
                tracing::debug!(node = self.name, pod = id.0, %error, "not reported");
            }
        }
    }

    fn running(&self) -> Vec<PodId> {
        let world = self.world.lock();
        world.kube.running.get(&self.name).into_iter().flatten().cloned().collect()
    }

    /// Starts it, unless it has; whether it runs.
    fn is_started(&mut self, id: &PodId) -> bool {
        let (now, now_us) = (world::now(), world::now_us());
        let mut world = self.world.lock();
        let running = world.kube.running.entry(self.name.clone()).or_default();
        if running.contains(id) {
            return true;
        }
        let pull = Duration::from_millis(self.rng.random_range(50..600));
        if now < *self.starting.entry(id.clone()).or_insert(now + pull) {
            return false;
        }
        self.starting.remove(id);
        running.insert(id.clone());
        let (node, (pod, uid)) = (self.name.clone(), id.clone());
        world.note(now, format_args!("{node} runs {pod} {uid}"));
        world.history.kube.runs.push(Run { node, pod, uid, from_us: now_us, until_us: None });
        world.count("pods started");
        true
    }

    fn stop(&mut self, id: &PodId) {
        self.starting.remove(id);
        let now_us = world::now_us();
        let mut world = self.world.lock();
        let is_running =
            world.kube.running.get_mut(&self.name).is_some_and(|running| running.remove(id));
        if !is_running {
            return;
        }
        let name = &self.name;
        world.note(world::now(), format_args!("{name} stops {} {}", id.0, id.1));
        let is_it = |run: &&mut Run| run.uid == id.1 && run.node == *name && run.until_us.is_none();
        if let Some(run) = world.history.kube.runs.iter_mut().find(is_it) {
            run.until_us = Some(now_us);
        }
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn let_go(&self, pod: &Pod) -> Result<(), kube::Error> {
        let uid = pod.metadata.uid.clone();
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match self.api(pod).delete(name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    async fn say(&self, pod: &Pod) -> Result<(), kube::Error> {
        let condition =
            |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": seconds()});
        let status = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {
                "phase": "Running", "podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}],
                "startTime": seconds(),
                "conditions": [condition("PodScheduled"), condition("Initialized"),
                    condition("ContainersReady"), condition("Ready")],
            },
        });
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let params = PatchParams::default();
        match self.api(pod).patch_status(name, &params, &Patch::Merge(status)).await {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

fn is_said_to_run(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let conditions = status.conditions.iter().flatten();
    let is_ready = conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True");
    status.phase.as_deref() == Some("Running") && is_ready
}

/// The time, as leases carry it.
fn now() -> String {
    let ms = i64::try_from(world::unix_ms()).unwrap_or(0);
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{at:.6}")
}

/// The time in whole seconds, as everything else carries it.
fn seconds() -> String {
    let ms = i64::try_from(world::unix_ms()).unwrap_or(0);
    master_api::time::seconds(jiff::Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// An object as these simulations write it.
pub(crate) fn from<K: serde::de::DeserializeOwned>(object: serde_json::Value) -> K {
    serde_json::from_value(object).expect("written here, and of this kind")
}
