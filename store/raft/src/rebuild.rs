//! A new group from what one member's disks hold: after the loss of a quorum, or from a snapshot.
//!
//! It is done while no member runs on these disks. The log is emptied, and the state stands for all that was
//! in it, as after a snapshot: whoever joins the new group gets the state, never the old entries.
//!
//! # Invariants
//! - Everything in the log is kept, committed or not: what a client was told is never dropped here.
//! - Done twice with the same plan, it changes nothing the second time; begun and not ended, it can be done again.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use store_env::clock::SharedClock;
use store_handle::{Member, MemberId, Revision};
use store_mvcc::codec;

use crate::disk::{LogDisk, LogOp, StateDisk};
use crate::log::Log;
use crate::replica::Replica;
use crate::types::{CommittedLeaderId, LogId, Vote, members_of};

/// Bytes of values in memory while it is done.
const CACHE_BYTES: usize = 64 << 20;

/// The disks of a member that does not run.
#[derive(Clone, Debug)]
pub struct Disks {
    pub log: Arc<dyn LogDisk>,
    pub state: Arc<dyn StateDisk>,
    pub clock: SharedClock,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub term: u64,
    pub index: u64,
}

/// What a member's disks hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The group's members, as of the last entry of the log.
    pub members: Vec<Member>,
    /// The revision once every entry of the log is applied.
    pub revision: Revision,
    /// When the last entry was proposed, by its proposer's clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The last entry of the log.
    pub last: Place,
    /// The last entry that is known to be committed.
    pub committed: Place,
    /// The highest term that this member has seen.
    pub term: u64,
}

/// What the new group shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its voters.
    pub members: Vec<Member>,
    /// The one whose disks these are.
    pub me: MemberId,
    /// Stands for everything that was before; later than all of it.
    pub base: Place,
    /// So many revisions are left out, and what is older is compacted; `None` leaves history as it is.
    pub leap: Option<Revision>,
}

impl Place {
    fn of(id: Option<LogId>) -> Self {
        id.map_or_else(Self::default, |id| Self {
            term: id.committed_leader_id().term,
            index: id.index,
        })
    }

    fn to_log_id(self) -> LogId {
        LogId::new(CommittedLeaderId::new(self.term), self.index)
    }
}

impl Survey {
    /// A place that is later than any of this group's, as far as this member knows.
    pub fn after(&self) -> Place {
        Place { term: self.term.max(self.last.term) + 1, index: self.last.index + 1 }
    }
}

/// Looks, and changes nothing.
pub fn survey(disks: &Disks) -> io::Result<Survey> {
    let replica = Replica::open(disks.state.clone(), Some(CACHE_BYTES))?;
    let (preview, (last, committed, term)) =
        with_log(disks, |log| Ok((replica.preview(|from| log.next(from))?, log.ends())))?;
    let applied = replica.snapshot_meta().last_log_id;
    Ok(Survey {
        members: members_of(&preview.membership),
        revision: preview.revision,
        now_ms: preview.now_ms,
        last: Place::of(last.max(applied)),
        committed: Place::of(committed.max(applied)),
        term,
    })
}

/// Runs `work` on the log, and waits until the log's thread has ended: else that thread might be closing the database while
/// the process of a command that is done ends around it.
fn with_log<T>(disks: &Disks, work: impl FnOnce(&Log) -> io::Result<T>) -> io::Result<T> {
    let log = Log::open(disks.log.clone(), disks.clock.clone(), true)?;
    let done = work(&log);
    log.close();
    done
}

/// Applies everything that is in the log, and makes of the disks those of a member of the new group.
/// Durable when it returns; gives the revision at which the new group begins.
pub fn rebuild(disks: &Disks, plan: &Plan) -> io::Result<Revision> {
    let base = plan.base.to_log_id();
    let replica = Replica::open(disks.state.clone(), Some(CACHE_BYTES))?;
    let applied = || replica.snapshot_meta().last_log_id;
    if applied() != Some(base) {
        with_log(disks, |log| {
            loop {
                let entries = log.next(applied().map_or(0, |id| id.index + 1))?;
                if entries.is_empty() {
                    return Ok(());
                }
                replica.apply(replica.steps(entries)?)?;
            }
        })?;
        assert!(applied() < Some(base), "the new group begins after all of the old one");
    }
    let members = plan.members.iter().map(|member| (member.id, member.into())).collect();
    replica.rebase(base, members, plan.leap)?;
    disks.log.commit(&[
        LogOp::Truncate { from: 0 },
        LogOp::Vote(codec::encode(&Vote::new(plan.base.term, plan.me))),
        LogOp::Purge { upto: base.index, mark: codec::encode(&base) },
    ])?;
    Ok(replica.revision())
}
