//! A handle with a bug, in front of a real one.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use store_env::task::Crew;
use store_handle::{
    Command, DeleteRequest, Export, Handle, Hash, KeyRange, Leadership, LeaseId, LeaseInfo, Member,
    MemberId, MembershipChange, Op, OpReply, ProposeError, RangeReply, RangeRequest, ReadError,
    Reply, Revision, Status, Target, Term, TxnReply, WatchRequest, Watcher,
};
use tokio::sync::watch;

use crate::kube::objects::{NAMESPACES, PODS};

use super::{Mutation, watch as watches};

/// How far behind an old copy is.
const OLD_REVISIONS: Revision = 3;

/// See the file's header.
#[derive(Debug)]
pub struct MutantHandle {
    pub inner: Arc<dyn Handle>,
    pub mutation: Mutation,
    crew: Mutex<Crew>,
}

impl MutantHandle {
    /// `inner` with this bug.
    pub fn shared(inner: Arc<dyn Handle>, mutation: Mutation) -> Arc<dyn Handle> {
        Arc::new(Self { inner, mutation, crew: Mutex::default() })
    }

    async fn propose_with_bug(
        &self,
        command: Command,
        fence: Option<Term>,
    ) -> Result<Reply, ProposeError> {
        let command = blind(self.mutation, command);
        let fence = fence.filter(|_| self.mutation != Mutation::DropsFence);
        match (self.mutation, &command) {
            (Mutation::KeepAliveNotProposed, Command::LeaseKeepAlive { .. }) => {
                return Ok(Reply::LeaseKeptAlive { revision: self.inner.revision(), ttl_s: 1 });
            }
            (Mutation::AcksEarly, Command::Txn(_)) if !self.leadership().borrow().leads => {
                return self.propose_without_waiting(command).await;
            }
            _ => {}
        }
        let answer = self.inner.propose(command.clone(), fence).await;
        match (self.mutation, answer) {
            (Mutation::RetriesUnknown, Err(ProposeError::Unknown { .. })) => {
                self.inner.propose(command, fence).await
            }
            (Mutation::UnknownIsNothing, Err(ProposeError::Unknown { reason })) => {
                Err(ProposeError::NotProposed { reason })
            }
            (_, answer) => answer,
        }
    }

    /// Guesses that it will be the next revision, where the proposal is not answered at once.
    async fn propose_without_waiting(&self, command: Command) -> Result<Reply, ProposeError> {
        let revision = self.inner.revision() + 1;
        let soon = std::time::Duration::from_millis(200);
        match tokio::time::timeout(soon, self.inner.propose(command, None)).await {
            Ok(answer) => answer,
            Err(_) => {
                let replies = vec![OpReply::Put { prev: None }];
                Ok(Reply::Txn(TxnReply { succeeded: true, revision, replies }))
            }
        }
    }
}

/// The same command, without conditions that it should have had.
fn blind(mutation: Mutation, mut command: Command) -> Command {
    if let Command::Txn(txn) = &mut command {
        match mutation {
            Mutation::BindsBlindly => txn.compare.retain(|compare| {
                let is_new = compare.target == Target::ModRevision(0);
                is_new || !compare.range.start.starts_with(PODS.as_bytes())
            }),
            Mutation::IgnoresNamespaces if txn.compare.len() > 1 => {
                // The first is on the object itself, which may be a namespace.
                let own = txn.compare.remove(0);
                let namespaces = NAMESPACES.as_bytes();
                txn.compare.retain(|compare| !compare.range.start.starts_with(namespaces));
                txn.compare.insert(0, own);
            }
            Mutation::IgnoresGuards => txn.compare.truncate(1),
            Mutation::RemovesAtOnce => {
                txn.success.iter_mut().for_each(|op| remove_at_once(op, PODS));
            }
            Mutation::DropsNamespaces => {
                txn.success.iter_mut().for_each(|op| remove_at_once(op, NAMESPACES));
            }
            _ => {}
        }
    }
    command
}

/// An object below this prefix that is told to go is gone.
fn remove_at_once(op: &mut Op, prefix: &str) {
    let Op::Put(put) = op else { return };
    if !put.key.starts_with(prefix.as_bytes()) {
        return;
    }
    let object: serde_json::Value = serde_json::from_slice(&put.value).unwrap_or_default();
    if !object["metadata"]["deletionTimestamp"].is_null() {
        let range = KeyRange::key(put.key.clone());
        *op = Op::Delete(DeleteRequest { range, prev_kv: false });
    }
}

impl Handle for MutantHandle {
    fn propose(
        &self,
        command: Command,
        fence: Option<Term>,
    ) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Box::pin(self.propose_with_bug(command, fence))
    }

    fn read_index(&self) -> BoxFuture<'_, Result<Revision, ReadError>> {
        match self.mutation {
            Mutation::StaleReads => Box::pin(async { Ok(self.inner.revision()) }),
            Mutation::LeaseReads if self.inner.leadership().borrow().leads => {
                Box::pin(async { Ok(self.inner.revision()) })
            }
            _ => self.inner.read_index(),
        }
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeReply, ReadError> {
        let mut request = request.clone();
        if self.mutation == Mutation::OldCopy && request.revision == 0 {
            request.revision = (self.inner.revision() - OLD_REVISIONS).max(1);
        }
        self.inner.range(&request)
    }

    fn watch(&self, request: WatchRequest) -> Result<Watcher, ReadError> {
        watches::start(&*self.inner, self.mutation, request, &mut self.crew.lock())
    }

    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn compacted(&self) -> Revision {
        self.inner.compacted()
    }

    fn lease(&self, id: LeaseId) -> LeaseInfo {
        self.inner.lease(id)
    }

    fn leases(&self) -> Vec<LeaseId> {
        self.inner.leases()
    }

    fn hash(&self, revision: Revision) -> Result<Hash, ReadError> {
        self.inner.hash(revision)
    }

    fn export(&self) -> io::Result<Box<dyn Export>> {
        self.inner.export()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership()
    }

    fn members(&self) -> Vec<Member> {
        self.inner.members()
    }

    fn change_membership(
        &self,
        change: MembershipChange,
    ) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.inner.change_membership(change)
    }

    fn transfer_leadership(&self, to: Option<MemberId>) -> BoxFuture<'_, Result<(), ProposeError>> {
        self.inner.transfer_leadership(to)
    }

    fn status(&self) -> Status {
        self.inner.status()
    }
}
