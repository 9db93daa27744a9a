//! The one who gives space back: removes, in small steps, what a compaction has forgotten.
//!
//! A compaction only moves the revision from which on there is history, so that it delays nobody. What it
//! leaves is removed here, by each member for itself: a member that restarts in the middle goes on.
//!
//! # Invariants
//! - A step holds the state for moments only, and there is a pause after each.

use std::sync::Arc;
use std::time::Duration;

use store_env::clock::SharedClock;
use store_env::disk::Lane;
use store_env::task::TaskResult;
use tokio_util::sync::CancellationToken;

use crate::replica::Replica;

/// Lines of history that one step looks at: about a millisecond's work.
const STEP_VERSIONS: usize = 512;

/// Between two steps: some 50,000 lines a second.
const PAUSE: Duration = Duration::from_millis(10);

/// Deletions that are worth a table of their own, so that the disk sees to them at once.
const FLUSHED_MIN: usize = 1_024;

/// Sweeps whenever there is something to sweep, until told to stop.
pub(crate) async fn run(
    replica: Arc<Replica>,
    apply: Lane,
    flush: Lane,
    clock: SharedClock,
    stop: CancellationToken,
) -> TaskResult {
    let mut deleted = 0;
    loop {
        while !replica.is_swept() {
            let (swept, unix_ms) = (replica.clone(), clock.unix_ms());
            deleted += apply.run(move || swept.sweep(STEP_VERSIONS, unix_ms)).await??;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        if deleted >= FLUSHED_MIN {
            let flushed = replica.clone();
            flush.run(move || flushed.flush()).await??;
            deleted = 0;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = replica.unswept.notified() => {}
        }
    }
}
