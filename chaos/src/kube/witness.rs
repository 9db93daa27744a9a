//! A handle that writes down what was fenced to which term, and where it was applied.

use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use store_handle::{
    Command, Export, Handle, Hash, Leadership, LeaseId, LeaseInfo, Member, MemberId,
    MembershipChange, ProposeError, RangeReply, RangeRequest, ReadError, Reply, Revision, Status,
    Term, WatchRequest, Watcher,
};
use tokio::sync::watch;

use super::story::FencedReply;
use crate::world::SharedWorld;

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) inner: Arc<dyn Handle>,
    pub(crate) world: SharedWorld,
}

impl Handle for Witness {
    fn propose(
        &self,
        command: Command,
        fence: Option<Term>,
    ) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Box::pin(async move {
            let answer = self.inner.propose(command, fence).await;
            if let (Some(term), Ok(Reply::Txn(reply))) = (fence, &answer)
                && reply.succeeded
            {
                let mut world = self.world.lock();
                let write = FencedReply { term: term.0, revision: reply.revision };
                world.history.kube.fenced.push(write);
                world.count("writes of controllers");
            }
            answer
        })
    }

    fn read_index(&self) -> BoxFuture<'_, Result<Revision, ReadError>> {
        self.inner.read_index()
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeReply, ReadError> {
        self.inner.range(request)
    }

    fn watch(&self, request: WatchRequest) -> Result<Watcher, ReadError> {
        self.inner.watch(request)
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
