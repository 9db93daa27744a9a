//! Time, as a value that is handed in.

#![expect(clippy::disallowed_types, reason = "this module is the one reader of the system's clock")]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where a component learns what time it is.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Milliseconds since the Unix epoch; may jump when the machine's clock is set.
    fn unix_ms(&self) -> u64;

    /// Milliseconds since some fixed moment; never goes back, never compared between machines.
    fn monotonic_ms(&self) -> u64;

    /// The same, in microseconds, where the clock is that fine.
    fn monotonic_us(&self) -> u64 {
        self.monotonic_ms() * 1_000
    }
}

/// A clock that is shared.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl SystemClock {
    /// The machine's clock, ready to share.
    pub fn shared() -> SharedClock {
        Arc::new(Self { started: std::time::Instant::now() })
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        millis(since)
    }

    fn monotonic_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn monotonic_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// tokio's clock, from a given epoch: it stands still where tokio's does (paused tests, simulations).
#[derive(Debug)]
pub struct TokioClock {
    epoch_unix_ms: u64,
    started: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that shows `epoch_unix_ms` now. Must be called inside a tokio runtime.
    pub fn shared(epoch_unix_ms: u64) -> SharedClock {
        Arc::new(Self { epoch_unix_ms, started: tokio::time::Instant::now() })
    }
}

impl Clock for TokioClock {
    fn unix_ms(&self) -> u64 {
        self.epoch_unix_ms + millis(self.started.elapsed())
    }

    fn monotonic_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokio_clock_moves_with_tokio_time_only() {
        let clock = TokioClock::shared(1_000);
        assert_eq!((clock.unix_ms(), clock.monotonic_ms()), (1_000, 0));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!((clock.unix_ms(), clock.monotonic_ms()), (1_250, 250));
    }
}
