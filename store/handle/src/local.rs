//! A store of one member that lives in memory: the real state machine without log, disk or network.
//!
//! What it holds is gone with it. Tests of everything above the store run on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use parking_lot::RwLock;
use store_env::clock::SharedClock;
use store_env::disk::Lane;
use store_env::task::Group;
use store_mvcc::types::{
    Batch, Command, Fenced, LeaseId, LeaseInfo, RangeReply, RangeRequest, Reply, Revision, Term,
};
use store_mvcc::{Lack, State, Versions, versions};
use tokio::sync::watch;

use crate::contents::Contents;
use crate::handle::{
    Export, Handle, Hash, Leadership, Member, MemberId, MembershipChange, ProposeError, ReadError,
    Role, Status, WatchRequest,
};
use crate::hub::Hub;
use crate::lessor::{self, Leases};
use crate::watcher::Watcher;

const ID: MemberId = 1;
const TERM: Term = Term(1);

/// Lines of history that are looked at in one step of forgetting.
const SWEEP_MAX: usize = 1_000;

/// Records that would be on a disk.
#[derive(Debug, Default)]
struct Stored(RwLock<versions::Records>);

impl Versions for Stored {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.0.read().get(key)
    }
}

/// The only member of its group; leads from the start, in term 1.
#[derive(Debug)]
pub struct Local {
    clock: SharedClock,
    contents: Arc<Contents>,
    stored: Arc<Stored>,
    hub: Arc<Hub>,
    leadership: watch::Sender<Leadership>,
    applied_index: AtomicU64,
}

impl Local {
    /// An empty store; its tasks (feeding slow watchers, ending leases) run in `group`.
    pub fn start(clock: SharedClock, group: &mut Group) -> Arc<Self> {
        Self::bounded(None, clock, group)
    }

    /// The same, with at most so many bytes of values in the state itself.
    pub fn bounded(cache_bytes: Option<usize>, clock: SharedClock, group: &mut Group) -> Arc<Self> {
        let stored = Arc::<Stored>::default();
        let leadership = Leadership { term: TERM, leader: Some(ID), leads: true };
        let local = Arc::new(Self {
            clock,
            contents: Arc::new(Contents::new(State::new(cache_bytes), stored.clone())),
            stored,
            hub: Hub::new(),
            leadership: watch::Sender::new(leadership),
            applied_index: AtomicU64::new(0),
        });
        let (hub, history) = (local.hub.clone(), local.contents.clone());
        group.spawn("watch hub", |stop| hub.run(history, Lane::Inline, stop));
        let leases = local.clone();
        group.spawn("lessor", |stop| async move { lessor::run(&*leases, stop).await });
        local
    }

    fn apply(&self, command: Command, fence: Option<Term>) -> Result<Reply, ProposeError> {
        let now_ms = self.clock.unix_ms();
        let batch = Batch { now_ms, commands: vec![Fenced { fence, command }] };
        let mut state = self.contents.write();
        let mut applied = state.apply(TERM, &batch, self.contents.stored());
        let fill = |lack: Lack| lack.fill(&mut applied.changes, self.contents.stored());
        std::mem::take(&mut applied.lacks).into_iter().for_each(fill);
        let mut stored = self.stored.0.write();
        stored.store(applied.writes);
        state.settle();
        while !state.is_swept() {
            stored.store(state.sweep(SWEEP_MAX));
        }
        drop(stored);
        self.applied_index.fetch_add(1, Ordering::Relaxed);
        // Under the lock, so that changes are published in the order in which they were applied.
        self.hub.publish(&applied.changes);
        drop(state);
        let reply = applied.replies.pop().expect("one command has one reply");
        Ok(reply?)
    }
}

impl Handle for Local {
    fn propose(
        &self,
        command: Command,
        fence: Option<Term>,
    ) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Box::pin(async move { self.apply(command, fence) })
    }

    fn read_index(&self) -> BoxFuture<'_, Result<Revision, ReadError>> {
        Box::pin(async { Ok(self.revision()) })
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeReply, ReadError> {
        self.contents.range(request)
    }

    fn revision(&self) -> Revision {
        self.contents.read().revision()
    }

    fn compacted(&self) -> Revision {
        self.contents.read().compacted()
    }

    fn watch(&self, request: WatchRequest) -> Result<Watcher, ReadError> {
        self.hub.watch(&*self.contents, request)
    }

    fn lease(&self, id: LeaseId) -> LeaseInfo {
        self.contents.read().lease(id).at(self.clock.unix_ms())
    }

    fn leases(&self) -> Vec<LeaseId> {
        self.contents.read().leases()
    }

    fn hash(&self, revision: Revision) -> Result<Hash, ReadError> {
        self.contents.hash(revision)
    }

    fn export(&self) -> io::Result<Box<dyn Export>> {
        let records = self.contents.export().map_err(io::Error::other)?;
        Ok(Box::new(Records(records.into_iter())))
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    fn members(&self) -> Vec<Member> {
        vec![Member {
            id: ID,
            name: "local".into(),
            peer_address: String::new(),
            labels: std::collections::BTreeMap::new(),
            is_voter: true,
        }]
    }

    fn change_membership(
        &self,
        _change: MembershipChange,
    ) -> BoxFuture<'_, Result<(), ProposeError>> {
        refuse("a store in memory has one member for life")
    }

    fn transfer_leadership(&self, to: Option<MemberId>) -> BoxFuture<'_, Result<(), ProposeError>> {
        match to {
            Some(ID) => Box::pin(async { Ok(()) }),
            _ => refuse("there is no other member to lead"),
        }
    }

    fn status(&self) -> Status {
        let applied_index = self.applied_index.load(Ordering::Relaxed);
        Status {
            id: ID,
            cluster_id: 0,
            role: Role::Leader,
            term: TERM.0,
            leader: Some(ID),
            last_log_index: applied_index,
            applied_index,
            revision: self.revision(),
            sync_p99_ms: 0.0,
            matched: [(ID, applied_index)].into(),
        }
    }
}

impl Leases for Local {
    fn due(&self) -> Vec<LeaseId> {
        self.contents.read().leases_due(self.clock.unix_ms(), lessor::LEASES_MAX)
    }

    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Reply, ProposeError>> {
        Handle::propose(self, command, Some(TERM))
    }
}

/// Records that are all there.
#[derive(Debug)]
struct Records(std::vec::IntoIter<(Vec<u8>, Vec<u8>)>);

impl Export for Records {
    fn next_chunk(&mut self, bytes_max: usize) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut bytes = 0;
        let mut chunk = Vec::new();
        while bytes < bytes_max
            && let Some((key, value)) = self.0.next()
        {
            bytes += key.len() + value.len();
            chunk.push((key, value));
        }
        Ok(chunk)
    }
}

fn refuse(reason: &str) -> BoxFuture<'_, Result<(), ProposeError>> {
    Box::pin(async move { Err(ProposeError::NotProposed { reason: reason.into() }) })
}
