//! The loop: changes in, one decision at a time, writes out beside each other.
//!
//! # Path
//! informers → [`Scheduler::apply`] → `queue` → `cycle` → assume → `act::bind` → informers
//!
//! # Invariants
//! - A decision sees every change that was taken before it, and every promise made before it.
//! - At most [`IN_FLIGHT_MAX`] writes are under way; beyond, deciding waits.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use master_client::informer::{Change, key_of};
use master_client::pod::Pod;
use rand::rngs::StdRng;
use store_env::task::{Crew, TaskResult};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::act;
use crate::context::Context;
use crate::cycle::{Decider, NoFit};
use crate::events::{Note, Recorder};
use crate::plugin::{self, Event};
use crate::pod::PodInfo;
use crate::preemption::{self, Budget, Outcome, Plan};
use crate::queue::{Queue, Waiting};
use crate::refusals::Refusals;
use crate::state::State;

/// Writes under way at most.
const IN_FLIGHT_MAX: usize = 256;
/// The longest sleep while nothing is due.
const IDLE: Duration = Duration::from_secs(30);

/// How a write ended.
#[derive(Debug)]
enum Done {
    Bound {
        waiting: Waiting,
        node: String,
        result: Result<(), act::Error>,
    },
    /// A report or a removal; what it changed comes back by the informer.
    Other,
}

/// The scheduler of one leadership.
#[derive(Debug)]
pub(crate) struct Scheduler {
    context: Context,
    recorder: Recorder,
    decider: Decider,
    state: State,
    queue: Queue,
    refusals: Refusals,
    rng: StdRng,
    crew: Crew,
    in_flight: usize,
    done: mpsc::Sender<Done>,
}

/// Runs until told to stop.
pub(crate) async fn run(
    context: Context,
    recorder: Recorder,
    stop: CancellationToken,
) -> TaskResult {
    if stop.run_until_cancelled(context.inputs.wait_synced()).await.is_none() {
        return Ok(());
    }
    let mut pods = context.inputs.pods.subscribe();
    let mut nodes = context.inputs.nodes.subscribe();
    let mut namespaces = context.inputs.namespaces.subscribe();
    let (done, mut results) = mpsc::channel(IN_FLIGHT_MAX);
    let mut scheduler = Scheduler {
        decider: Decider::new(plugin::all(context.strategy)),
        context,
        recorder,
        state: State::default(),
        queue: Queue::default(),
        refusals: Refusals::default(),
        rng: store_env::rng::named("scheduler", 0),
        crew: Crew::new(),
        in_flight: 0,
        done,
    };
    loop {
        scheduler.tick();
        // Changes before decisions, so that these rest on the newest; decisions when none wait.
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(result) = results.recv() => scheduler.finish(result),
            Some(change) = nodes.recv() => scheduler.take_node(change),
            Some(change) = pods.recv() => scheduler.take_pod(change),
            Some(_) = namespaces.recv() => scheduler.take_namespaces(),
            () = std::future::ready(()), if scheduler.can_decide() => scheduler.decide(),
            () = tokio::time::sleep(scheduler.until_due()) => {}
        }
    }
}

impl Scheduler {
    fn tick(&mut self) {
        self.state.now_ms = self.context.clock.monotonic_ms();
        if self.queue.next_due_ms().is_some_and(|due| due <= self.state.now_ms) {
            self.queue.flush(self.state.now_ms);
        }
        let free = IN_FLIGHT_MAX.saturating_sub(self.in_flight);
        for (key, message) in self.refusals.take(self.state.now_ms, free) {
            // The pod as it is by now.
            if let Some(waiting) = self.queue.waiting(&key) {
                self.report(Arc::clone(&waiting.pod), message, None);
            }
        }
    }

    fn until_due(&self) -> Duration {
        let due =
            [self.queue.next_due_ms(), self.refusals.next_due_ms()].into_iter().flatten().min();
        due.map_or(IDLE, |due| {
            Duration::from_millis(due.saturating_sub(self.state.now_ms).max(1)).min(IDLE)
        })
    }

    fn now(&self) -> Timestamp {
        let ms = i64::try_from(self.context.clock.unix_ms()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
    }

    /// Pods that may profit from an event are tried again.
    fn stir(&mut self, event: Event) {
        let plugins = self.decider.plugins();
        self.queue.stir(self.state.now_ms, |name| {
            plugins.iter().any(|plugin| plugin.name() == name && plugin.profits_from(event))
        });
    }

    fn take_node(&mut self, change: Change<Node>) {
        match change {
            Change::Applied { new, .. } => {
                if self.state.put_node(&new) {
                    self.stir(Event::Node);
                }
            }
            Change::Deleted(node) => self.state.remove_node(&key_of(node.as_ref())),
            Change::Resync => {
                let nodes = self.context.inputs.nodes.list();
                for name in self.state.node_names() {
                    if self.context.inputs.nodes.get(&name).is_none() {
                        self.state.remove_node(&name);
                    }
                }
                for node in &nodes {
                    self.state.put_node(node);
                }
                self.stir(Event::Node);
            }
        }
    }

    fn take_namespaces(&mut self) {
        let namespaces = self.context.inputs.namespaces.list();
        let labelled = namespaces.iter().map(|namespace| {
            (key_of(namespace.as_ref()), namespace.metadata.labels.clone().unwrap_or_default())
        });
        self.state.set_namespaces(labelled.collect());
    }

    fn take_pod(&mut self, change: Change<Pod>) {
        match change {
            Change::Applied { new, .. } => self.apply(Arc::new(PodInfo::read(new))),
            Change::Deleted(pod) => self.gone(&key_of(pod.as_ref())),
            Change::Resync => {
                let known = self.state.pod_keys().into_iter().chain(self.queue.keys());
                let gone: Vec<String> =
                    known.filter(|key| self.context.inputs.pods.get(key).is_none()).collect();
                gone.iter().for_each(|key| self.gone(key));
                for pod in self.context.inputs.pods.list() {
                    self.apply(Arc::new(PodInfo::read(pod)));
                }
            }
        }
    }

    /// A pod left the cluster.
    fn gone(&mut self, key: &str) {
        self.state.confirm(key);
        self.state.denominate(key);
        self.queue.remove(key);
        self.refusals.remove(key);
        if self.state.take_pod(key).is_some() {
            self.stir(Event::PodGone);
        }
    }

    /// A pod as it is now.
    fn apply(&mut self, pod: Arc<PodInfo>) {
        if pod.is_finished {
            if pod.has_failed
                && let (Some(owner), Some(node)) = (&pod.owner, self.state.place(&pod.key))
            {
                let node = node.to_owned();
                self.state.note_failure(owner, &node);
            }
            return self.gone(&pod.key);
        }
        if let Some(node) = pod.node.clone() {
            return self.bound(pod, &node);
        }
        if self.state.is_assumed(&pod.key) {
            return;
        }
        if !pod.is_ours_to_place() {
            return self.gone(&pod.key);
        }
        match &pod.nominated {
            Some(node) => self.state.nominate(&pod, &node.clone()),
            None => self.state.denominate(&pod.key),
        }
        let is_known = self.queue.waiting(&pod.key).is_some_and(|waiting| {
            let (old, new) = (&waiting.pod, &pod);
            old.uid() == new.uid() && old.labels() == new.labels() && old.pod.spec == new.pod.spec
        });
        if !is_known || !self.queue.refresh(Arc::clone(&pod)) {
            self.queue.put(pod);
        }
    }

    fn bound(&mut self, pod: Arc<PodInfo>, node: &str) {
        let key = pod.key.clone();
        self.queue.remove(&key);
        self.refusals.remove(&key);
        self.state.confirm(&key);
        let is_new = self.state.place(&key).is_none();
        if is_new || pod.nominated.is_some() {
            self.state.denominate(&key);
        }
        self.state.put_pod(pod, node);
        if is_new {
            self.stir(Event::PodPlaced);
        }
    }

    fn can_decide(&self) -> bool {
        self.in_flight < IN_FLIGHT_MAX && self.queue.has_ready()
    }

    /// One cycle.
    fn decide(&mut self) {
        let Some(waiting) = self.queue.pop() else { return };
        self.state.refresh();
        match self.decider.decide(&self.state, &waiting.pod, &mut self.rng) {
            Ok(node) => self.bind(waiting, node),
            Err(no_fit) => self.refuse(waiting, &no_fit),
        }
    }

    fn bind(&mut self, waiting: Waiting, node: String) {
        self.state.denominate(&waiting.pod.key);
        self.refusals.remove(&waiting.pod.key);
        self.state.assume(Arc::clone(&waiting.pod), &node);
        let client = self.context.client.clone();
        self.send(async move {
            let result = act::bind(&client, &waiting.pod, &node).await;
            Done::Bound { waiting, node, result }
        });
    }

    fn refuse(&mut self, waiting: Waiting, no_fit: &NoFit) {
        let budgets = self.context.inputs.disruption_budgets.list();
        let budgets: Vec<Budget> = budgets.iter().map(|budget| Budget::read(budget)).collect();
        let pod = Arc::clone(&waiting.pod);
        let outcome = preemption::plan(&self.decider, &mut self.state, &pod, no_fit, &budgets);
        let (message, nominated) = match outcome {
            Outcome::Leave(plan) => {
                let node = plan.node.clone();
                self.preempt(&pod, plan);
                (no_fit.message(), Some(node))
            }
            // Without nodes there is nobody to be preempted, and nothing to say of it.
            Outcome::Stay(_) if no_fit.node_count == 0 => (no_fit.message(), None),
            Outcome::Stay(why) => {
                (format!("{} {why}", no_fit.message()), self.kept_nomination(&pod))
            }
        };
        if nominated.is_none() {
            self.state.denominate(&pod.key);
        }
        self.queue.unschedulable(waiting, no_fit.plugins.clone(), self.state.now_ms);
        // Where others make room for it, the next scheduler must know at once.
        if nominated.is_some() {
            self.refusals.remove(&pod.key);
            self.report(pod, message, nominated);
        } else {
            self.refusals.put(&pod.key, message);
        }
    }

    /// Says why a pod waits.
    fn report(&mut self, pod: Arc<PodInfo>, message: String, nominated: Option<String>) {
        self.recorder.record(Note::about(&pod, "FailedScheduling", message.clone()));
        if act::is_reported(&pod, &message, nominated.as_deref()) {
            return;
        }
        let (client, now) = (self.context.client.clone(), self.now());
        self.send(async move {
            if let Err(error) = act::report(&client, &pod, &message, nominated.as_deref(), now).await {
                tracing::debug!(pod = pod.key, %error, "the pod's status does not say why it waits");
            }
            Done::Other
        });
    }

    /// The nominated node of a pod while others are still leaving it.
    fn kept_nomination(&self, pod: &PodInfo) -> Option<String> {
        let node = self.state.node(pod.nominated.as_deref()?)?;
        let is_leaving =
            node.pods.values().any(|other| other.is_terminating && other.priority < pod.priority);
        is_leaving.then(|| node.name.clone())
    }

    fn preempt(&mut self, pod: &Arc<PodInfo>, plan: Plan) {
        self.state.nominate(pod, &plan.node);
        for key in plan.victims {
            let Some(victim) = self.context.inputs.pods.get(&key) else { continue };
            let victim = PodInfo::read(victim);
            let message = format!("Preempted by pod {} on node {}", pod.uid(), plan.node);
            let note = Note { action: "Preempting", ..Note::about(&victim, "Preempted", message) };
            self.recorder.record(note);
            let (client, now) = (self.context.client.clone(), self.now());
            self.send(async move {
                match act::evict(&client, &victim, now).await {
                    Err(error) if !error.is_not_found() => {
                        tracing::warn!(pod = victim.key, %error, "preemption failed; tried again");
                    }
                    _ => {}
                }
                Done::Other
            });
        }
    }

    fn send(&mut self, write: impl Future<Output = Done> + Send + 'static) {
        self.in_flight += 1;
        let done = self.done.clone();
        self.crew.spawn(async move {
            let result = write.await;
            // Refused only when the scheduler itself is gone.
            let _ = done.send(result).await;
        });
    }

    fn finish(&mut self, done: Done) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Done::Bound { waiting, node, result } = done else { return };
        let pod = Arc::clone(&waiting.pod);
        match result {
            Ok(()) => {
                tracing::debug!(pod = pod.key, node, "bound");
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.recorder.record(Note::about(&pod, "Scheduled", message));
            }
            Err(error) => {
                tracing::info!(pod = pod.key, node, %error, "binding failed");
                if self.state.forget(&pod.key) {
                    self.stir(Event::PodGone);
                }
                self.try_again(waiting, &error);
            }
        }
    }

    /// After a failed binding: the copy may know better by now.
    fn try_again(&mut self, mut waiting: Waiting, error: &act::Error) {
        let Some(pod) = self.context.inputs.pods.get(&waiting.pod.key) else { return };
        let pod = Arc::new(PodInfo::read(pod));
        if !pod.is_ours_to_place() || pod.uid() != waiting.pod.uid() {
            return self.apply(pod);
        }
        if error.is_not_found() {
            return; // its deletion is on its way here
        }
        let message = format!("binding rejected: {error}");
        self.recorder.record(Note::about(&pod, "FailedScheduling", message));
        waiting.pod = pod;
        self.queue.back_off(waiting, self.state.now_ms);
    }
}

#[cfg(test)]
mod tests;
