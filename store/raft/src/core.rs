//! What the parts of one member share: the Raft handle, the local copy, the others' addresses.

use std::collections::BTreeSet;
use std::time::Duration;
use std::{fmt, io};

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use store_env::disk::Lane;
use store_handle::{Leadership, MemberId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::alarms::Board;
use crate::config::Config;
use crate::durations::Shared;
use crate::log::Length;
use crate::log_time::LogTime;
use crate::peers::Peers;
use crate::propose::Pending;
use crate::read::Waiting;
use crate::replica::{Progress, Replica};
use crate::sync_stats::SyncStats;
use crate::types::{Metrics, Raft};

/// How often whoever waits for a leader looks again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One member's parts.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) raft: Raft,
    pub(crate) replica: Arc<Replica>,
    pub(crate) log: Length,
    pub(crate) peers: Arc<Peers>,
    pub(crate) log_time: LogTime,
    /// For work on the state's disk that no entry has to wait for.
    pub(crate) flush: Lane,
    pub(crate) syncs: Arc<SyncStats>,
    pub(crate) applies: Arc<Shared>,
    pub(crate) alarms: Board,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) proposals: mpsc::Sender<Pending>,
    pub(crate) reads: mpsc::Sender<Waiting>,
    /// Names this process among all that this member has been and will be.
    pub(crate) incarnation: u64,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("member", &self.config.member.id).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn id(&self) -> MemberId {
        self.config.member.id
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow_watched().clone()
    }

    /// The member that this one takes to lead.
    pub(crate) fn leader(&self) -> Option<MemberId> {
        self.raft.metrics().borrow_watched().current_leader
    }

    /// Waits until another member leads than `before`.
    pub(crate) async fn led_by_another(&self, before: Option<MemberId>) {
        let mut leadership = self.leadership.subscribe();
        let is_another = |now: &Leadership| now.leader.is_some() && now.leader != before;
        if leadership.wait_for(is_another).await.is_err() {
            // Nobody says it any more.
            std::future::pending::<()>().await;
        }
    }

    /// What time it is in the log.
    pub(crate) fn now_ms(&self) -> u64 {
        let term = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.current_leader == Some(self.id())).then_some(metrics.current_term)
        };
        self.log_time.now_ms(term, self.replica.progress().borrow().now_ms)
    }

    /// The voters as this member knows them, applied or not.
    pub(crate) fn voters(&self) -> BTreeSet<MemberId> {
        self.raft.voter_ids().collect()
    }

    /// Waits until the entry of this index is applied here.
    pub(crate) async fn applied(&self, index: u64, until: Instant) -> io::Result<Progress> {
        let mut progress = self.replica.progress();
        let reached = progress.wait_for(|progress| progress.index >= index);
        match tokio::time::timeout_at(until, reached).await {
            Ok(Ok(progress)) => Ok(*progress),
            Ok(Err(_)) => Err(io::Error::other("the store has stopped")),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    }
}
