//! Keeps the log short in bytes, as snapshots after so many entries keep it short in entries: an entry may be
//! a hundred bytes or a megabyte.
//!
//! # Invariants
//! - Nothing is purged that is not in the flushed state.

use std::sync::Arc;
use std::time::Duration;

use store_env::task::TaskResult;
use tokio_util::sync::CancellationToken;

use crate::core::Core;

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Flushes the state and purges the log down to `log_bytes` whenever it is twice as long, until told to stop.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    let keep = core.config.log_bytes;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if core.log.bytes() < 2 * keep {
            continue;
        }
        let Some(upto) = core.log.beyond(keep) else { continue };
        let flushed = core.metrics().snapshot.map(|id| id.index);
        let trigger = core.raft.trigger();
        let triggered = if flushed >= Some(upto) {
            trigger.purge_log(upto).await
        } else {
            trigger.snapshot().await
        };
        // Raft has stopped, and says why elsewhere.
        if triggered.is_err() {
            return Ok(());
        }
    }
}
