//! The kubelet, put together: sources on one side, the runtime on the other, workers between.
//!
//! # Path
//! sources → here → `workers.rs` → `worker.rs`; the runtime → `pleg.rs` → here

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use kube::Api;
use master_client::informer::{Change, Informer, ListWatch, Store};
use master_client::masters::Masters;
use node_cri::SharedRuntime;
use store_env::clock::SharedClock;
use store_env::task::{Group, TaskResult};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::admit::{Facts, Fresh};
use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::context::{Context, Machine};
use crate::error::{Error, Result};
use crate::events;
use crate::held::Held;
use crate::image::Images;
use crate::ledger::Ledger;
use crate::node::{self, fresh::Waiting};
use crate::objects::Objects;
use crate::pleg::{self, Listing};
use crate::pod;
use crate::probe::Probes;
use crate::rotate;
use crate::server;
use crate::source::{files, mirror};
use crate::statuses::Statuses;
use crate::volume::Volumes;
use crate::workers::Workers;

const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Traces of pods that are gone are looked for in every so many rounds of housekeeping.
const TRACES_EVERY: u32 = 30;

/// A kubelet's parts, handed in.
pub struct Parts {
    pub config: Config,
    pub clock: SharedClock,
    pub runtime: SharedRuntime,
    /// `None` runs static pods only.
    pub api: Option<(kube::Client, Masters)>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A pod that runs here, as other parts of the node may want to know.
pub type PodStore = Store<Pod>;

/// Starts a kubelet's tasks in `group`. Returns the pods that the API wants here, if there is an API.
pub fn start(parts: Parts, group: &mut Group) -> Result<Option<PodStore>> {
    assemble(parts, group).map(|(_, pods)| pods)
}

/// As [`start`], with what the workers share.
pub(crate) fn assemble(
    parts: Parts,
    group: &mut Group,
) -> Result<(Arc<Context>, Option<PodStore>)> {
    let Parts { config, clock, runtime, api } = parts;
    let (client, masters) = api.unzip();
    let config = Arc::new(config);
    for directory in [config.pods_dir(), config.logs_dir()] {
        std::fs::create_dir_all(&directory).map_err(Error::io(&directory))?;
    }
    let objects = Objects::new(client.clone());
    let (recorder, sender) = events::recorder(&config.node_name, clock.clone(), objects.clone());
    let services = client
        .as_ref()
        .map(|client| informer(Api::all(client.clone()), ListWatch::all(), "services", group));
    let statuses = Statuses::new(objects.clone());
    let context = Arc::new(Context {
        volumes: Volumes::new(config.clone(), objects.clone(), clock.clone()),
        images: Images::new(runtime.clone(), objects.clone(), clock.clone(), recorder.clone()),
        probes: Probes::new(runtime.clone(), clock.clone(), recorder.clone()),
        cgroups: Cgroups::detect(),
        machine: Machine::read(),
        ledger: Ledger::new(),
        masters,
        events: recorder,
        config: config.clone(),
        statuses: statuses.clone(),
        services,
        objects: objects.clone(),
        clock: clock.clone(),
        runtime: runtime.clone(),
    });
    group.spawn("kubelet-events", |stop| sender.run(stop));
    let (statics, static_news) = watch::channel(None);
    let (manifests, node) = (config.manifests.clone(), config.node_name.clone());
    group.spawn("kubelet-files", move |stop| files::run(manifests, node, statics, stop));
    let (latest, listing) = watch::channel(Listing::default());
    let (changes, changed) = mpsc::channel(64);
    let pleg_clock = clock.clone();
    group.spawn("kubelet-pleg", move |stop| pleg::run(runtime, pleg_clock, latest, changes, stop));
    let pods = client.as_ref().map(|client| {
        let ours = ListWatch::all().fields(format!("spec.nodeName={}", config.node_name));
        informer::<Pod>(Api::all(client.clone()), ours, "pods", group)
    });
    let nodes = client.as_ref().map(|client| {
        let own = ListWatch::all().fields(format!("metadata.name={}", config.node_name));
        informer::<Node>(Api::all(client.clone()), own, "node", group)
    });
    if let Some(pods) = &pods {
        let (objects, node) = (objects.clone(), config.node_name.clone());
        let (statics, pods, statuses) = (static_news.clone(), pods.clone(), statuses.clone());
        group.spawn("kubelet-mirrors", move |stop| {
            mirror::run(objects, node, statics, pods, statuses, stop)
        });
        node::start(&context, &listing, group);
    }
    let for_logs = context.clone();
    group.spawn("kubelet-logs", move |stop| rotate::run(for_logs, stop));
    let shown = pods.clone();
    group.spawn("kubelet-statuses", move |stop| statuses.run(shown, stop));
    server::start(&context, pods.clone(), static_news.clone(), group)?;
    let shared = context.clone();
    let (questions, asked) = watch::channel(Waiting::new());
    let (answered, answers) = watch::channel(None);
    let (for_facts, pods_here) = (context.clone(), pods.clone());
    group.spawn("kubelet-facts", move |stop| node::fresh::run(for_facts, asked, answered, stop));
    let statics = static_news;
    let main =
        Loop { context, pods: pods_here, nodes, statics, listing, changed, questions, answers };
    group.spawn("kubelet-pods", move |stop| main.run(stop));
    Ok((shared, pods))
}

fn informer<K>(api: Api<K>, what: ListWatch, name: &str, group: &mut Group) -> Store<K>
where
    K: master_client::informer::Kind,
{
    let (store, informer) = Informer::new(api, what);
    group.spawn(format!("kubelet-informer-{name}"), |stop| informer.run(stop));
    store
}

/// Where all news meet.
struct Loop {
    context: Arc<Context>,
    pods: Option<Store<Pod>>,
    /// This node, as the masters have it.
    nodes: Option<Store<Node>>,
    statics: watch::Receiver<files::StaticPods>,
    listing: watch::Receiver<Listing>,
    changed: mpsc::Receiver<BTreeSet<String>>,
    questions: watch::Sender<Waiting>,
    answers: watch::Receiver<Option<Facts>>,
}

impl Loop {
    async fn run(mut self, stop: CancellationToken) -> TaskResult {
        let held = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            held = self.look_around() => held,
        };
        let mut workers = Workers::new(self.context.clone(), held, stop.clone());
        let mut changes = self.pods.as_ref().map(Store::subscribe);
        let mut node_changes = self.nodes.as_ref().map(Store::subscribe);
        let mut ticks = tokio::time::interval(HOUSEKEEPING);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0_u32;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    workers.finish().await;
                    return Ok(());
                }
                Some(uids) = self.changed.recv() => {
                    uids.iter().for_each(|uid| workers.poke(uid));
                    if workers.has_ended_ones() {
                        self.settle(&mut workers);
                    }
                }
                () = next_change(&mut changes) => self.settle(&mut workers),
                () = next_change(&mut node_changes) => {
                    if workers.is_waiting() {
                        self.settle(&mut workers);
                    }
                }
                Ok(()) = self.statics.changed() => self.settle(&mut workers),
                Ok(()) = self.answers.changed() => self.settle_waiting(&mut workers),
                _ = ticks.tick() => {
                    rounds += 1;
                    if workers.has_ended_ones() || workers.is_waiting() {
                        self.settle(&mut workers);
                    }
                    self.keep_house(&mut workers, rounds.is_multiple_of(TRACES_EVERY));
                }
            }
        }
    }

    /// What is here already. Nothing can be done before the runtime tells.
    async fn look_around(&self) -> Held {
        loop {
            match Held::read(self.context.runtime.as_ref()).await {
                Ok(held) => return held,
                Err(error) => tracing::warn!(%error, "runtime not listed: pods wait"),
            }
            tokio::time::sleep(HOUSEKEEPING).await;
        }
    }

    /// Makes the workers follow what is wanted. Who would be refused by the copy of the node waits for the masters' own.
    fn settle(&self, workers: &mut Workers) {
        let facts = self.facts();
        let waiting = workers.reconcile(&self.wanted(), facts.as_ref());
        if facts.is_some() {
            self.ask(waiting);
        }
    }

    /// What the node is was read anew for those that waited.
    fn settle_waiting(&mut self, workers: &mut Workers) {
        let facts = self.answers.borrow_and_update().clone();
        let waiting = workers.reconcile(&self.wanted(), facts.as_ref());
        // Those that were answered for may ask again.
        self.questions.send_replace(Waiting::new());
        self.ask(waiting);
    }

    fn ask(&self, waiting: &Waiting) {
        self.questions.send_if_modified(|asked| {
            let is_news = asked != waiting;
            asked.clone_from(waiting);
            is_news
        });
    }

    /// What the node is, as far as the copy shows it; `None` before there is one.
    fn facts(&self) -> Option<Facts> {
        let (config, machine) = (&self.context.config, self.context.machine);
        let Some(nodes) = &self.nodes else {
            return Some(Facts::own(config, machine, Fresh::ForAll));
        };
        let facts = match nodes.get(&config.node_name) {
            Some(node) => Facts::read(&node, Fresh::ForNobody),
            None => Facts::own(config, machine, Fresh::ForNobody),
        };
        nodes.synced().then_some(facts)
    }

    /// The pods that are to be here, by uid.
    fn wanted(&self) -> BTreeMap<String, Arc<Pod>> {
        let mut wanted = self.statics.borrow().clone().unwrap_or_default();
        let pods = self.pods.iter().flat_map(Store::list);
        for pod in pods.filter(|pod| !pod::is_mirror(pod)) {
            wanted.insert(pod::uid(&pod).to_owned(), pod);
        }
        wanted
    }

    /// Whether every source has said what it wants: only then is anything unwanted.
    fn all_sources_spoke(&self) -> bool {
        let api_spoke = self.pods.as_ref().is_none_or(Store::synced);
        api_spoke && self.statics.borrow().is_some()
    }

    fn keep_house(&self, workers: &mut Workers, with_traces: bool) {
        if !self.all_sources_spoke() {
            return;
        }
        let wanted = self.wanted();
        let listing = self.listing.borrow().clone();
        let unwanted = |uid: &String| !wanted.contains_key(uid) && !workers.has(uid);
        let orphans: Vec<Pod> = listing
            .pods
            .iter()
            .filter(|(uid, _)| unwanted(uid))
            .map(|(uid, seen)| orphan(uid, seen))
            .collect();
        if with_traces && listing.at_ms > 0 && listing.error.is_none() {
            let known = self.context.volumes.known().into_iter();
            let traces: Vec<String> =
                known.filter(|uid| unwanted(uid) && !listing.pods.contains_key(uid)).collect();
            self.remove_traces(&traces);
            for (uid, path) in self.context.cgroups.pods(&self.context.config.cgroup_root) {
                if unwanted(&uid) && !listing.pods.contains_key(&uid) {
                    let _ = self.context.cgroups.remove(&path);
                }
            }
        }
        for orphan in orphans {
            workers.bring_down(orphan);
        }
    }

    fn remove_traces(&self, uids: &[String]) {
        for uid in uids {
            let directory = self.context.config.pod_dir(uid);
            if let Err(error) = crate::volume::remove_directory(&directory) {
                tracing::warn!(uid, %error, "traces of a pod stay");
            }
        }
    }
}

async fn next_change<K>(changes: &mut Option<mpsc::Receiver<Change<K>>>) {
    let Some(queue) = changes else { return std::future::pending().await };
    if queue.recv().await.is_none() {
        return std::future::pending().await;
    }
    // The whole is read again anyway.
    while queue.try_recv().is_ok() {}
}

/// A pod of which only the runtime knows, as far as its labels tell.
fn orphan(uid: &str, seen: &pleg::Seen) -> Pod {
    let mut pod = Pod {
        spec: Some(PodSpec {
            termination_grace_period_seconds: seen.grace_s,
            ..Default::default()
        }),
        ..Default::default()
    };
    pod.metadata.uid = Some(uid.to_owned());
    pod.metadata.name = Some(seen.name.clone());
    pod.metadata.namespace = Some(seen.namespace.clone());
    pod
}
