//! Members of a group that was rebuilt without them: refused, told why, and ended.
//!
//! A group is rebuilt when its quorum is lost (one survivor founds it anew) or from a snapshot; it is of
//! another epoch then. Members of before may still have a quorum among themselves: whoever reaches the new
//! group with its old data must not go on serving.
//!
//! # Invariants
//! - Only a member that was in the former epoch itself says that it is over; nobody ends for less.

use std::sync::Arc;

use store_env::task::TaskResult;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::config::Config;
use crate::core::Core;

/// Set on a refusal by one that knows the other's epoch to be over.
const SUCCEEDED: &str = "trireme-succeeded-by";

/// The group was rebuilt, and this member is of the one before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the member at {by} says: {said}")]
pub(crate) struct Succeeded {
    pub(crate) by: String,
    pub(crate) said: String,
}

/// What one that speaks for `theirs`, another epoch of this group, hears.
pub(crate) fn refusal(theirs: u64, config: &Config) -> Status {
    let (cluster, ours) = (config.cluster_id, config.epoch);
    if !config.former_epochs.contains(&theirs) {
        return Status::permission_denied(format!(
            "this is epoch {ours} of cluster {cluster:016x}, and you are of epoch {theirs}: the cluster was \
             rebuilt (`recover`, or a restored snapshot), and one of us is of before. That one must be stopped, \
             its data directory emptied, and be added again as a new member"
        ));
    }
    let mut status = Status::permission_denied(format!(
        "cluster {cluster:016x} lost its quorum and was recovered without you; it is of epoch {ours} now, and \
         your data is of epoch {theirs}. To come back, empty your data directory and join as a new member \
         (kstore: `etcdctl member add NAME --peer-urls=URL`, then start with --initial-cluster-state=existing)"
    ));
    status.metadata_mut().insert(SUCCEEDED, ours.into());
    status
}

/// Whether `status` is such a refusal, by one that knows.
pub(crate) fn is_told_by(status: &Status) -> bool {
    status.metadata().contains_key(SUCCEEDED)
}

/// Ends this member once it has been told.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    let mut told = core.peers.succeeded();
    let told =
        async move { told.wait_for(Option::is_some).await.ok().and_then(|told| told.clone()) };
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        told = told => match told {
            Some(succeeded) => Err(succeeded.into()),
            None => Ok(()),
        },
    }
}
