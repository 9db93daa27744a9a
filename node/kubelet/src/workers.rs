//! The workers of all pods: started, told news, and forgotten when nothing is left of their pod.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use store_env::task::Crew;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::pod;
use crate::resize;
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
}

impl Workers {
    pub(crate) fn new(cx: Arc<Context>, stop: CancellationToken) -> Self {
        Self { cx, stop, crew: Crew::new(), slots: BTreeMap::new() }
    }

    /// Makes the workers follow `wanted`, by uid. Pods that are not in it any more are brought down.
    pub(crate) fn reconcile(&mut self, wanted: &BTreeMap<String, Arc<Pod>>) {
        self.slots.retain(|_, slot| !slot.desired.is_closed());
        for (uid, slot) in &self.slots {
            if !wanted.contains_key(uid) {
                slot.desired
                    .send_if_modified(|desired| !std::mem::replace(&mut desired.is_removed, true));
            }
        }
        for (uid, pod) in wanted.iter().filter(|(uid, _)| !self.slots.contains_key(*uid)) {
            self.cx.ledger.expect(uid, resize::need(pod));
        }
        for (uid, pod) in wanted {
            match self.slots.get(uid) {
                Some(slot) => drop(slot.desired.send_if_modified(|desired| {
                    let before = std::mem::replace(&mut desired.pod, pod.clone());
                    is_news(&before, pod)
                })),
                // One after the other, when a pod of the same name is still coming down.
                None if self.slots.values().any(|slot| slot.key == pod::key(pod)) => {}
                None => self.start(pod.clone(), false),
            }
        }
    }

    /// Brings down what the runtime has and nobody wants.
    pub(crate) fn bring_down(&mut self, orphan: Pod) {
        if !self.slots.contains_key(pod::uid(&orphan)) {
            tracing::info!(pod = pod::key(&orphan), uid = pod::uid(&orphan), "orphan found");
            self.start(Arc::new(orphan), true);
        }
    }

    fn start(&mut self, pod: Arc<Pod>, is_removed: bool) {
        let (uid, key) = (pod::uid(&pod).to_owned(), pod::key(&pod));
        let (desired, news) = watch::channel(Desired { pod, is_removed });
        let poke = Arc::new(Notify::new());
        let worker = Worker::new(self.cx.clone(), news, poke.clone());
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
