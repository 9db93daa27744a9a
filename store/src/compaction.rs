//! Forgets all but the latest revisions, while this member leads (etcd's `revision` mode).

use std::sync::Arc;
use std::time::Duration;

use store_env::task::TaskResult;
use store_handle::{Command, Handle};
use tokio_util::sync::CancellationToken;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Revisions that one command forgets at most: a compaction holds the state for as long as it takes.
const STEP_REVISIONS: i64 = 2_000;

/// Keeps the `keep` latest revisions, until told to stop.
pub(crate) async fn by_revision(
    handle: Arc<dyn Handle>,
    keep: i64,
    stop: CancellationToken,
) -> TaskResult {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let target = handle.revision() - keep;
        let leadership = *handle.leadership().borrow();
        while leadership.leads && handle.compacted() < target && !stop.is_cancelled() {
            let revision = target.min(handle.compacted() + STEP_REVISIONS);
            let compact = Command::Compact { revision };
            if let Err(error) = handle.propose(compact, Some(leadership.term)).await {
                tracing::debug!(%error, revision, "not compacted");
                break;
            }
        }
    }
}
