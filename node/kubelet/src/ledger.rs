//! What each pod of the node takes of it, so that no two get the same.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::admit::Claim;
use crate::resize::Need;

/// Allocations by pod uid.
#[derive(Debug)]
pub(crate) struct Ledger {
    pods: Mutex<BTreeMap<String, Claim>>,
    freed: watch::Sender<()>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { pods: Mutex::default(), freed: watch::channel(()).0 }
    }

    /// Decides with what the others have in sight, and writes down what the pod has then, in one step.
    pub(crate) fn settle<T>(&self, uid: &str, decide: impl FnOnce(Need) -> (Need, T)) -> T {
        let (is_freed, verdict) = {
            let mut pods = self.pods.lock();
            let others = pods.iter().filter(|(other, _)| *other != uid);
            let others = others.fold(Need::default(), |sum, (_, claim)| sum.plus(claim.need));
            let (need, verdict) = decide(others);
            let claim = pods.entry(uid.to_owned()).or_default();
            let before = std::mem::replace(&mut claim.need, need);
            let is_freed =
                need.cpu_milli < before.cpu_milli || need.memory_bytes < before.memory_bytes;
            (is_freed, verdict)
        };
        if is_freed {
            self.freed.send_replace(());
        }
        verdict
    }

    /// Counts a pod that was not looked at yet.
    pub(crate) fn expect(&self, uid: &str, claim: Claim) {
        self.pods.lock().entry(uid.to_owned()).or_insert(claim);
    }

    /// What all pods have together.
    pub(crate) fn all(&self) -> Vec<Claim> {
        self.pods.lock().values().cloned().collect()
    }

    /// The pod uses nothing any more.
    pub(crate) fn forget(&self, uid: &str) {
        if self.pods.lock().remove(uid).is_some() {
            self.freed.send_replace(());
        }
    }

    /// Changes whenever something was given back.
    pub(crate) fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }
}
