//! How long things took, counted in buckets that double: what dashboards draw quantiles from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// How many buckets there are below the last, which has no bound.
pub(crate) const BUCKETS: usize = 16;

/// Durations, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// The upper bound of the first bucket; each further one has twice that of the one before.
    pub first_us: u64,
    /// Not cumulated.
    pub counts: [u64; BUCKETS],
    /// All of them, those beyond the last bound too.
    pub count: u64,
    pub sum_us: u64,
}

impl Durations {
    /// None yet.
    pub fn from_us(first_us: u64) -> Self {
        Self { first_us, ..Self::default() }
    }

    pub(crate) fn note(&mut self, micros: u64) {
        let within = |bucket: &usize| micros <= self.first_us << bucket;
        if let Some(bucket) = (0..BUCKETS).find(within) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }
}

/// Durations that several threads count.
#[derive(Debug)]
pub(crate) struct Shared {
    durations: Mutex<Durations>,
    slow_over: Duration,
    slow: AtomicU64,
}

impl Shared {
    /// What takes longer than `slow_over` is counted as slow.
    pub(crate) fn new(first_us: u64, slow_over: Duration) -> Self {
        let durations = Mutex::new(Durations::from_us(first_us));
        Self { durations, slow_over, slow: AtomicU64::new(0) }
    }

    /// Returns whether it was slow.
    pub(crate) fn note(&self, took: Duration) -> bool {
        self.durations.lock().note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let is_slow = took > self.slow_over;
        if is_slow {
            self.slow.fetch_add(1, Ordering::Relaxed);
        }
        is_slow
    }

    pub(crate) fn now(&self) -> Durations {
        *self.durations.lock()
    }

    /// How many were slow.
    pub(crate) fn slow(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_slow() {
        let shared = Shared::new(100, Duration::from_millis(2));
        assert!(!shared.note(Duration::from_millis(2)));
        assert!(shared.note(Duration::from_millis(3)));
        assert_eq!((shared.slow(), shared.now().count), (1, 2));
    }

    #[test]
    fn durations_are_counted_in_buckets() {
        let mut durations = Durations::from_us(100);
        for micros in [50, 100, 101, 3_276_800, 5_000_000] {
            durations.note(micros);
        }
        let counts = &durations.counts;
        assert_eq!((counts[0], counts[1], counts[15]), (2, 1, 1));
        assert_eq!((durations.count, durations.sum_us), (5, 8_277_051));
    }
}
