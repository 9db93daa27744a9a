//! Pods that wait: ready by priority, backing off, or unschedulable until something changes. Pure.
//!
//! # Invariants
//! - A pod is in exactly one of the three, or with the scheduler.
//! - No pod waits longer than [`UNSCHEDULABLE_MAX_MS`] without being tried again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::pod::PodInfo;

const BACKOFF_FIRST_MS: u64 = 1_000;
const BACKOFF_MAX_MS: u64 = 10_000;
/// After this, an unschedulable pod is tried again even if nothing seems to have changed.
const UNSCHEDULABLE_MAX_MS: u64 = 30_000;

/// A pod with its history of tries.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) pod: Arc<PodInfo>,
    pub(crate) attempts: u32,
    /// The rules that refused it last time.
    pub(crate) refused_by: BTreeSet<&'static str>,
    failed_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Ready { priority: Reverse<i32>, turn: u64 },
    BackingOff { until_ms: u64 },
    Unschedulable { until_ms: u64 },
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pods: BTreeMap<String, (Place, Waiting)>,
    /// By place, so that the first is the next.
    places: BTreeSet<(Place, String)>,
    turn: u64,
}

impl Queue {
    /// A new pod, or the new state of one that waits: tried at once.
    pub(crate) fn put(&mut self, pod: Arc<PodInfo>) {
        let attempts = self.pods.get(&pod.key).map_or(0, |(_, waiting)| waiting.attempts);
        self.ready(Waiting { pod, attempts, refused_by: BTreeSet::new(), failed_ms: 0 });
    }

    /// A change of a waiting pod that has no bearing on where it fits (its status, say).
    pub(crate) fn refresh(&mut self, pod: Arc<PodInfo>) -> bool {
        match self.pods.get_mut(&pod.key) {
            Some((_, waiting)) => {
                waiting.pod = pod;
                true
            }
            None => false,
        }
    }

    pub(crate) fn waiting(&self, key: &str) -> Option<&Waiting> {
        self.pods.get(key).map(|(_, waiting)| waiting)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.pods.keys().cloned().collect()
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Some((place, _)) = self.pods.remove(key) {
            self.places.remove(&(place, key.to_owned()));
        }
    }

    /// The next pod to try: highest priority first, then the one that waits longest.
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        let (place, key) = self.places.first()?.clone();
        if !matches!(place, Place::Ready { .. }) {
            return None;
        }
        self.places.pop_first();
        let (_, mut waiting) = self.pods.remove(&key)?;
        waiting.attempts += 1;
        Some(waiting)
    }

    pub(crate) fn has_ready(&self) -> bool {
        matches!(self.places.first(), Some((Place::Ready { .. }, _)))
    }

    /// A pod that no node takes; `refused_by` says which rules to watch.
    pub(crate) fn unschedulable(
        &mut self,
        mut waiting: Waiting,
        refused_by: BTreeSet<&'static str>,
        now_ms: u64,
    ) {
        (waiting.refused_by, waiting.failed_ms) = (refused_by, now_ms);
        self.place(Place::Unschedulable { until_ms: now_ms + UNSCHEDULABLE_MAX_MS }, waiting);
    }

    /// A pod whose binding failed: tried again after a pause.
    pub(crate) fn back_off(&mut self, mut waiting: Waiting, now_ms: u64) {
        waiting.failed_ms = now_ms;
        self.place(Place::BackingOff { until_ms: now_ms + backoff_ms(waiting.attempts) }, waiting);
    }

    /// Something changed: pods refused by a rule that `may_help` says may profit are tried again, after
    /// what is left of their pause.
    pub(crate) fn stir(&mut self, now_ms: u64, may_help: impl Fn(&'static str) -> bool) {
        let keys: Vec<String> = self
            .places
            .range((Place::Unschedulable { until_ms: 0 }, String::new())..)
            .map(|(_, key)| key.clone())
            .collect();
        for key in keys {
            let (_, waiting) = self.pods.get(&key).expect("every place has its pod");
            if waiting.refused_by.is_empty()
                || waiting.refused_by.iter().any(|plugin| may_help(plugin))
            {
                self.retry(&key, now_ms);
            }
        }
    }

    /// Moves what has waited long enough.
    pub(crate) fn flush(&mut self, now_ms: u64) {
        let is_due = |place: &Place| match place {
            Place::Ready { .. } => false,
            Place::BackingOff { until_ms } | Place::Unschedulable { until_ms } => {
                *until_ms <= now_ms
            }
        };
        let paused = self.places.range((Place::BackingOff { until_ms: 0 }, String::new())..);
        let due: Vec<String> =
            paused.filter(|(place, _)| is_due(place)).map(|(_, key)| key.clone()).collect();
        for key in due {
            self.retry(&key, now_ms);
        }
    }

    /// When [`Queue::flush`] has something to do.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let first_from = |place: Place| {
            self.places.range((place, String::new())..).next().map(|(place, _)| *place)
        };
        let until = |place: Option<Place>| match place {
            Some(Place::BackingOff { until_ms } | Place::Unschedulable { until_ms }) => {
                Some(until_ms)
            }
            _ => None,
        };
        let backing_off = until(first_from(Place::BackingOff { until_ms: 0 }));
        let unschedulable = until(first_from(Place::Unschedulable { until_ms: 0 }));
        backing_off.into_iter().chain(unschedulable).min()
    }

    fn retry(&mut self, key: &str, now_ms: u64) {
        let Some((place, waiting)) = self.pods.remove(key) else { return };
        self.places.remove(&(place, key.to_owned()));
        let until_ms = waiting.failed_ms + backoff_ms(waiting.attempts);
        match until_ms > now_ms {
            true => self.place(Place::BackingOff { until_ms }, waiting),
            false => self.ready(waiting),
        }
    }

    fn ready(&mut self, waiting: Waiting) {
        self.turn += 1;
        let place = Place::Ready { priority: Reverse(waiting.pod.priority), turn: self.turn };
        self.place(place, waiting);
    }

    fn place(&mut self, place: Place, waiting: Waiting) {
        let key = waiting.pod.key.clone();
        self.remove(&key);
        self.places.insert((place, key.clone()));
        self.pods.insert(key, (place, waiting));
    }
}

fn backoff_ms(attempts: u32) -> u64 {
    let doublings = attempts.saturating_sub(1).min(10);
    (BACKOFF_FIRST_MS << doublings).min(BACKOFF_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(key: &str, priority: i32) -> Arc<PodInfo> {
        Arc::new(PodInfo { key: key.to_owned(), priority, ..PodInfo::default() })
    }

    fn popped(queue: &mut Queue) -> String {
        queue.pop().map_or_else(String::new, |waiting| waiting.pod.key.clone())
    }

    #[test]
    fn the_important_go_first_then_the_patient() {
        let mut queue = Queue::default();
        for (key, priority) in [("a", 0), ("b", 0), ("c", 10), ("d", -1)] {
            queue.put(pod(key, priority));
        }
        let order: Vec<String> = (0..5).map(|_| popped(&mut queue)).collect();
        assert_eq!(order, ["c", "a", "b", "d", ""]);
    }

    #[test]
    fn the_refused_wait_for_what_may_help_and_for_their_pause() {
        let mut queue = Queue::default();
        queue.put(pod("a", 0));
        let waiting = queue.pop().unwrap();
        queue.unschedulable(waiting, BTreeSet::from(["Fit"]), 1_000);
        queue.stir(1_100, |plugin| plugin == "Ports");
        queue.flush(5_000);
        assert_eq!(popped(&mut queue), "", "nothing that helps has happened");
        queue.stir(5_000, |plugin| plugin == "Fit");
        assert_eq!(popped(&mut queue), "a");

        queue.put(pod("b", 0));
        let waiting = queue.pop().unwrap();
        queue.unschedulable(waiting, BTreeSet::from(["Fit"]), 1_000);
        queue.stir(1_500, |_| true);
        assert_eq!((popped(&mut queue), queue.next_due_ms()), (String::new(), Some(2_000)));
        queue.flush(2_000);
        assert_eq!(popped(&mut queue), "b");
    }

    #[test]
    fn nobody_is_forgotten() {
        let mut queue = Queue::default();
        queue.put(pod("a", 0));
        let waiting = queue.pop().unwrap();
        queue.unschedulable(waiting, BTreeSet::from(["Fit"]), 0);
        assert_eq!(queue.next_due_ms(), Some(UNSCHEDULABLE_MAX_MS));
        queue.flush(UNSCHEDULABLE_MAX_MS);
        assert_eq!(popped(&mut queue), "a");
    }

    #[test]
    fn pauses_double_up_to_ten_seconds() {
        let pauses: Vec<u64> = (1..=6).map(backoff_ms).collect();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(backoff_ms(u32::MAX), 10_000);
    }

    #[test]
    fn a_changed_pod_is_tried_at_once_and_a_removed_one_never() {
        let mut queue = Queue::default();
        queue.put(pod("a", 0));
        let waiting = queue.pop().unwrap();
        queue.unschedulable(waiting, BTreeSet::from(["Fit"]), 0);
        queue.put(pod("a", 7));
        assert!(queue.has_ready());
        queue.remove("a");
        assert_eq!((popped(&mut queue), queue.next_due_ms()), (String::new(), None));
    }
}
