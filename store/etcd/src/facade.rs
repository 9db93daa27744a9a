//! What all services share: the store, this member's identity, limits, and the header of every reply.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use store_env::clock::SharedClock;
use store_env::task::Group;
use store_handle::{Alarms, Command, Handle, Leadership, MemberId, Reply, Revision};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::errors;
use crate::facts::Facts;
use crate::front::Front;
use crate::gather::Gather;
use crate::line;
use crate::metrics::Metrics;
use crate::proto::etcdserverpb::ResponseHeader;
use crate::standing;

/// The version of etcd whose API this is; clients choose what they use by it.
pub const ETCD_VERSION: &str = "3.6.0";

/// What may be asked at once, and how often watches report.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a request, at most.
    pub request_bytes_max: usize,
    /// Comparisons or steps of a transaction, at most.
    pub txn_ops_max: usize,
    /// Members that were added as learners, at most.
    pub learners_max: usize,
    /// How often a watch that asked for it hears how far it is although nothing happened.
    pub progress_every: Duration,
    /// Whether it is counted how long calls take.
    pub times_calls: bool,
    /// A call that is no stream and takes longer is said in the log.
    pub slow_call: Option<Duration>,
    pub front: Front,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: 3 << 19,
            txn_ops_max: 128,
            learners_max: 1,
            progress_every: Duration::from_secs(600),
            times_calls: false,
            slow_call: None,
            front: Front::default(),
        }
    }
}

/// The API of one member.
#[derive(Debug)]
pub struct Facade {
    pub(crate) handle: Arc<dyn Handle>,
    pub(crate) options: Options,
    pub(crate) facts: Arc<dyn Facts>,
    pub(crate) metrics: Metrics,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    leadership: watch::Receiver<Leadership>,
    alarms: watch::Receiver<BTreeMap<MemberId, Alarms>>,
    /// Whether this member has no vote, and is to get none before it is asked for.
    is_learner: AtomicBool,
    /// Places in line that are to be left.
    left: mpsc::Sender<Bytes>,
    gather: Gather,
}

impl Facade {
    /// The API over `handle`; what it does besides answering runs in `group`.
    pub fn start(
        handle: Arc<dyn Handle>,
        clock: SharedClock,
        facts: Arc<dyn Facts>,
        options: Options,
        group: &mut Group,
    ) -> Arc<Self> {
        let status = handle.status();
        let metrics = Metrics::new(clock.unix_ms(), options.times_calls);
        let leadership = handle.leadership();
        let (cluster_id, member_id) = (status.cluster_id, status.id);
        let gather = Gather::start(&handle, &metrics.reads, group);
        let alarms = handle.alarms();
        let (left, leaving) = mpsc::channel(line::LEFT_MAX);
        let facade = Arc::new(Self {
            handle,
            options,
            facts,
            metrics,
            cluster_id,
            member_id,
            leadership,
            alarms,
            is_learner: AtomicBool::new(false),
            left,
            gather,
        });
        let clearing = facade.clone();
        group.spawn("lines", move |stop| line::clear(clearing, leaving, stop));
        let watched = facade.clone();
        group.spawn("standing", move |stop| standing::watch(watched, stop));
        facade
    }

    /// Who leads, as far as this member knows.
    pub(crate) fn leadership(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// A receiver that sees every change of it.
    pub(crate) fn leadership_changes(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// What is wrong with which member.
    pub(crate) fn alarms(&self) -> BTreeMap<MemberId, Alarms> {
        self.alarms.borrow().clone()
    }

    /// A receiver that sees every change of it.
    pub(crate) fn alarm_changes(&self) -> watch::Receiver<BTreeMap<MemberId, Alarms>> {
        self.alarms.clone()
    }

    /// Whether this member's state cannot be trusted.
    pub(crate) fn is_corrupt(&self) -> bool {
        standing::is_corrupt(&self.alarms.borrow(), self.member_id)
    }

    /// Deletes the key of one who waited in line and is gone.
    pub(crate) fn leave(&self, key: Bytes) {
        if self.left.try_send(key).is_err() {
            tracing::info!("a place in line stays until its lease ends");
        }
    }

    pub(crate) fn is_learner(&self) -> bool {
        self.is_learner.load(Ordering::Relaxed)
    }

    pub(crate) fn note_learner(&self, is_learner: bool) {
        self.is_learner.store(is_learner, Ordering::Relaxed);
    }

    pub(crate) fn header(&self, revision: Revision) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.leadership().term.0,
        }
    }

    pub(crate) fn header_now(&self) -> ResponseHeader {
        self.header(self.handle.revision())
    }

    /// Proposes for a client.
    pub(crate) async fn propose(&self, command: Command) -> Result<Reply, Status> {
        let pending = self.metrics.propose();
        let proposed = self.gather.propose(command).await;
        pending.end(proposed.is_ok());
        proposed.map_err(errors::of_proposal)
    }

    /// Waits until everything acknowledged before is applied here.
    pub(crate) async fn read_index(&self) -> Result<Revision, Status> {
        self.gather.read_index().await.map_err(errors::of_read)
    }
}

/// A reply of another kind than its command: a bug of the store.
pub(crate) fn unexpected(reply: &Reply) -> Status {
    Status::internal(format!("the store answered {reply:?}"))
}
