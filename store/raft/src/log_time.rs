//! The time that stands in entries: as long as a member leads, it runs with that member's monotonic clock, and
//! a new leader goes on from where the log has come.
//!
//! Calendars are set, by people and by daemons: an hour forward would end every lease, and back again would
//! keep each for an hour. While nobody leads, this time stands still, which gives leases as much more.
//!
//! # Invariants
//! - Between two readings in one term no more time passes than the leader's monotonic clock shows.
//! - It never goes back.

use parking_lot::Mutex;
use store_env::clock::SharedClock;

/// Where time was taken up.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    /// The term that this member leads, if it does.
    term: Option<u64>,
    /// What the log said last.
    latest_ms: u64,
    /// At this moment of the monotonic clock it was so late in the log.
    log_ms: u64,
    monotonic_ms: u64,
}

/// One member's idea of the log's time.
#[derive(Debug)]
pub(crate) struct LogTime {
    clock: SharedClock,
    base: Mutex<Base>,
}

impl LogTime {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, base: Mutex::default() }
    }

    /// The time now, in milliseconds since about the Unix epoch: with `term` as the leader of that term, without
    /// it as one who goes by what leaders wrote. `latest_ms` is the latest time in the log, 0 in an empty one.
    pub(crate) fn now_ms(&self, term: Option<u64>, latest_ms: u64) -> u64 {
        let mut base = self.base.lock();
        let monotonic_ms = self.clock.monotonic_ms();
        // The leader's own entries are from its own clock, some moments ago.
        let is_other = base.term != term || (term.is_none() && base.latest_ms != latest_ms);
        if is_other || base.log_ms == 0 {
            let log_ms = if latest_ms == 0 { self.clock.unix_ms() } else { latest_ms };
            *base = Base { term, latest_ms, log_ms, monotonic_ms };
        }
        (base.log_ms + monotonic_ms.saturating_sub(base.monotonic_ms)).max(latest_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use store_env::clock::Clock;

    use super::*;

    #[derive(Debug, Default)]
    struct Hands {
        unix_ms: AtomicU64,
        monotonic_ms: AtomicU64,
    }

    impl Clock for Hands {
        fn unix_ms(&self) -> u64 {
            self.unix_ms.load(Ordering::Relaxed)
        }

        fn monotonic_ms(&self) -> u64 {
            self.monotonic_ms.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn calendar_that_jumps_changes_nothing() {
        let hands = Arc::new(Hands::default());
        let set = |unix_ms, monotonic_ms| {
            hands.unix_ms.store(unix_ms, Ordering::Relaxed);
            hands.monotonic_ms.store(monotonic_ms, Ordering::Relaxed);
        };
        let time = LogTime::new(hands.clone());
        set(1_000_000, 50);
        assert_eq!(time.now_ms(Some(1), 0), 1_000_000, "an empty log begins with the calendar");
        set(9_000_000, 150);
        assert_eq!(time.now_ms(Some(1), 1_000_000), 1_000_100, "set forward");
        set(5, 250);
        assert_eq!(time.now_ms(Some(1), 1_000_100), 1_000_200, "set back");
    }

    #[test]
    fn new_leader_goes_on_from_the_log_and_readers_with_it() {
        let hands = Arc::new(Hands::default());
        let time = LogTime::new(hands.clone());
        assert_eq!(time.now_ms(None, 7_000), 7_000);
        hands.monotonic_ms.store(400, Ordering::Relaxed);
        assert_eq!(time.now_ms(None, 7_000), 7_400, "while nothing is written");
        assert_eq!(time.now_ms(None, 7_300), 7_300, "what the leader wrote holds");
        assert_eq!(time.now_ms(Some(3), 7_300), 7_300, "it stood still while nobody led");
        hands.monotonic_ms.store(500, Ordering::Relaxed);
        assert_eq!(time.now_ms(Some(3), 7_350), 7_400, "its own entries do not set it back");
        assert_eq!(time.now_ms(Some(3), 8_000), 8_000, "never before the log");
    }
}
