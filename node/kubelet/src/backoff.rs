//! When something that failed may be tried again: doubling delays with a ceiling.
//!
//! Pure: time comes in as milliseconds.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    delay_ms: u64,
    updated_ms: u64,
}

/// Delays by key: 10 s, 20 s, … up to the ceiling; forgotten after twice the ceiling.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first_ms: u64,
    max_ms: u64,
    entries: BTreeMap<String, Entry>,
}

impl Backoff {
    /// Between restarts of a container, and between pulls of an image.
    pub(crate) fn kubelet() -> Self {
        Self { first_ms: 10_000, max_ms: 300_000, entries: BTreeMap::new() }
    }

    /// How long to wait still, for something that failed at `failed_ms`; 0 when it may go.
    pub(crate) fn remaining_ms(&self, key: &str, failed_ms: u64, now_ms: u64) -> u64 {
        match self.entries.get(key) {
            Some(entry) if !self.is_forgotten(*entry, failed_ms) => {
                (failed_ms + entry.delay_ms).saturating_sub(now_ms)
            }
            _ => 0,
        }
    }

    /// The delay that the next failure will meet.
    pub(crate) fn delay_ms(&self, key: &str) -> u64 {
        self.entries.get(key).map_or(self.first_ms, |entry| entry.delay_ms)
    }

    /// Notes another try after a failure at `failed_ms`: the next delay is longer.
    pub(crate) fn tried(&mut self, key: &str, failed_ms: u64, now_ms: u64) {
        let delay_ms = match self.entries.get(key) {
            Some(entry) if !self.is_forgotten(*entry, failed_ms) => {
                (entry.delay_ms * 2).min(self.max_ms)
            }
            _ => self.first_ms,
        };
        self.entries.insert(key.to_owned(), Entry { delay_ms, updated_ms: now_ms });
    }

    /// Success: the next failure starts from the shortest delay.
    pub(crate) fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn is_forgotten(&self, entry: Entry, failed_ms: u64) -> bool {
        failed_ms.saturating_sub(entry.updated_ms) > self.max_ms * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_ceiling_and_are_forgotten_after_a_steady_run() {
        let mut backoff = Backoff::kubelet();
        let mut now = 1_000_000;
        let mut waited = Vec::new();
        for _ in 0..8 {
            let failed = now;
            let wait = backoff.remaining_ms("c", failed, now);
            now += wait;
            waited.push(wait / 1_000);
            backoff.tried("c", failed, now);
        }
        assert_eq!(waited, [0, 10, 20, 40, 80, 160, 300, 300]);
        let failed = now + 600_001;
        assert_eq!(backoff.remaining_ms("c", failed, failed), 0);
    }
}
