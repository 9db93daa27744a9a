//! The worker of one pod: the only one who touches it, from the first look to the last trace.
//!
//! Syncing is level-triggered: whatever happened, the worker reads the runtime, plans, acts, reports.
//!
//! # Path
//! `workers.rs` → here → `plan.rs` → `start.rs`, `kill.rs` → `status.rs` → `statuses.rs`
//!
//! # Invariants
//! - A pod that is coming down never starts a container again.
//! - The API object is released only after all containers, volumes and cgroups are gone.

mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::kill::{self, Manner};
use crate::messages;
use crate::plan::{self, Action, Health, Plan, Waiting, Why};
use crate::pod;
use crate::qos;
use crate::resize::{Changes, Progress, Record};
use crate::rotate;
use crate::start;
use crate::status;
use crate::view::{PodView, State};

/// A pod is looked at this often, whatever happens.
const RESYNC_MS: u64 = 45_000;
/// After a failure that has no back-off of its own.
const RETRY_FIRST_MS: u64 = 500;
const RETRY_MAX_MS: u64 = 15_000;
/// Rounds of planning and acting in one sync; what is left is done in the next.
const ROUNDS_MAX: usize = 12;

/// What the sources say of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) pod: Arc<Pod>,
    /// The object is gone from its source: nobody waits for a status any more.
    pub(crate) is_removed: bool,
}

impl Desired {
    fn must_end(&self) -> bool {
        self.is_removed || pod::is_deleting(&self.pod) || pod::is_terminal(&self.pod)
    }
}

/// What comes after a round.
enum Next {
    /// Nothing is left of the pod.
    Done,
    /// Look again at once.
    Now,
    /// Look again at this moment, or when something happens.
    At(u64),
}

/// The task of one pod.
pub(crate) struct Worker {
    cx: Arc<Context>,
    uid: String,
    desired: watch::Receiver<Desired>,
    poke: Arc<Notify>,
    backoff: Backoff,
    /// Containers that did not start when they were last tried.
    start_errors: BTreeMap<String, Waiting>,
    /// Containers that wait for their back-off.
    backing_off: BTreeSet<String>,
    messages: BTreeMap<String, String>,
    /// The pod's work is done, or the node ends it: why, if it is a failure.
    is_finished: bool,
    verdict: Option<Waiting>,
    volumes_ready_ms: Option<u64>,
    retries: u32,
    /// The containers were told to end.
    is_ending: bool,
    is_down: bool,
    /// What resized containers were given.
    record: Record,
    progress: Progress,
    /// Containers that were stopped to start with other limits.
    awaited: BTreeSet<String>,
    resize_retry_ms: u64,
}

impl Worker {
    pub(crate) fn new(
        cx: Arc<Context>,
        desired: watch::Receiver<Desired>,
        poke: Arc<Notify>,
    ) -> Self {
        let (uid, progress) = {
            let pod = &desired.borrow().pod;
            (pod::uid(pod).to_owned(), Progress::read(pod))
        };
        let record = sizes::read(&cx.config.pod_dir(&uid));
        Self {
            cx,
            uid,
            desired,
            poke,
            backoff: Backoff::kubelet(),
            start_errors: BTreeMap::new(),
            backing_off: BTreeSet::new(),
            messages: BTreeMap::new(),
            is_finished: false,
            verdict: None,
            volumes_ready_ms: None,
            retries: 0,
            is_ending: false,
            is_down: false,
            record,
            progress,
            awaited: BTreeSet::new(),
            resize_retry_ms: 0,
        }
    }

    /// Works until nothing is left of the pod, or the kubelet stops (and the pod goes on).
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut freed = self.cx.ledger.freed();
        loop {
            freed.mark_unchanged();
            let desired = self.desired.borrow_and_update().clone();
            let must_end = desired.must_end() || self.is_finished || self.verdict.is_some();
            let mut news = self.desired.clone();
            let round = async {
                match must_end {
                    true => self.end(&desired).await,
                    false => self.sync(&desired.pod).await,
                }
            };
            let result = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // What is going on is dropped when the pod must end, or must end sooner.
                () = until_more_urgent(&mut news, &desired) => continue,
                result = round => result,
            };
            let now_ms = self.cx.clock.unix_ms();
            let wake_ms = match result {
                Ok(Next::Done) => return,
                Ok(Next::Now) => continue,
                Ok(Next::At(at_ms)) => {
                    self.retries = 0;
                    at_ms
                }
                Err(error) => now_ms + self.failed(&desired.pod, &error),
            };
            let pause = Duration::from_millis(wake_ms.saturating_sub(now_ms).max(10));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.desired.changed() => if changed.is_err() { return },
                () = self.poke.notified() => {}
                Ok(()) = freed.changed(), if self.progress.is_deferred() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Notes a failed round; returns after how many milliseconds to try again.
    fn failed(&mut self, pod: &Pod, error: &Error) -> u64 {
        tracing::warn!(pod = pod::key(pod), %error, "pod not synced");
        self.retries = (self.retries + 1).min(6);
        (RETRY_FIRST_MS << (self.retries - 1)).min(RETRY_MAX_MS)
    }

    async fn read(&mut self, pod: &Arc<Pod>) -> Result<PodView> {
        let view = PodView::read(self.cx.runtime.as_ref(), &self.uid).await?;
        let ip = self.cx.pod_ips(pod, &view).first().copied();
        self.cx.probes.follow(pod, &view, ip, &self.poke);
        for container in &view.containers {
            if !self.messages.contains_key(&container.id) {
                let file = self.cx.message_file(&self.uid, &container.name, container.restarts);
                if let Some(message) = messages::read(container, &file) {
                    self.messages.insert(container.id.clone(), message);
                }
            }
        }
        self.messages.retain(|id, _| view.containers.iter().any(|found| found.id == *id));
        Ok(view)
    }

    async fn sync(&mut self, pod: &Arc<Pod>) -> Result<Next> {
        let mut view = self.read(pod).await?;
        let pod = &self.settle(pod, &view)?;
        for _ in 0..ROUNDS_MAX {
            let now_ms = self.cx.clock.unix_ms();
            if self.is_past_its_deadline(pod, now_ms) {
                self.report(pod, &view, &BTreeMap::new());
                return Ok(Next::Now);
            }
            let changes = self.changes(pod, &view, now_ms);
            let plan = self.plan(pod, &view, &changes, now_ms);
            self.tell_of_waits(pod, &plan.waiting);
            self.report(pod, &view, &plan.waiting);
            if plan.is_finished {
                self.is_finished = true;
                return Ok(Next::Now);
            }
            if plan.actions.is_empty() {
                self.refresh_volumes(pod, &view, now_ms).await;
                return Ok(Next::At(self.wake_ms(pod, &plan, now_ms)));
            }
            let changed = self.act(pod, &mut view, plan.actions).await?;
            view = self.read(pod).await?;
            if !changed {
                self.report(pod, &view, &plan.waiting);
                let wake_ms = plan.wake_ms;
                let idle = Plan { wake_ms, ..Plan::default() };
                return Ok(Next::At(self.wake_ms(pod, &idle, now_ms)));
            }
        }
        Ok(Next::At(self.cx.clock.unix_ms() + RETRY_FIRST_MS))
    }

    fn plan(&self, pod: &Pod, view: &PodView, changes: &Changes, now_ms: u64) -> Plan {
        let mut health = Health::default();
        for found in view.running() {
            let Some((_, container)) = pod::container(pod, &found.name) else { continue };
            if let Some(message) = self.cx.probes.failure(&found.name, &found.id) {
                health.failed.insert(found.id.clone(), message);
            }
            if !self.cx.probes.has_started(container, &found.id) {
                health.unstarted.insert(found.id.clone());
            }
        }
        let backoff = &self.backoff;
        plan::plan(&plan::Inputs { pod, view, health: &health, changes, backoff, now_ms })
    }

    /// One event for each wait, when it begins.
    fn tell_of_waits(&mut self, pod: &Pod, waiting: &BTreeMap<String, Waiting>) {
        for name in waiting.keys().filter(|name| !self.backing_off.contains(*name)) {
            let (pod_name, namespace) = (pod::name(pod), pod::namespace(pod));
            let text = format!(
                "Back-off restarting failed container {name} in pod {pod_name}_{namespace}({})",
                self.uid
            );
            self.cx.events.warning(pod, Some(name), "BackOff", text);
        }
        self.backing_off = waiting.keys().cloned().collect();
    }

    fn wake_ms(&self, pod: &Pod, plan: &Plan, now_ms: u64) -> u64 {
        let mut wake_ms = now_ms + RESYNC_MS;
        wake_ms = wake_ms.min(plan.wake_ms.unwrap_or(wake_ms));
        if let Some(start_error) = self.start_errors.values().next() {
            let retry_ms = match start_error.0.as_str() {
                "ErrImagePull" | "ImagePullBackOff" => self.cx.images.retry_ms(pod),
                _ => None,
            };
            wake_ms = wake_ms.min(retry_ms.unwrap_or(now_ms + 2_000).max(now_ms + 200));
        }
        if matches!(self.progress.under_way, Some((Some(_), _))) {
            wake_ms = wake_ms.min(self.resize_retry_ms.max(now_ms));
        }
        match self.deadline_ms(pod) {
            Some(deadline_ms) => wake_ms.min(deadline_ms.max(now_ms)),
            None => wake_ms,
        }
    }

    fn deadline_ms(&self, pod: &Pod) -> Option<u64> {
        let seconds = u64::try_from(pod::spec(pod).active_deadline_seconds?).ok()?;
        let started = self.before(pod).start_time?.0.as_millisecond();
        Some(u64::try_from(started).ok()? + seconds * 1_000)
    }

    fn is_past_its_deadline(&mut self, pod: &Pod, now_ms: u64) -> bool {
        let is_past = self.deadline_ms(pod).is_some_and(|deadline_ms| deadline_ms <= now_ms);
        if is_past {
            let text = "Pod was active on the node longer than the specified deadline";
            self.verdict = Some(("DeadlineExceeded".to_owned(), text.to_owned()));
        }
        is_past
    }

    /// Carries actions out. Returns whether anything changed that a new plan should see.
    async fn act(
        &mut self,
        pod: &Arc<Pod>,
        view: &mut PodView,
        actions: Vec<Action>,
    ) -> Result<bool> {
        let cx = self.cx.clone();
        let mut changed = false;
        for action in actions {
            match action {
                Action::StopSandbox { id } => {
                    let mut part = view.clone();
                    part.sandboxes.retain(|sandbox| sandbox.id == id);
                    part.containers.retain(|container| container.sandbox_id == id);
                    kill::pod(&cx, pod, &part, self.manner(pod)).await?;
                    cx.runtime.stop_sandbox(&id).await?;
                }
                Action::CreateSandbox { attempt } => {
                    self.create_sandbox(pod, view, attempt).await?;
                    *view = self.read(pod).await?;
                    self.report(pod, view, &BTreeMap::new());
                }
                Action::Stop { id, name, why } => {
                    if why == Why::Resized {
                        self.awaited.insert(name);
                    }
                    self.stop(pod, view, &id, why).await?;
                }
                Action::Resize { updates } => {
                    changed |= self.resize(pod, view, &updates).await;
                    continue;
                }
                Action::Remove { id } => {
                    cx.runtime.remove_container(&id).await?;
                    if let Some(found) = view.containers.iter().find(|found| found.id == id) {
                        rotate::forget(&cx.config.logs_dir(), &found.log_path);
                    }
                }
                Action::RemoveSandbox { id } => cx.runtime.remove_sandbox(&id).await?,
                Action::Start { name, restarts } => {
                    changed |= self.start(pod, view, &name, restarts).await?;
                    continue;
                }
            }
            changed = true;
        }
        Ok(changed)
    }

    async fn create_sandbox(&mut self, pod: &Pod, view: &PodView, attempt: u32) -> Result<()> {
        let facts = self.cx.facts(pod, view);
        if let Err(error) = self.cx.volumes.prepare(pod, &facts).await {
            self.cx.events.warning(pod, None, "FailedMount", error.to_string());
            return Err(error);
        }
        self.volumes_ready_ms = Some(self.cx.clock.unix_ms());
        if let Err(error) = start::sandbox(&self.cx, pod, attempt).await {
            let text = format!("Failed to create pod sandbox: {error}");
            self.cx.events.warning(pod, None, "FailedCreatePodSandBox", text);
            return Err(error);
        }
        Ok(())
    }

    async fn stop(&self, pod: &Pod, view: &PodView, id: &str, why: Why) -> Result<()> {
        let Some(found) = view.containers.iter().find(|found| found.id == id) else {
            return Ok(());
        };
        let text = match &why {
            Why::Unhealthy(text) => text.clone(),
            Why::Changed => {
                format!("Container {} definition changed, will be restarted", found.name)
            }
            Why::Resized => format!("Container {} resize requires restart", found.name),
            Why::Unknown => format!("Container {} is lost, will be restarted", found.name),
        };
        let spec = pod::container(pod, &found.name).map(|(_, container)| container);
        let probe = spec.and_then(|spec| spec.liveness_probe.as_ref());
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let own = own.filter(|_| matches!(why, Why::Unhealthy(_)));
        let seconds = own.and_then(|own| u64::try_from(own).ok()).unwrap_or(pod::grace_s(pod));
        let manner = Manner { grace: Duration::from_secs(seconds), with_hook: true };
        kill::container(&self.cx, pod, view, found, manner, text).await
    }

    /// Starts a container. Returns false when it did not start, which its status will say.
    async fn start(
        &mut self,
        pod: &Arc<Pod>,
        view: &PodView,
        name: &str,
        restarts: u32,
    ) -> Result<bool> {
        let Some((_, spec)) = pod::container(pod, name) else { return Ok(false) };
        let now_ms = self.cx.clock.unix_ms();
        self.refresh_volumes(pod, view, now_ms).await;
        self.make_room(pod, name)?;
        let result = start::container(&self.cx, pod, view, spec, restarts).await;
        if let Err(Error::Runtime(node_cri::Error::Unreachable(_))) = &result {
            return result.map(|()| false);
        }
        let is_tried =
            matches!(&result, Ok(()) | Err(Error::RunContainer(_) | Error::PostStart(_)));
        if let Some(State::Exited { finished_ms, .. }) = view.latest(name).map(|found| &found.state)
            && is_tried
        {
            self.backoff.tried(name, *finished_ms, now_ms);
        }
        match result {
            Ok(()) => drop(self.start_errors.remove(name)),
            Err(error) => {
                tracing::warn!(pod = pod::key(pod), container = name, %error, "not started");
                let waiting = (error.reason().to_owned(), error.to_string());
                self.start_errors.insert(name.to_owned(), waiting);
                return Ok(is_tried);
            }
        }
        Ok(true)
    }

    /// Brings volumes that follow API objects up to date, now and then. A failure harms nobody who runs.
    async fn refresh_volumes(&mut self, pod: &Pod, view: &PodView, now_ms: u64) {
        let is_fresh = self.volumes_ready_ms.is_some_and(|at_ms| now_ms < at_ms + RESYNC_MS / 2);
        if is_fresh || pod::spec(pod).volumes.is_none() {
            return;
        }
        match self.cx.volumes.prepare(pod, &self.cx.facts(pod, view)).await {
            Ok(()) => self.volumes_ready_ms = Some(now_ms),
            Err(error) => tracing::warn!(pod = pod::key(pod), %error, "volumes not refreshed"),
        }
    }

    fn manner(&self, pod: &Pod) -> Manner {
        Manner { grace: Duration::from_secs(pod::grace_s(pod)), with_hook: !self.is_ending }
    }

    fn before(&self, pod: &Pod) -> PodStatus {
        let known = pod.status.clone().unwrap_or_default();
        let Some(mut reported) = self.cx.statuses.last(&self.uid) else { return known };
        let own = reported.conditions.take().into_iter().flatten();
        let own = own.filter(|found| status::is_own(&found.type_));
        let foreign = known.conditions.into_iter().flatten();
        let foreign = foreign.filter(|found| !status::is_own(&found.type_));
        reported.conditions = Some(own.chain(foreign).collect());
        reported
    }

    fn report(&self, pod: &Pod, view: &PodView, waiting: &BTreeMap<String, Waiting>) {
        let mut all = self.start_errors.clone();
        all.extend(waiting.iter().map(|(name, waiting)| (name.clone(), waiting.clone())));
        let (mut ready, mut started) = (BTreeSet::new(), BTreeSet::new());
        for found in view.running() {
            let Some((_, container)) = pod::container(pod, &found.name) else { continue };
            if self.cx.probes.has_started(container, &found.id) {
                started.insert(found.id.clone());
            }
            if self.cx.probes.is_ready(container, &found.id) {
                ready.insert(found.id.clone());
            }
        }
        let status = status::derive(&status::Inputs {
            pod,
            view,
            before: &self.before(pod),
            waiting: &all,
            ready: &ready,
            started: &started,
            messages: &self.messages,
            record: &self.record,
            progress: &self.progress,
            is_terminated: self.is_down,
            verdict: self.verdict.as_ref(),
            host_ip: self.cx.config.node_ip,
            now_ms: self.cx.clock.unix_ms(),
        });
        self.cx.statuses.report(pod, status);
    }

    /// Brings the pod down, and then removes its traces as far as nobody needs them any more.
    async fn end(&mut self, desired: &Desired) -> Result<Next> {
        let mut view = self.read(&desired.pod).await?;
        let pod = &self.record.as_allocated(&desired.pod, &view);
        if view.is_anything_up() {
            self.is_down = false;
            if !desired.is_removed {
                self.report(pod, &view, &BTreeMap::new());
            }
            let manner = self.manner(pod);
            self.is_ending = true;
            kill::pod(&self.cx, pod, &view, manner).await?;
            view = self.read(pod).await?;
            if view.is_anything_up() {
                return Ok(Next::At(self.cx.clock.unix_ms() + RETRY_FIRST_MS));
            }
        }
        self.is_down = true;
        self.cx.ledger.forget(&self.uid);
        if !pod::is_terminal(pod) && !desired.is_removed {
            self.report(pod, &view, &BTreeMap::new());
        }
        self.cx.volumes.remove(&self.uid).await?;
        self.cx.cgroups.remove(&qos::cgroup_path(&self.cx.config.cgroup_root, pod))?;
        if !desired.is_removed && !pod::is_deleting(pod) {
            // The status and the logs stay until somebody deletes the pod.
            return Ok(Next::At(self.cx.clock.unix_ms() + RESYNC_MS * 10));
        }
        for sandbox in &view.sandboxes {
            self.cx.runtime.remove_sandbox(&sandbox.id).await?;
        }
        if !desired.is_removed {
            self.cx.statuses.release(pod);
            return Ok(Next::At(self.cx.clock.unix_ms() + RESYNC_MS));
        }
        self.remove_traces(pod).await?;
        Ok(Next::Done)
    }

    async fn remove_traces(&self, pod: &Pod) -> Result<()> {
        self.cx.probes.forget(&self.uid);
        self.cx.statuses.forget(&self.uid);
        self.cx.volumes.remove_pod_dir(&self.uid).await?;
        let logs = self.cx.config.pod_logs_dir(pod::namespace(pod), pod::name(pod), &self.uid);
        match std::fs::remove_dir_all(&logs) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(&logs)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Waits for news that make what is being done wrong: the pod must end, or with less grace.
async fn until_more_urgent(news: &mut watch::Receiver<Desired>, current: &Desired) {
    let grace = |desired: &Desired| match desired.must_end() {
        true => pod::grace_s(&desired.pod),
        false => u64::MAX,
    };
    let is_more_urgent = |new: &Desired| grace(new) < grace(current);
    if news.wait_for(is_more_urgent).await.is_err() {
        std::future::pending::<()>().await;
    }
}
