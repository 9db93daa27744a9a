//! What openraft counts its batches in: the `base2histogram` that it asks for, without tables for scales that
//! nobody uses.
//!
//! ```text
//! values    0 1 2 3 │ 4 5 6 7 │ 8-9 10-11 12-13 14-15 │ 16-19 20-23 …     four buckets to each power of two
//! buckets   0 1 2 3 │ 4 5 6 7 │  8    9     10    11  │  12    13   …     252 in all
//! ```
//! Only what openraft calls is here.

use std::fmt;
use std::marker::PhantomData;

/// One for each value up to 3, and four for each of the 62 powers of two from there on.
const BUCKETS: usize = 252;

/// Counts values in buckets whose width is at most a quarter of the values in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64]>,
    _slots: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// One that has counted nothing.
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS].into(), _slots: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value so many times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let count = &mut self.counts[bucket(value)];
        *count = count.saturating_add(times);
    }

    /// How the values are spread: of each percentile, the smallest value of its bucket.
    pub fn percentile_stats(&self) -> PercentileStats {
        let samples = self.counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let at = |permille: u64| {
            // The first value that so many are not larger than.
            let rank = u128::from(samples) * u128::from(permille);
            let mut seen = 0_u128;
            let reached = self.counts.iter().position(|count| {
                seen += u128::from(*count);
                seen * 1_000 >= rank.max(1)
            });
            reached.map_or(0, smallest)
        };
        PercentileStats {
            samples,
            p0_1: at(1),
            p1: at(10),
            p5: at(50),
            p10: at(100),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
        }
    }
}

fn bucket(value: u64) -> usize {
    let Some(power) = value.checked_ilog2().filter(|power| *power >= 2) else {
        return value as usize;
    };
    let quarter = (value >> (power - 2)) & 3;
    (power as usize - 1) * 4 + quarter as usize
}

/// The smallest value that is counted in this bucket.
fn smallest(bucket: usize) -> u64 {
    let (group, quarter) = (bucket / 4, (bucket % 4) as u64);
    if group == 0 { quarter } else { (4 + quarter) << (group - 1) }
}

/// How values are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// Values counted.
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, p50, p90, p99, p99_9, .. } = self;
        write!(f, "{samples} values, half up to {p50}, 90 % {p90}, 99 % {p99}, 99.9 % {p99_9}")
    }
}

/// Several histograms, to be printed one below the other.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart(Vec<(String, Histogram)>);

impl AsciiChart {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.0.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, histogram)| {
            writeln!(f, "{name}: {}", histogram.percentile_stats())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_hold_what_is_counted_in_them() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(smallest(index)), index);
            if index > 0 {
                assert_eq!(bucket(smallest(index) - 1), index - 1);
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_values_within_a_quarter() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p99, 0);
        (1..=1_000).for_each(|value| histogram.record(value));
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 1_000);
        for (found, is) in [(stats.p1, 10), (stats.p50, 500), (stats.p90, 900), (stats.p99_9, 999)]
        {
            assert!(found <= is && is < found + found / 4 + 1, "{found} instead of {is}");
        }
    }
}
