//! Ends this master once the cluster has removed it.
//!
//! The others do not speak to a removed member: it would call elections for ever, and keep its clients waiting.
//!
//! # Invariants
//! - A master is taken for removed only by what the log says: its own part of it, or that of one which has applied more.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use master_client::masters::ClientIdentity;
use master_pki::join::{self, MasterStatus};
use store_env::task::TaskResult;
use store_handle::{Handle, MemberId};
use store_raft::RaftStore;
use tokio_util::sync::CancellationToken;

use crate::desk::API_LABEL;
use crate::endpoints;

/// In the data directory of a master that was removed, which never starts again.
const MARK: &str = "removed";
const LOOK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Why a master ends.
#[derive(Debug, thiserror::Error)]
#[error(
    "this master was removed from the cluster: `kctl stop --wipe` forgets it here, then `kctl cluster join` makes a new one"
)]
pub struct Removed;

/// Refuses to start a master that was removed.
pub fn check(data_dir: &Path) -> Result<(), Removed> {
    if data_dir.join(MARK).exists() { Err(Removed) } else { Ok(()) }
}

/// Who to look after, and how to ask the others.
pub struct Watch {
    pub store: Arc<RaftStore>,
    pub member: MemberId,
    pub data_dir: PathBuf,
    pub ca_pem: Vec<u8>,
    pub identity: ClientIdentity,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Watch {
    /// Looks until stopped; an error says that it was removed.
    pub async fn run(self, stop: CancellationToken) -> TaskResult {
        let mut heard = 0;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let is_member = self.store.members().iter().any(|member| member.id == self.member);
            let applied = self.store.status().applied_index;
            // Whoever hears of something new is in the group still, unless that is what it hears.
            let is_silent = is_member && applied == heard;
            heard = applied;
            let is_removed =
                self.store.was_removed() || is_silent && self.others_say_so(applied).await;
            if is_removed {
                std::fs::write(self.data_dir.join(MARK), "")?;
                return Err(Removed.into());
            }
        }
        Ok(())
    }

    async fn others_say_so(&self, applied: u64) -> bool {
        let mut others = self.store.members();
        others.retain(|member| member.id != self.member);
        let urls = others.into_iter().filter_map(|mut member| member.labels.remove(API_LABEL));
        let answers = join_all(urls.map(|url| self.ask(url))).await;
        answers.iter().flatten().any(|told| tells_removal(told, self.member, applied))
    }

    async fn ask(&self, url: String) -> Option<MasterStatus> {
        let client = endpoints::client(&url, &self.ca_pem, &self.identity).ok()?;
        let request = http::Request::get(join::STATUS_PATH).body(Vec::new()).ok()?;
        tokio::time::timeout(ANSWER_WITHIN, client.request(request)).await.ok()?.ok()
    }
}

/// Whether a master knows that `member`, which at `applied` was one, is none any more.
fn tells_removal(told: &MasterStatus, member: MemberId, applied: u64) -> bool {
    told.applied > applied && told.members.iter().all(|known| known.id != member)
}

#[cfg(test)]
mod tests {
    use master_pki::join::MemberStatus;

    use super::*;

    #[test]
    fn only_a_longer_log_tells_of_a_removal() {
        let told = |applied, ids: &[u64]| MasterStatus {
            applied,
            members: ids.iter().map(|id| MemberStatus { id: *id, ..<_>::default() }).collect(),
            ..MasterStatus::default()
        };
        assert!(tells_removal(&told(8, &[1, 2]), 3, 7));
        assert!(!tells_removal(&told(8, &[1, 2, 3]), 3, 7), "it is a member");
        assert!(!tells_removal(&told(7, &[1, 2]), 3, 7), "it may not know of it yet");
    }

    #[test]
    fn removed_master_does_not_start_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path()).is_ok());
        std::fs::write(folder.path().join(MARK), "").unwrap();
        assert!(check(folder.path()).is_err());
    }
}
