//! How long the log's syncs took: a slow disk shows here first.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::durations::Durations;

/// How many syncs are remembered.
const SAMPLES_MAX: usize = 2_048;

/// The upper bound of the first bucket that they are counted in, as etcd's.
const FIRST_US: u64 = 1_000;

/// The latest syncs' durations.
#[derive(Debug, Default)]
pub struct SyncStats {
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    durations_us: VecDeque<u64>,
    ops: u64,
    bytes: u64,
    all: Option<Durations>,
}

impl SyncStats {
    /// Notes one sync, which covered `ops` operations of so many bytes.
    pub fn note(&self, duration_us: u64, ops: usize, bytes: usize) {
        let mut recent = self.recent.lock();
        if recent.durations_us.len() == SAMPLES_MAX {
            recent.durations_us.pop_front();
        }
        recent.durations_us.push_back(duration_us);
        recent.all.get_or_insert_with(|| Durations::from_us(FIRST_US)).note(duration_us);
        recent.ops += u64::try_from(ops).unwrap_or(u64::MAX);
        recent.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// All syncs so far, and the operations they covered.
    pub fn totals(&self) -> (u64, u64) {
        let recent = self.recent.lock();
        (recent.all.map_or(0, |all| all.count), recent.ops)
    }

    /// The bytes that all of them covered.
    pub fn bytes(&self) -> u64 {
        self.recent.lock().bytes
    }

    /// How long all of them took.
    pub fn durations(&self) -> Durations {
        self.recent.lock().all.unwrap_or_else(|| Durations::from_us(FIRST_US))
    }

    /// The 99th percentile of the remembered syncs, in milliseconds; 0 while there is none.
    pub fn p99_ms(&self) -> f64 {
        let mut sorted: Vec<u64> = self.recent.lock().durations_us.iter().copied().collect();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
        let micros = u32::try_from(sorted[last * 99 / 100]).unwrap_or(u32::MAX);
        f64::from(micros) / 1_000.0
    }

    /// The median of the last `count` syncs, in milliseconds; `None` while there are fewer.
    pub fn recent_median_ms(&self, count: usize) -> Option<u64> {
        let recent = self.recent.lock();
        let skip = recent.durations_us.len().checked_sub(count)?;
        let mut last: Vec<u64> = recent.durations_us.iter().skip(skip).copied().collect();
        last.sort_unstable();
        last.get(count / 2).map(|micros| micros / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_of_the_latest_syncs() {
        let stats = SyncStats::default();
        assert_eq!((stats.p99_ms(), stats.recent_median_ms(2)), (0.0, None));
        (0..4_000).for_each(|_| stats.note(1_000_000, 1, 10));
        (1..=2_048).for_each(|n| stats.note(n * 1_000, 1, 10));
        assert_eq!(stats.p99_ms(), 2_027.0);
        assert_eq!(stats.recent_median_ms(3), Some(2_047));
        assert_eq!((stats.totals(), stats.bytes()), ((6_048, 6_048), 60_480));
    }
}
