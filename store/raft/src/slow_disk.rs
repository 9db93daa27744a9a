//! Slow is not dead: a leader whose disk has become slow hands over to one whose disk may be better, and stays
//! a member.
//!
//! # Invariants
//! - It hands over at most once in [`PAUSE`]: where all disks are slow, leadership does not go in circles.

use std::sync::Arc;
use std::time::Duration;

use store_env::task::TaskResult;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::members;

/// How often the latest syncs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many of them decide: one long sync is an accident.
const SYNCS: usize = 5;

/// How long a leader that comes back keeps the lead, however slow.
const PAUSE: Duration = Duration::from_secs(60);

/// Watches the log's disk, until told to stop.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    // Half of what would cost the lease: later, heartbeats and acknowledgements fail first.
    let limit_ms = core.config.election_min_ms / 2;
    let mut handed_over: Option<Instant> = None;
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let (syncs, _) = core.syncs.totals();
        let is_new = syncs > seen;
        seen = syncs;
        let median_ms = core.syncs.recent_median_ms(SYNCS);
        let is_slow = is_new && median_ms.is_some_and(|median_ms| median_ms >= limit_ms);
        let may = handed_over.is_none_or(|at| at.elapsed() >= PAUSE);
        if !is_slow || !may || !core.leadership.borrow().leads || core.voters().len() < 2 {
            continue;
        }
        handed_over = Some(Instant::now());
        tracing::warn!(?median_ms, "the log's disk is slow: handing over");
        if let Err(reason) = members::hand_over_here(&core, None).await {
            tracing::warn!(?reason, "not handed over");
        }
    }
}
