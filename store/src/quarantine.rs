//! A member whose data was found to differ from the majority's stays in quarantine, restarted or not.
//!
//! # Invariants
//! - The mark goes only with the data directory that it is about.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use store_env::task::TaskResult;
use store_handle::Handle;
use store_raft::RaftStore;
use tokio_util::sync::CancellationToken;

/// The file, in the data directory.
const FILE: &str = "corrupt";

/// Whether the member with this data directory was put in quarantine before.
pub(crate) fn is_marked(data_dir: &Path) -> std::io::Result<bool> {
    let path = data_dir.join(FILE);
    let is_marked = path.try_exists()?;
    if is_marked {
        tracing::error!(
            mark = %path.display(),
            "this member's data was found to differ from the majority's: it serves no reads and writes. \
             Remove it from the group, delete its data directory, add it, start it"
        );
    }
    Ok(is_marked)
}

/// Leaves the mark as soon as it is found out, until told to stop.
pub(crate) async fn watch(
    data_dir: PathBuf,
    store: Arc<RaftStore>,
    stop: CancellationToken,
) -> TaskResult {
    let me = store.status().id;
    let mut alarms = store.alarms();
    let found = alarms.wait_for(|all| all.get(&me).is_some_and(|alarms| alarms.is_corrupt));
    tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        found = found => drop(found?),
    }
    let text = "The data in this directory differs from what the majority of the group holds.\n";
    let path = data_dir.join(FILE);
    std::fs::write(&path, text)?;
    std::fs::File::open(&path)?.sync_all()?;
    stop.cancelled().await;
    Ok(())
}
