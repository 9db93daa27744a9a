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

mod acts;
mod desired;
mod end;
mod report;
pub(crate) mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::messages;
use crate::plan::{self, Health, Plan, Waiting};
use crate::pod;
use crate::resize::{Changes, Progress, Record};
use crate::view::PodView;

pub(crate) use self::desired::Desired;
use self::desired::until_more_urgent;

/// A pod is looked at this often, whatever happens.
const RESYNC_MS: u64 = 45_000;
/// After a failure that has no back-off of its own.
const RETRY_FIRST_MS: u64 = 500;
const RETRY_MAX_MS: u64 = 15_000;
/// Rounds of planning and acting in one sync; what is left is done in the next.
const ROUNDS_MAX: usize = 12;

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
    /// What became of them was not told yet.
    owes_end: bool,
    is_down: bool,
    /// What resized containers were given.
    record: Record,
    progress: Progress,
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
            owes_end: false,
            is_down: false,
            record,
            progress,
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
            if plan.is_finished {
                // Before anybody hears of its end, and sends another pod into its place.
                self.cx.ledger.forget(&self.uid);
            }
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
}
