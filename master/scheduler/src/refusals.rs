//! Pods that no node takes and whose owners are still to be told so, at a measured pace. Pure.
//!
//! To say it costs two writes, more than the pod itself did: of thousands at once they would take the machine from
//! those who create them. A pod that is bound or deleted before its turn needs no word.
//!
//! # Invariants
//! - Of one pod only the latest refusal waits, in the place of its first.

use std::collections::BTreeMap;

/// As upstream's scheduler talks to its API server: 50 a second, 100 at once (`clientConnection` of its configuration).
const INTERVAL_MS: u64 = 20;
const BURST_MS: u64 = 100 * INTERVAL_MS;

/// Refusals in line.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// By turn: which pod, and why it waits.
    line: BTreeMap<u64, (String, String)>,
    turns: BTreeMap<String, u64>,
    last_turn: u64,
    /// When all that was said would have been said without any burst.
    paid_until_ms: u64,
}

impl Refusals {
    /// Puts a refusal in line, or in the place of an older one of the same pod.
    pub(crate) fn put(&mut self, key: &str, message: String) {
        let turn = *self.turns.entry(key.to_owned()).or_insert_with(|| {
            self.last_turn += 1;
            self.last_turn
        });
        self.line.insert(turn, (key.to_owned(), message));
    }

    /// The pod is refused no longer.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(turn) = self.turns.remove(key) {
            self.line.remove(&turn);
        }
    }

    /// The next one, if it is time for it: the pod's key, and why it waits.
    pub(crate) fn pop(&mut self, now_ms: u64) -> Option<(String, String)> {
        if self.next_due_ms()? > now_ms {
            return None;
        }
        let (_, (key, message)) = self.line.pop_first()?;
        self.turns.remove(&key);
        self.paid_until_ms = self.paid_until_ms.max(now_ms) + INTERVAL_MS;
        Some((key, message))
    }

    /// When [`Refusals::pop`] has something.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let due_ms = (self.paid_until_ms + INTERVAL_MS).saturating_sub(BURST_MS);
        (!self.line.is_empty()).then_some(due_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(refusals: &mut Refusals, now_ms: u64) -> Vec<String> {
        let each = std::iter::from_fn(|| refusals.pop(now_ms));
        each.map(|(key, message)| format!("{key} {message}")).collect()
    }

    #[test]
    fn latest_word_is_said_in_the_place_of_the_first() {
        let mut refusals = Refusals::default();
        for (key, message) in [("a", "1"), ("b", "1"), ("c", "1"), ("a", "2")] {
            refusals.put(key, message.to_owned());
        }
        refusals.remove("b");
        refusals.remove("unknown");
        assert_eq!(said(&mut refusals, 10_000), ["a 2", "c 1"]);
        assert_eq!(refusals.next_due_ms(), None);
    }

    #[test]
    fn a_hundred_go_at_once_and_fifty_a_second_after_that() {
        let mut refusals = Refusals::default();
        for index in 0..1_000 {
            refusals.put(&format!("{index}"), String::new());
        }
        let counts = [0, 10, 20, 1_020, 3_020].map(|ms| said(&mut refusals, 50_000 + ms).len());
        assert_eq!(counts, [100, 0, 1, 50, 100]);
        assert_eq!(refusals.next_due_ms(), Some(53_040));
        // An hour of silence is not saved up.
        assert_eq!(said(&mut refusals, 9_000_000).len(), 100);
    }
}
