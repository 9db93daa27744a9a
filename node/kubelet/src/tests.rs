//! The kubelet on a runtime in memory: static pods from manifest to end, in virtual time.

mod admission;
mod doubt;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use master_client::masters::Masters;
use node_cri::{Behaviour, Exit, Fake};
use store_env::clock::TokioClock;
use store_env::task::Group;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::context::Context;
use crate::kubelet::{Parts, assemble};
use crate::source::files;

/// A configuration for tests: nothing is listened on, and no cgroup is made.
pub(crate) fn config(data_dir: impl AsRef<Path>) -> Config {
    Config {
        node_name: "node-1".to_owned(),
        node_ip: "192.0.2.10".parse().unwrap(),
        data_dir: data_dir.as_ref().to_owned(),
        manifests: Some(data_dir.as_ref().join("manifests")),
        cluster_dns: Some("10.96.0.10".parse().unwrap()),
        cluster_domain: "cluster.local".to_owned(),
        cgroup_root: String::new(),
        listen: "127.0.0.1:0".parse().unwrap(),
        server: None,
        labels: Vec::new(),
        pods_max: 110,
    }
}

/// A kubelet in a directory of its own, on a runtime that outlives it.
struct Node {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
    clock: store_env::clock::SharedClock,
    stop: CancellationToken,
    context: Arc<Context>,
    running: Option<store_env::task::Crew>,
}

impl Node {
    fn new() -> Self {
        Self::with_masters(None)
    }

    fn with_masters(api: Option<(kube::Client, Masters)>) -> Self {
        let clock = TokioClock::shared(1_700_000_000_000);
        let fake = Arc::new(Fake::new(clock.clone()));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("manifests")).unwrap();
        Self::start(dir, fake, clock, api)
    }

    /// One whose sources and housekeeping do not run.
    fn idle() -> Self {
        let clock = TokioClock::shared(1_700_000_000_000);
        let fake = Arc::new(Fake::new(clock.clone()));
        Self::idle_on(tempfile::tempdir().unwrap(), fake, clock)
    }

    /// The same, on what another one has left.
    fn idle_on(
        dir: tempfile::TempDir,
        fake: Arc<Fake>,
        clock: store_env::clock::SharedClock,
    ) -> Self {
        let stop = CancellationToken::new();
        let config = config(dir.path());
        let parts = Parts { config, clock: clock.clone(), runtime: fake.clone(), api: None };
        let (context, _) = assemble(parts, &mut Group::under(&stop)).unwrap();
        Self { dir, fake, clock, stop, context, running: None }
    }

    fn start(
        dir: tempfile::TempDir,
        fake: Arc<Fake>,
        clock: store_env::clock::SharedClock,
        api: Option<(kube::Client, Masters)>,
    ) -> Self {
        let stop = CancellationToken::new();
        let mut group = Group::under(&stop);
        let parts =
            Parts { config: config(dir.path()), clock: clock.clone(), runtime: fake.clone(), api };
        let (context, _) = assemble(parts, &mut group).unwrap();
        let mut crew = store_env::task::Crew::new();
        crew.spawn(async move { group.run(Duration::from_secs(5)).await.unwrap() });
        Self { dir, fake, clock, stop, context, running: Some(crew) }
    }

    /// Ends the kubelet and starts another one on the same runtime and directory.
    async fn restart(mut self) -> Self {
        self.stop.cancel();
        self.running.take().unwrap().finish(Duration::from_secs(10)).await;
        Self::start(self.dir, self.fake, self.clock, None)
    }

    fn manifest(&self) -> std::path::PathBuf {
        self.dir.path().join("manifests/web.yaml")
    }

    /// Writes the manifest of the pod; returns its uid.
    fn apply(&self, spec: &str) -> String {
        let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {spec}}}");
        std::fs::write(self.manifest(), &text).unwrap();
        let pod = files::parse(&text, "node-1", &self.manifest()).unwrap();
        crate::pod::uid(&pod).to_owned()
    }

    fn status(&self, uid: &str) -> Option<PodStatus> {
        self.context.statuses.last(uid)
    }

    /// `PHASE READY RESTARTS REASON` of the pod and its first container.
    fn summary(&self, uid: &str) -> String {
        let Some(status) = self.status(uid) else { return "none".to_owned() };
        let phase = status.phase.unwrap_or_default();
        let first = status.container_statuses.unwrap_or_default().into_iter().next().unwrap();
        let state = first.state.unwrap_or_default();
        let waiting = state.waiting.and_then(|waiting| waiting.reason);
        let ended = state.terminated.and_then(|ended| ended.reason);
        let reason = waiting.or(ended).unwrap_or_else(|| "-".to_owned());
        format!("{phase} {} {} {reason}", first.ready, first.restart_count)
    }

    async fn reaches(&self, uid: &str, expected: &str) {
        for _ in 0..6_000 {
            if self.summary(uid) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{expected:?} not reached; it is {:?}", self.summary(uid));
    }

    fn started(&self, container: &str) -> usize {
        let call = format!("start {container}");
        self.fake.calls().iter().filter(|found| **found == call).count()
    }
}

const PLAIN: &str = "{containers: [{name: a, image: app:1}]}";

#[tokio::test(start_paused = true)]
async fn manifest_becomes_a_running_pod_and_its_removal_ends_it() {
    let node = Node::new();
    let uid = node.apply(PLAIN);
    node.reaches(&uid, "Running true 0 -").await;
    let status = node.status(&uid).unwrap();
    assert!(status.pod_ip.unwrap().starts_with("10.244."));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    std::fs::remove_file(node.manifest()).unwrap();
    while node.status(&uid).is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let calls = node.fake.calls();
    assert_eq!(calls[calls.len() - 2..], ["stop a", "stop_sandbox web-node-1"]);
    assert!(!node.dir.path().join("pods").join(&uid).exists());
}

#[tokio::test(start_paused = true)]
async fn failing_container_is_restarted_with_growing_delays() {
    let node = Node::new();
    let exit = Exit { after: Duration::from_secs(1), code: 1, reason: "" };
    node.fake.behave("a", Behaviour { exit: Some(exit), ..Default::default() });
    let began = tokio::time::Instant::now();
    let uid = node.apply(PLAIN);
    node.reaches(&uid, "Running false 1 CrashLoopBackOff").await;
    node.reaches(&uid, "Running false 3 CrashLoopBackOff").await;
    // At once, after 10 s, after 20 s, and a second of life each time.
    let took = began.elapsed().as_secs();
    assert!((33..45).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn restarted_kubelet_restarts_no_container_and_knows_the_count() {
    let node = Node::new();
    let uid = node.apply(PLAIN);
    node.reaches(&uid, "Running true 0 -").await;
    node.fake.end("a", 1, "");
    node.reaches(&uid, "Running true 1 -").await;
    let node = node.restart().await;
    node.reaches(&uid, "Running true 1 -").await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(node.started("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn dead_runtime_is_waited_for() {
    let node = Node::new();
    node.fake.set_down(true);
    let uid = node.apply(PLAIN);
    tokio::time::sleep(Duration::from_secs(30)).await;
    node.fake.set_down(false);
    node.reaches(&uid, "Running true 0 -").await;
}

#[tokio::test(start_paused = true)]
async fn probes_decide_over_readiness_and_life() {
    let node = Node::new();
    let bad = Behaviour { exec_code: 1, ..Default::default() };
    node.fake.behave("a", bad.clone());
    let uid = node.apply(
        "{terminationGracePeriodSeconds: 1, containers: [{name: a, image: app:1,
           readinessProbe: {exec: {command: [x]}, periodSeconds: 1, failureThreshold: 1}}]}",
    );
    node.reaches(&uid, "Running false 0 -").await;
    node.fake.behave("a", Behaviour::default());
    node.reaches(&uid, "Running true 0 -").await;
    node.fake.behave("a", bad.clone());
    node.reaches(&uid, "Running false 0 -").await;

    let uid = node.apply(
        "{terminationGracePeriodSeconds: 1, containers: [{name: b, image: app:1,
           livenessProbe: {exec: {command: [x]}, periodSeconds: 1, failureThreshold: 3}}]}",
    );
    node.fake.behave("b", Behaviour::default());
    node.reaches(&uid, "Running true 0 -").await;
    node.fake.behave("b", bad);
    node.reaches(&uid, "Running true 1 -").await;
}

#[tokio::test(start_paused = true)]
async fn images_that_cannot_be_had_are_waited_for() {
    let node = Node::new();
    let uid = node.apply("{containers: [{name: a, image: 'missing:1'}]}");
    node.reaches(&uid, "Pending false 0 ErrImagePull").await;
    node.reaches(&uid, "Pending false 0 ImagePullBackOff").await;
    let uid = node.apply("{containers: [{name: a, image: 'new:1', imagePullPolicy: Never}]}");
    node.reaches(&uid, "Pending false 0 ErrImageNeverPull").await;
}

#[tokio::test(start_paused = true)]
async fn job_ends_and_stays_ended() {
    let node = Node::new();
    let exit = Exit { after: Duration::from_secs(2), code: 0, reason: "" };
    node.fake.behave("a", Behaviour { exit: Some(exit), ..Default::default() });
    let uid = node.apply("{restartPolicy: Never, containers: [{name: a, image: app:1}]}");
    node.reaches(&uid, "Succeeded false 0 Completed").await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!((node.started("a"), node.summary(&uid)), (1, "Succeeded false 0 Completed".into()));
}

#[tokio::test(start_paused = true)]
async fn pod_past_its_deadline_is_brought_down() {
    let node = Node::new();
    let term_delay = Duration::from_secs(10);
    node.fake.behave("a", Behaviour { term_delay, ..Default::default() });
    let uid = node.apply("{activeDeadlineSeconds: 20, containers: [{name: a, image: app:1}]}");
    node.reaches(&uid, "Running true 0 -").await;
    // It has not failed before it has ended.
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(node.summary(&uid), "Running true 0 -");
    node.reaches(&uid, "Failed false 0 Completed").await;
    assert_eq!(node.status(&uid).unwrap().reason.as_deref(), Some("DeadlineExceeded"));
}

/// A worker of a pod of the API, without the API: told what the specification is.
struct Resized {
    node: Node,
    desired: tokio::sync::watch::Sender<crate::worker::Desired>,
    pod: k8s_openapi::api::core::v1::Pod,
}

impl Resized {
    /// A pod `web` with a container `a` of this size.
    fn new(resources: &str, rest: &str) -> Self {
        let node = Node::idle();
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: web, uid: u, generation: 1}},
               spec: {{containers: [{{name: a, image: app:1, resources: {resources}{rest}}}]}}}}"
        );
        let pod: k8s_openapi::api::core::v1::Pod = serde_saphyr::from_str(&text).unwrap();
        let desired =
            crate::worker::Desired { pod: Arc::new(pod.clone()), is_removed: false, refusal: None };
        let (desired, news) = tokio::sync::watch::channel(desired);
        let this = Self { node, desired, pod };
        this.work(news);
        this
    }

    fn work(&self, news: tokio::sync::watch::Receiver<crate::worker::Desired>) {
        let worker = crate::worker::Worker::new(self.node.context.clone(), news, Arc::default());
        let stop = self.node.stop.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the node")]
        tokio::spawn(worker.run(stop));
    }

    fn resize(&mut self, resources: &str) {
        let container = &mut self.pod.spec.as_mut().unwrap().containers[0];
        container.resources = serde_saphyr::from_str(resources).unwrap();
        *self.pod.metadata.generation.as_mut().unwrap() += 1;
        self.desired.send_modify(|desired| desired.pod = Arc::new(self.pod.clone()));
    }

    /// `REQUEST LIMIT ALLOCATED RESTARTS CONDITION…` of CPU.
    fn sizes(&self) -> String {
        let Some(status) = self.node.status("u") else { return "none".to_owned() };
        let first = status.container_statuses.unwrap_or_default().into_iter().next().unwrap();
        let cpu = |list: Option<std::collections::BTreeMap<String, _>>| {
            let list: std::collections::BTreeMap<
                String,
                k8s_openapi::apimachinery::pkg::api::resource::Quantity,
            > = list.unwrap_or_default();
            list.get("cpu").map_or("-".to_owned(), |quantity| quantity.0.clone())
        };
        let shown = first.resources.unwrap_or_default();
        let allocated = cpu(first.allocated_resources);
        let (request, limit) = (cpu(shown.requests), cpu(shown.limits));
        let restarts = first.restart_count;
        let mut text = format!("{request} {limit} {allocated} {restarts}");
        for found in status.conditions.iter().flatten().filter(|it| it.type_.contains("Resize")) {
            let reason = found.reason.as_deref().unwrap_or_default();
            let generation = found.observed_generation.unwrap();
            text += &format!(" {} {reason} {generation}", found.type_);
        }
        text
    }

    async fn reaches(&self, expected: &str) {
        for _ in 0..6_000 {
            if self.sizes() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{expected:?} not reached; it is {:?}", self.sizes());
    }
}

#[tokio::test(start_paused = true)]
async fn running_container_is_resized_where_it_is() {
    let mut pod = Resized::new("{requests: {cpu: 100m}, limits: {cpu: 200m}}", "");
    pod.reaches("100m 200m 100m 0").await;
    pod.resize("{requests: {cpu: 150m}, limits: {cpu: 250m}}");
    pod.reaches("150m 250m 150m 0").await;
    let calls = pod.node.fake.calls();
    assert_eq!(calls[calls.len() - 1..], ["update a"], "{calls:?}");
    assert_eq!(pod.node.status("u").unwrap().observed_generation, Some(2));
    // Once is enough, and a kubelet that starts again knows it.
    pod.work(pod.desired.subscribe());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(pod.node.fake.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn resize_that_the_policy_wants_so_starts_the_container_again() {
    let policy = ", resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]";
    let mut pod = Resized::new("{requests: {cpu: 100m}}", policy);
    pod.reaches("100m - 100m 0").await;
    pod.resize("{requests: {cpu: 150m}}");
    pod.reaches("150m - 150m 1").await;
    assert_eq!(pod.node.started("a"), 2);
}

/// The agent ends after it told a container to stop and before it started it again.
#[tokio::test(start_paused = true)]
async fn container_that_a_resize_stopped_is_started_by_whoever_comes_next() {
    let policy = ", resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]";
    let mut pod = Resized::new("{requests: {cpu: 100m}}", policy);
    pod.pod.spec.as_mut().unwrap().restart_policy = Some("OnFailure".to_owned());
    let term_delay = Duration::from_secs(20);
    pod.node.fake.behave("a", Behaviour { term_delay, ..Default::default() });
    pod.reaches("100m - 100m 0").await;
    pod.resize("{requests: {cpu: 150m}}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    pod.node.stop.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    pod.node.fake.end("a", 0, "");
    assert_eq!(pod.node.started("a"), 1);
    pod.node.stop = CancellationToken::new();
    pod.work(pod.desired.subscribe());
    pod.reaches("150m - 150m 1").await;
    assert_eq!(pod.node.started("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn resize_waits_until_there_is_room_and_what_never_fits_is_told_so() {
    let mut pod = Resized::new("{requests: {cpu: 100m}}", "");
    pod.reaches("100m - 100m 0").await;
    let (all, context) = (pod.node.context.machine.cpu_milli, pod.node.context.clone());
    pod.resize(&format!("{{requests: {{cpu: {}m}}}}", all + 1));
    pod.reaches("100m - 100m 0 PodResizePending Infeasible 2").await;
    let other = crate::resize::Need { cpu_milli: all / 2, memory_bytes: 0 };
    context.ledger.expect("other", crate::admit::Claim::of_need(other));
    pod.resize(&format!("{{requests: {{cpu: {}m}}}}", all - 1));
    pod.reaches("100m - 100m 0 PodResizePending Deferred 3").await;
    assert!(!pod.node.fake.calls().iter().any(|call| call == "update a"));
    context.ledger.forget("other");
    pod.reaches(&format!("{0}m - {0}m 0", all - 1)).await;
}
