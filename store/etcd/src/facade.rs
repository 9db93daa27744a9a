//! What all services share: the store, this member's identity, limits, and the header of every reply.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use store_env::clock::SharedClock;
use store_env::task::Group;
use store_handle::{Command, Handle, Leadership, Reply, Revision};
use tokio::sync::watch;
use tonic::Status;

use crate::errors;
use crate::gather::Gather;
use crate::metrics::Metrics;
use crate::proto::etcdserverpb::ResponseHeader;

/// The version of etcd whose API this is; clients choose what they use by it.
pub const ETCD_VERSION: &str = "3.6.0";

/// What may be asked at once, and how often watches report.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a request, at most.
    pub request_bytes_max: usize,
    /// Comparisons or steps of a transaction, at most.
    pub txn_ops_max: usize,
    /// How often a watch that asked for it hears how far it is although nothing happened.
    pub progress_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            request_bytes_max: 3 << 19,
            txn_ops_max: 128,
            progress_every: Duration::from_secs(600),
        }
    }
}

/// What only the program around the store knows.
pub trait Facts: Debug + Send + Sync + 'static {
    /// Bytes of the databases on disk.
    fn disk_bytes(&self) -> u64;

    /// Syncs of the log so far, and the operations that they covered.
    fn syncs(&self) -> (u64, u64);
}

/// The API of one member.
#[derive(Debug)]
pub struct Facade {
    pub(crate) handle: Arc<dyn Handle>,
    pub(crate) clock: SharedClock,
    pub(crate) options: Options,
    pub(crate) facts: Arc<dyn Facts>,
    pub(crate) metrics: Metrics,
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
    leadership: watch::Receiver<Leadership>,
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
        let metrics = Metrics::new(clock.unix_ms());
        let leadership = handle.leadership();
        let (cluster_id, member_id) = (status.cluster_id, status.id);
        let gather = Gather::start(&handle, group);
        Arc::new(Self {
            handle,
            clock,
            options,
            facts,
            metrics,
            cluster_id,
            member_id,
            leadership,
            gather,
        })
    }

    /// Who leads, as far as this member knows.
    pub(crate) fn leadership(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// A receiver that sees every change of it.
    pub(crate) fn leadership_changes(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
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
