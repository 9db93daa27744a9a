//! The one who ends leases: proposes, while its member leads, the expiry of those that are due.
//!
//! # Invariants
//! - It only proposes: whether a lease really ends is decided when the command is applied.

use std::time::Duration;

use futures::future::BoxFuture;
use store_env::task::TaskResult;
use store_mvcc::types::{Command, LeaseId, Reply};
use tokio_util::sync::CancellationToken;

use crate::handle::ProposeError;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Leases that one command ends at most.
pub const LEASES_MAX: usize = 1000;

/// A member, as far as leases are concerned.
pub trait Leases: Send + Sync {
    /// At most [`LEASES_MAX`] leases that are due by this member's clock; none if it does not lead.
    fn due(&self) -> Vec<LeaseId>;

    /// Proposes a command, fenced to the term in which this member leads.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Reply, ProposeError>>;
}

/// Ends leases that are due, until told to stop.
pub async fn run(leases: &dyn Leases, stop: CancellationToken) -> TaskResult {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        loop {
            let ids = leases.due();
            let is_last = ids.len() < LEASES_MAX;
            if ids.is_empty() || !expire(leases, ids).await || is_last {
                break;
            }
        }
    }
}

/// Whether it was done; if not, the next look finds the same leases again.
async fn expire(leases: &dyn Leases, ids: Vec<LeaseId>) -> bool {
    match leases.propose(Command::LeaseExpire { ids }).await {
        Ok(_) => true,
        Err(error) => {
            tracing::debug!(%error, "leases due were not expired");
            false
        }
    }
}
