//! How long things took, in buckets, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::facts::Durations;

/// Durations, while they are counted.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds_s: Vec<f64>,
    /// Within each bound and beyond the one before; at the end, beyond all.
    counts: Vec<AtomicU64>,
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds_s: Vec<f64>) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds_s.len() + 1).collect();
        Self { bounds_s, counts, sum_us: AtomicU64::new(0) }
    }

    /// Buckets whose bounds double.
    pub(crate) fn doubling(first_s: f64, buckets: i32) -> Self {
        Self::new((0..buckets).map(|bucket| first_s * 2_f64.powi(bucket)).collect())
    }

    pub(crate) fn note(&self, took: Duration) {
        let took_s = took.as_secs_f64();
        let bucket = self.bounds_s.iter().position(|bound| took_s <= *bound);
        let bucket = bucket.unwrap_or(self.bounds_s.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Durations {
        let counts: Vec<u64> = self.counts.iter().map(|it| it.load(Ordering::Relaxed)).collect();
        Durations {
            count: counts.iter().sum(),
            buckets: self.bounds_s.iter().copied().zip(counts).collect(),
            sum_s: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_buckets() {
        let histogram = Histogram::doubling(0.01, 2);
        for millis in [1, 10, 11, 30] {
            histogram.note(Duration::from_millis(millis));
        }
        let now = histogram.now();
        assert_eq!(now.buckets, [(0.01, 2), (0.02, 1)]);
        assert_eq!((now.count, now.sum_s), (4, 0.052));
    }
}
