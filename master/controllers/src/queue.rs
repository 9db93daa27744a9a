//! Keys that wait to be looked at.
//!
//! ```text
//!  add ──▶ ready ──▶ next ──▶ (busy) ──▶ done ──┬─▶ forgotten
//!           ▲  ▲                │ add meanwhile │
//!           │  └────────────────┴── dirty ◀─────┘
//!  delayed ─┘  (add_after, back_off)
//! ```
//!
//! # Invariants
//! - A key is with one worker at most; what happens to it meanwhile brings it back once.
//! - A key waits once, however often it was added.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Upstream's bounds of the delay after failures.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1000);

/// A shared queue of keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<String>,
    /// What is in `ready`.
    waiting: BTreeSet<String>,
    busy: BTreeSet<String>,
    /// Added while busy.
    dirty: BTreeSet<String>,
    delayed: BTreeSet<(Instant, String)>,
    due: BTreeMap<String, Instant>,
    failures: BTreeMap<String, u32>,
}

impl State {
    fn add(&mut self, key: String) {
        if self.busy.contains(&key) {
            self.dirty.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn delay(&mut self, key: String, at: Instant) {
        if let Some(&before) = self.due.get(&key) {
            if before <= at {
                return; // comes sooner anyway
            }
            self.delayed.remove(&(before, key.clone()));
        }
        self.due.insert(key.clone(), at);
        self.delayed.insert((at, key));
    }

    fn take_due(&mut self, now: Instant) {
        while let Some((at, _)) = self.delayed.first()
            && *at <= now
            && let Some((_, key)) = self.delayed.pop_first()
        {
            self.due.remove(&key);
            self.add(key);
        }
    }
}

impl Queue {
    pub(crate) fn add(&self, key: String) {
        self.state.lock().add(key);
        self.wake.notify_one();
    }

    /// Adds the key later, unless it is to come sooner already.
    pub(crate) fn add_after(&self, key: String, delay: Duration) {
        self.state.lock().delay(key, Instant::now() + delay);
        self.wake.notify_one();
    }

    /// Adds the key after a delay that doubles with each failure in a row.
    pub(crate) fn back_off(&self, key: String) {
        let failures = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        let factor = 2_u32.saturating_pow(failures - 1);
        self.add_after(key, BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_MAX));
    }

    /// The key's next failure is its first.
    pub(crate) fn forget(&self, key: &str) {
        self.state.lock().failures.remove(key);
    }

    /// Waits for a key; give it back with [`done`](Self::done).
    pub(crate) async fn next(&self) -> String {
        loop {
            let next_due = {
                let mut state = self.state.lock();
                state.take_due(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.waiting.remove(&key);
                    state.busy.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.wake.notify_one(); // for another worker
                    }
                    return key;
                }
                state.delayed.first().map(|(at, _)| *at)
            };
            let due = async {
                match next_due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased; // a key that was added now goes before one that becomes due
                () = self.wake.notified() => {}
                () = due => {}
            }
        }
    }

    pub(crate) fn done(&self, key: &str) {
        let is_dirty = {
            let mut state = self.state.lock();
            state.busy.remove(key);
            let is_dirty = state.dirty.remove(key);
            if is_dirty {
                state.add(key.to_owned());
            }
            is_dirty
        };
        if is_dirty {
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(queue: &Queue) -> Option<String> {
        tokio::time::timeout(Duration::ZERO, queue.next()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn key_added_often_comes_once_and_never_to_two_workers() {
        let queue = Queue::default();
        queue.add("a".into());
        queue.add("a".into());
        assert_eq!(next(&queue).await.as_deref(), Some("a"));
        queue.add("a".into());
        queue.add("a".into());
        assert_eq!(next(&queue).await, None, "busy");
        queue.done("a");
        assert_eq!(next(&queue).await.as_deref(), Some("a"));
        queue.done("a");
        assert_eq!(next(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_double_from_five_milliseconds_to_a_thousand_seconds() {
        let queue = Queue::default();
        let table = [(1, 5), (2, 10), (3, 20), (10, 2_560), (40, 1_000_000)];
        let mut failures = 0;
        for (failure, expected_ms) in table {
            while failures < failure {
                failures += 1;
                queue.back_off("a".into());
                if failures < failure {
                    queue.next().await;
                    queue.done("a");
                }
            }
            let started = Instant::now();
            queue.next().await;
            queue.done("a");
            assert_eq!(started.elapsed().as_millis(), expected_ms, "failure {failure}");
        }
        queue.forget("a");
        queue.back_off("a".into());
        let started = Instant::now();
        queue.next().await;
        assert_eq!(started.elapsed().as_millis(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn sooner_of_two_delays_wins() {
        let queue = Queue::default();
        queue.add_after("a".into(), Duration::from_secs(9));
        queue.add_after("a".into(), Duration::from_secs(2));
        queue.add_after("a".into(), Duration::from_secs(5));
        let started = Instant::now();
        queue.next().await;
        queue.done("a");
        assert_eq!(started.elapsed(), Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(next(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn every_key_finds_a_worker() {
        let queue = Queue::default();
        let workers = futures::future::join_all((0..3).map(|_| queue.next()));
        let add = async {
            for key in ["a", "b", "c"] {
                queue.add(key.into());
            }
        };
        let (mut keys, ()) = futures::join!(workers, add);
        keys.sort();
        assert_eq!(keys, ["a", "b", "c"]);
    }
}
