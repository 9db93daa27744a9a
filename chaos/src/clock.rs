//! A member's clock: the simulation's time, which may be set wrong and run too fast or too slow.

use std::sync::Arc;

use parking_lot::Mutex;
use store_env::clock::Clock;

use crate::world::now_us;

/// What all clocks show when a simulation begins.
const EPOCH_MS: u64 = 1_795_000_000_000;

#[derive(Debug, Default)]
struct Face {
    /// The monotonic clock showed `shown_us` at `since_us`, and has gained `gain_ppm` since.
    since_us: u64,
    shown_us: u64,
    gain_ppm: i64,
    /// By how much the calendar is wrong.
    offset_ms: i64,
    is_frozen: bool,
}

impl Face {
    fn monotonic_us(&self, now_us: u64) -> u64 {
        if self.is_frozen {
            return self.shown_us;
        }
        let passed_us = now_us.saturating_sub(self.since_us);
        let gained = i128::from(passed_us) * i128::from(self.gain_ppm) / 1_000_000;
        let passed_us = i128::from(passed_us) + gained;
        self.shown_us + u64::try_from(passed_us).unwrap_or(0)
    }
}

/// A clock. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct SimClock(Arc<Mutex<Face>>);

impl SimClock {
    /// Sets the calendar forward or back from where it should be.
    pub fn set_wrong_by(&self, offset_ms: i64) {
        self.0.lock().offset_ms = offset_ms;
    }

    /// Lets the clock gain so many microseconds a second, from now on.
    pub fn gain(&self, gain_ppm: i64, now_us: u64) {
        let mut face = self.0.lock();
        (face.shown_us, face.since_us) = (face.monotonic_us(now_us), now_us);
        face.gain_ppm = gain_ppm;
    }

    /// Stops the clock for ever.
    pub fn freeze(&self) {
        self.0.lock().is_frozen = true;
    }
}

impl Clock for SimClock {
    fn unix_ms(&self) -> u64 {
        let face = self.0.lock();
        let shown_ms = EPOCH_MS + face.monotonic_us(now_us()) / 1_000;
        shown_ms.saturating_add_signed(face.offset_ms)
    }

    fn monotonic_ms(&self) -> u64 {
        self.monotonic_us() / 1_000
    }

    fn monotonic_us(&self) -> u64 {
        self.0.lock().monotonic_us(now_us())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_follows_its_rate_and_never_jumps() {
        let mut face = Face::default();
        assert_eq!(face.monotonic_us(1_000_000), 1_000_000);
        (face.shown_us, face.since_us, face.gain_ppm) = (1_000_000, 1_000_000, 50_000);
        assert_eq!(face.monotonic_us(3_000_000), 3_100_000);
        face.gain_ppm = -50_000;
        assert_eq!(face.monotonic_us(3_000_000), 2_900_000);
    }
}
