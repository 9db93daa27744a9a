//! The one who forgets history: keeps what is younger than a given time, as etcd's periodic compaction does.
//!
//! Every member notes which revision it had when; the leader proposes. What is forgotten is removed in
//! the background, by each member for itself.
//!
//! # Invariants
//! - Nothing younger than `keep` is forgotten, by the clock of the member that leads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use store_env::clock::SharedClock;
use store_env::task::TaskResult;
use store_mvcc::types::{Command, Revision, Term};
use tokio_util::sync::CancellationToken;

use crate::handle::Handle;

/// How many notes are taken in the time that is kept.
const NOTES: u32 = 10;

/// Compacts what is older than `keep`, while this member leads, until told to stop.
pub async fn run(
    handle: Arc<dyn Handle>,
    clock: SharedClock,
    keep: Duration,
    stop: CancellationToken,
) -> TaskResult {
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let mut notes: VecDeque<(u64, Revision)> = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(keep / NOTES) => {}
        }
        let now_ms = clock.monotonic_ms();
        notes.push_back((now_ms, handle.revision()));
        let mut target = None;
        while let Some(&(noted_ms, revision)) = notes.front()
            && noted_ms.saturating_add(keep_ms) <= now_ms
        {
            target = Some(revision);
            notes.pop_front();
        }
        let leadership = *handle.leadership().borrow();
        if let Some(target) = target
            && leadership.leads
        {
            compact(&*handle, target, leadership.term).await;
        }
    }
}

/// One that fails is tried again with the next note.
async fn compact(handle: &dyn Handle, target: Revision, term: Term) {
    if handle.compacted() >= target {
        return;
    }
    match handle.propose(Command::Compact { revision: target }, Some(term)).await {
        Ok(_) => tracing::debug!(revision = target, "compacted"),
        Err(error) => tracing::debug!(%error, revision = target, "not compacted"),
    }
}
