//! Forgets all but the latest revisions, while this member leads (etcd's `revision` mode).

use std::sync::Arc;
use std::time::Duration;

use store_env::task::TaskResult;
use store_handle::{Command, Handle};
use tokio_util::sync::CancellationToken;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

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
        if leadership.leads && handle.compacted() < target {
            let compact = Command::Compact { revision: target };
            if let Err(error) = handle.propose(compact, Some(leadership.term)).await {
                tracing::debug!(%error, revision = target, "not compacted");
            }
        }
    }
}
