//! Pods that no node takes and whose owners are still to be told so, at a measured pace. Pure.
//!
//! To say it costs two writes, more than the pod itself did: of thousands at once they would take the machine from
//! those who create them. A pod that is bound or deleted before its turn needs no word. Where many wait, several are
//! told together: their writes share entries of the log and its syncs, and a fifth of a second is soon enough.
//!
//! # Invariants
//! - Of one pod only the latest refusal waits, in the place of its first.

use std::collections::BTreeMap;

/// As upstream's scheduler talks to its API server: 50 a second, 100 at once (`clientConnection` of its configuration).
const INTERVAL_MS: u64 = 20;
const BURST_MS: u64 = 100 * INTERVAL_MS;

/// So many are told together, if so many wait.
const TOGETHER: usize = 10;

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

    /// The next ones, at most `max`, if it is time for them: each pod's key, and why it waits.
    pub(crate) fn take(&mut self, now_ms: u64, max: usize) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        if self.next_due_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return taken;
        }
        while taken.len() < max
            && self.due_ms(1) <= now_ms
            && let Some((_, (key, message))) = self.line.pop_first()
        {
            self.turns.remove(&key);
            self.paid_until_ms = self.paid_until_ms.max(now_ms) + INTERVAL_MS;
            taken.push((key, message));
        }
        taken
    }

    /// When [`Refusals::take`] has something.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        let together = self.line.len().min(TOGETHER);
        (together > 0).then(|| self.due_ms(together as u64))
    }

    /// When so many may be told.
    fn due_ms(&self, count: u64) -> u64 {
        (self.paid_until_ms + count * INTERVAL_MS).saturating_sub(BURST_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(refusals: &mut Refusals, now_ms: u64) -> Vec<String> {
        let taken = refusals.take(now_ms, usize::MAX).into_iter();
        taken.map(|(key, message)| format!("{key} {message}")).collect()
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
    fn a_hundred_go_at_once_and_fifty_a_second_after_that_ten_at_a_time() {
        let mut refusals = Refusals::default();
        for index in 0..1_000 {
            refusals.put(&format!("{index}"), String::new());
        }
        let counts =
            [0, 20, 199, 200, 1_200, 3_200].map(|ms| said(&mut refusals, 50_000 + ms).len());
        assert_eq!(counts, [100, 0, 0, 10, 50, 100]);
        assert_eq!(refusals.next_due_ms(), Some(53_400));
        assert_eq!(refusals.take(53_400, 3).len(), 3);
        // An hour of silence is not saved up.
        assert_eq!(said(&mut refusals, 9_000_000).len(), 100);
    }

    #[test]
    fn the_last_few_do_not_wait_for_others() {
        let mut refusals = Refusals::default();
        for index in 0..103 {
            refusals.put(&format!("{index}"), String::new());
        }
        assert_eq!(said(&mut refusals, 50_000).len(), 100);
        assert_eq!(refusals.next_due_ms(), Some(50_060));
        assert_eq!(said(&mut refusals, 50_060).len(), 3);
    }
}
