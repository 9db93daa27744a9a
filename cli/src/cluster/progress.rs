//! Tells a person, step by step, what is being done and how long it took.

#![expect(clippy::print_stdout, reason = "progress is what this module prints")]

use store_env::clock::SharedClock;

/// A list of steps on standard output.
#[derive(Debug)]
pub(super) struct Progress {
    clock: SharedClock,
    started_ms: u64,
}

impl Progress {
    pub(super) fn new(clock: SharedClock) -> Self {
        let started_ms = clock.monotonic_ms();
        Self { clock, started_ms }
    }

    /// A step is done.
    pub(super) fn done(&self, what: &str) {
        println!("  \u{2713} {what}  ({:.1} s)", self.elapsed_s());
    }

    /// A line of its own.
    pub(super) fn say(&self, line: &str) {
        println!("{line}");
    }

    /// Seconds since the first step began.
    #[expect(clippy::cast_precision_loss, reason = "shown to a person, to a tenth of a second")]
    pub(super) fn elapsed_s(&self) -> f64 {
        (self.clock.monotonic_ms() - self.started_ms) as f64 / 1000.0
    }
}
