//! The workers of all pods: started, told news, and forgotten when nothing is left of their pod.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use store_env::task::Crew;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::admit::{self, Claim, Facts, Fresh, Verdict};
use crate::context::Context;
use crate::held::Held;
use crate::node::fresh::Waiting;
use crate::pod;
use crate::worker::{Desired, Worker};

#[derive(Debug)]
struct Slot {
    key: String,
    desired: watch::Sender<Desired>,
    poke: Arc<Notify>,
}

/// Whether a worker must look: most changes of an object are the kubelet's own reports, coming back.
fn is_news(before: &Arc<Pod>, after: &Arc<Pod>) -> bool {
    if Arc::ptr_eq(before, after) {
        return false;
    }
    let (old, new) = (&before.metadata, &after.metadata);
    // Readiness gates are conditions that others write.
    pod::spec(after).readiness_gates.is_some()
        || before.spec != after.spec
        || old.deletion_timestamp != new.deletion_timestamp
        || old.deletion_grace_period_seconds != new.deletion_grace_period_seconds
        || old.labels != new.labels
        || old.annotations != new.annotations
        || pod::is_terminal(before) != pod::is_terminal(after)
}

/// One worker for each pod uid.
#[derive(Debug)]
pub(crate) struct Workers {
    cx: Arc<Context>,
    stop: CancellationToken,
    crew: Crew,
    slots: BTreeMap<String, Slot>,
    held: Held,
    waiting: Waiting,
}

impl Workers {
    pub(crate) fn new(cx: Arc<Context>, held: Held, stop: CancellationToken) -> Self {
        Self { cx, stop, crew: Crew::new(), slots: BTreeMap::new(), held, waiting: Waiting::new() }
    }

    /// Makes the workers follow `wanted`, by uid. Pods that are not in it any more are brought down; new ones are let in, or
    /// refused, by what the node is. Returns those that wait, since that is not known, or may be old.
    pub(crate) fn reconcile(
        &mut self,
        wanted: &BTreeMap<String, Arc<Pod>>,
        node: Option<&Facts>,
    ) -> &Waiting {
        self.slots.retain(|_, slot| !slot.desired.is_closed());
        for (uid, slot) in &self.slots {
            if !wanted.contains_key(uid) {
                slot.desired
                    .send_if_modified(|desired| !std::mem::replace(&mut desired.is_removed, true));
                // Whoever removed it has given away what it has.
                self.cx.ledger.forget(uid);
            }
        }
        for (uid, pod) in wanted {
            if let Some(slot) = self.slots.get(uid) {
                slot.desired.send_if_modified(|desired| {
                    let before = std::mem::replace(&mut desired.pod, pod.clone());
                    is_news(&before, pod)
                });
            }
        }
        let new = wanted.values().filter(|pod| !self.slots.contains_key(pod::uid(pod)));
        let mut new: Vec<(bool, &Arc<Pod>)> =
            new.map(|pod| (self.was_admitted(pod), pod)).collect();
        // Those that were let in before are here already; of the others, the oldest comes first.
        new.sort_by_key(|(was_admitted, pod)| {
            (!was_admitted, pod.metadata.creation_timestamp.clone())
        });
        for (_, pod) in new.iter().filter(|(was_admitted, _)| *was_admitted) {
            let directory = self.cx.config.pod_dir(pod::uid(pod));
            let allocated = self.held.as_allocated(pod, &directory);
            self.cx.ledger.expect(pod::uid(pod), Claim::of(&allocated));
        }
        self.waiting.clear();
        for (was_admitted, pod) in new {
            self.admit(pod, was_admitted, node);
        }
        &self.waiting
    }

    /// Whether a pod that has not ended was let in by the agent before this one: something of it is here, or the node has
    /// said something of it.
    fn was_admitted(&self, pod: &Pod) -> bool {
        let uid = pod::uid(pod);
        let is_told = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        let is_here = || self.held.has(uid, &self.cx.config.pod_dir(uid));
        !pod::is_terminal(pod) && (is_told || is_here())
    }

    /// Starts a new pod, or says why it may not run here.
    fn admit(&mut self, pod: &Arc<Pod>, was_admitted: bool, node: Option<&Facts>) {
        // One after the other, when a pod of the same name is still coming down.
        if self.slots.values().any(|slot| slot.key == pod::key(pod)) {
            return;
        }
        if was_admitted || pod::is_deleting(pod) || pod::is_terminal(pod) {
            return self.start(Desired::of(pod.clone()), false);
        }
        let own;
        let node = match node {
            Some(node) => node,
            None if pod::is_static(pod) => {
                own = Facts::own(&self.cx.config, self.cx.machine, Fresh::ForAll);
                &own
            }
            None => {
                self.waiting.insert(pod::uid(pod).to_owned());
                return;
            }
        };
        match admit::judge(pod, node, &self.cx.ledger.all()) {
            Verdict::Doubted => {
                self.waiting.insert(pod::uid(pod).to_owned());
            }
            Verdict::Admitted => {
                self.cx.ledger.expect(pod::uid(pod), Claim::of(pod));
                self.start(Desired::of(pod.clone()), true);
            }
            Verdict::Refused((reason, message)) => {
                tracing::info!(pod = pod::key(pod), reason, message, "pod refused");
                self.cx.events.warning(pod, None, &reason, message.clone());
                let refusal = Some((reason, message));
                self.start(Desired { refusal, ..Desired::of(pod.clone()) }, false);
            }
        }
    }

    /// Whether some pods wait for a word on the node.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Brings down what the runtime has and nobody wants.
    pub(crate) fn bring_down(&mut self, orphan: Pod) {
        if !self.slots.contains_key(pod::uid(&orphan)) {
            tracing::info!(pod = pod::key(&orphan), uid = pod::uid(&orphan), "orphan found");
            let desired = Desired { is_removed: true, ..Desired::of(Arc::new(orphan)) };
            self.start(desired, false);
        }
    }

    fn start(&mut self, desired: Desired, is_let_in: bool) {
        let (uid, key) = (pod::uid(&desired.pod).to_owned(), pod::key(&desired.pod));
        self.held.forget(&uid);
        let (desired, news) = watch::channel(desired);
        let poke = Arc::new(Notify::new());
        let worker = Worker::new(self.cx.clone(), news, poke.clone());
        let worker = if is_let_in { worker.let_in() } else { worker };
        self.crew.spawn(worker.run(self.stop.clone()));
        self.slots.insert(uid, Slot { key, desired, poke });
    }

    /// Something happened to the pod `uid`.
    pub(crate) fn poke(&self, uid: &str) {
        if let Some(slot) = self.slots.get(uid) {
            slot.poke.notify_one();
        }
    }

    /// Whether the pod `uid` has a worker.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.slots.get(uid).is_some_and(|slot| !slot.desired.is_closed())
    }

    /// Whether some worker has ended since the last look.
    pub(crate) fn has_ended_ones(&self) -> bool {
        self.slots.values().any(|slot| slot.desired.is_closed())
    }

    /// Waits for the workers to end after a stop.
    pub(crate) async fn finish(self) {
        self.crew.finish(Duration::from_secs(5)).await;
    }
}
