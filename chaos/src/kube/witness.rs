//! A handle that writes down what was fenced to which term, and where it was applied; and one that may hear late
//! that its member leads no more, as a master does that was short of CPU: only the fence keeps it from acting.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rand::Rng;
use rand::rngs::StdRng;
use store_env::task::Group;
use store_handle::{
    Command, Export, Handle, Hash, Leadership, LeaseId, LeaseInfo, Member, MemberId,
    MembershipChange, Op, ProposeError, RangeReply, RangeRequest, ReadError, Reply, Revision,
    Status, Term, WatchRequest, Watcher,
};
use tokio::sync::watch;

use super::story::{FencedReply, fingerprint};
use crate::world::SharedWorld;

/// See the file's header.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) inner: Arc<dyn Handle>,
    pub(crate) world: SharedWorld,
    /// Who leads, as the master above is told.
    pub(crate) leadership: watch::Receiver<Leadership>,
}

/// Tells of changes of leadership; that a term was lost up to `late_ms` after it was.
pub(crate) fn told(
    mut heard: watch::Receiver<Leadership>,
    late_ms: u64,
    mut rng: StdRng,
    group: &mut Group,
) -> watch::Receiver<Leadership> {
    if late_ms == 0 {
        return heard;
    }
    let (sender, told) = watch::channel(*heard.borrow_and_update());
    group.spawn("leadership, heard late", move |stop| async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                changed = heard.changed() => changed?,
            }
            if !heard.borrow_and_update().leads {
                let late = Duration::from_millis(rng.random_range(0..late_ms));
                tokio::time::sleep(late).await;
            }
            sender.send_replace(*heard.borrow_and_update());
        }
    });
    told
}

impl Handle for Witness {
    fn propose(
        &self,
        command: Command,
        fence: Option<Term>,
    ) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Box::pin(async move {
            if let Command::Txn(txn) = &command {
                let puts = txn.success.iter().filter_map(|op| match op {
                    Op::Put(put) => Some(fingerprint(&put.key, &put.value)),
                    _ => None,
                });
                let puts = puts.map(|put| (put, fence.map(|term| term.0)));
                self.world.lock().history.kube.puts.extend(puts);
            }
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
        self.leadership.clone()
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
