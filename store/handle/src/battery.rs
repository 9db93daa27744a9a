//! What every implementation of [`Handle`] must do, as checks that know nothing but the trait.
//!
//! They run against one member in memory, three on Raft, three under simulation. Waiting is for
//! conditions, in tokio's time: a paused or simulated clock makes it cost nothing.

mod leases;
mod reads;
mod watches;
mod writes;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use store_mvcc::types::{
    Command, Compare, DeleteRequest, Event, KeyRange, KeyValue, Op, OpReply, Order, PutRequest,
    RangeReply, RangeRequest, Reply, Revision, Target, Term, Txn, TxnReply,
};

use crate::handle::{Handle, Leadership, ProposeError, ReadError, WatchItem, WatchRequest};
use crate::watcher::Watcher;

/// How long one check may take, and how long it waits for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// A store to be checked, in any state: checks use names of their own and what is later than their start.
#[derive(Debug)]
pub struct Subject {
    /// At least one, all of one group. Checks go through all of them, so that followers are checked too.
    pub members: Vec<Arc<dyn Handle>>,
    /// Dropped after the check.
    pub keep: Box<dyn Any + Send>,
}

type Check = fn(Arc<Group>) -> BoxFuture<'static, ()>;

/// Every check by name; each name is a promise.
#[rustfmt::skip]
pub const CHECKS: &[(&str, Check)] = &[
    ("every_write_takes_the_next_revision",             |g| writes::every_write_takes_the_next_revision(g).boxed()),
    ("put_returns_what_it_replaced",                    |g| writes::put_returns_what_it_replaced(g).boxed()),
    ("deleted_key_starts_again_at_version_one",         |g| writes::deleted_key_starts_again_at_version_one(g).boxed()),
    ("failed_comparison_runs_the_other_branch",         |g| writes::failed_comparison_runs_the_other_branch(g).boxed()),
    ("writes_of_a_transaction_share_a_revision",        |g| writes::writes_of_a_transaction_share_a_revision(g).boxed()),
    ("refused_transaction_leaves_no_trace",             |g| writes::refused_transaction_leaves_no_trace(g).boxed()),
    ("contended_counter_loses_no_increment",            |g| writes::contended_counter_loses_no_increment(g).boxed()),
    ("fence_of_this_term_is_accepted_on_the_leader",    |g| writes::fence_of_this_term_is_accepted_on_the_leader(g).boxed()),
    ("fence_of_another_term_is_refused",                |g| writes::fence_of_another_term_is_refused(g).boxed()),
    ("fenced_write_is_never_forwarded",                 |g| writes::fenced_write_is_never_forwarded(g).boxed()),
    ("read_index_covers_every_acknowledged_write",      |g| reads::read_index_covers_every_acknowledged_write(g).boxed()),
    ("range_obeys_limit_sort_and_filters",              |g| reads::range_obeys_limit_sort_and_filters(g).boxed()),
    ("old_revisions_are_readable_until_compacted",      |g| reads::old_revisions_are_readable_until_compacted(g).boxed()),
    ("status_and_members_agree",                        |g| reads::status_and_members_agree(g).boxed()),
    ("watch_from_now_sees_what_comes_later",            |g| watches::watch_from_now_sees_what_comes_later(g).boxed()),
    ("watch_from_the_past_replays_history",             |g| watches::watch_from_the_past_replays_history(g).boxed()),
    ("watch_sees_its_range_only",                       |g| watches::watch_sees_its_range_only(g).boxed()),
    ("events_of_one_revision_come_together",            |g| watches::events_of_one_revision_come_together(g).boxed()),
    ("deletion_tells_what_was_there",                   |g| watches::deletion_tells_what_was_there(g).boxed()),
    ("idle_watch_learns_the_latest_revision",           |g| watches::idle_watch_learns_the_latest_revision(g).boxed()),
    ("slow_watcher_sees_everything_and_delays_no_one",  |g| watches::slow_watcher_sees_everything_and_delays_no_one(g).boxed()),
    ("watch_of_compacted_history_is_refused",           |g| watches::watch_of_compacted_history_is_refused(g).boxed()),
    ("watcher_overtaken_by_compaction_is_told",         |g| watches::watcher_overtaken_by_compaction_is_told(g).boxed()),
    ("revoked_lease_takes_its_keys_along",              |g| leases::revoked_lease_takes_its_keys_along(g).boxed()),
    ("lease_that_is_not_renewed_ends",                  |g| leases::lease_that_is_not_renewed_ends(g).boxed()),
    ("lease_that_is_renewed_lives_on",                  |g| leases::lease_that_is_renewed_lives_on(g).boxed()),
    ("key_put_again_leaves_its_lease",                  |g| leases::key_put_again_leaves_its_lease(g).boxed()),
    ("lease_that_does_not_exist_is_refused",            |g| leases::lease_that_does_not_exist_is_refused(g).boxed()),
];

/// Runs every check, each on what `make` returns: a fresh store, or the same again.
///
/// # Panics
/// When a check fails.
pub async fn run(make: impl AsyncFn() -> Subject) {
    for (name, check) in CHECKS {
        let Subject { members, keep } = make().await;
        assert!(!members.is_empty(), "a subject has members");
        tracing::info!(check = name, "running");
        let group = Arc::new(Group { name, members });
        let done = tokio::time::timeout(DEADLINE, check(group)).await;
        assert!(done.is_ok(), "{name}: not done after {DEADLINE:?}");
        drop(keep);
    }
}

/// A subject in the hands of a check; what any check asks of it, with failure as a panic.
#[derive(Debug)]
pub struct Group {
    name: &'static str,
    members: Vec<Arc<dyn Handle>>,
}

impl Group {
    /// The member to be asked next, in turn.
    fn member(&self, turn: usize) -> &Arc<dyn Handle> {
        &self.members[turn % self.members.len()]
    }

    /// A key of this check's own, which no run before has used.
    fn key(&self, name: &str) -> String {
        format!("/battery/{}/{}/{name}", self.name, self.members[0].revision())
    }

    /// The member that leads, once there is one.
    async fn leader(&self) -> (&Arc<dyn Handle>, Leadership) {
        loop {
            for member in &self.members {
                let leadership = *member.leadership().borrow();
                if leadership.leads {
                    return (member, leadership);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn txn(&self, turn: usize, txn: Txn) -> TxnReply {
        match self.propose(turn, Command::Txn(txn)).await {
            Ok(Reply::Txn(reply)) => reply,
            other => panic!("a transaction was answered with {other:?}"),
        }
    }

    async fn propose(&self, turn: usize, command: Command) -> Result<Reply, ProposeError> {
        loop {
            match self.member(turn).propose(command.clone(), None).await {
                // Nothing was done: a group without a leader for the moment.
                Err(ProposeError::NotProposed { reason }) => {
                    tracing::debug!(reason, "proposing again");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Puts and returns the revision.
    async fn put(&self, turn: usize, key: &str, value: &str) -> Revision {
        self.txn(turn, steps([put(key, value)])).await.revision
    }

    async fn delete(&self, turn: usize, key: &str) -> TxnReply {
        let range = KeyRange::key(key.to_owned());
        self.txn(turn, steps([Op::Delete(DeleteRequest { range, prev_kv: true })])).await
    }

    /// A linearizable read.
    async fn range(&self, turn: usize, request: RangeRequest) -> Result<RangeReply, ReadError> {
        let member = self.member(turn);
        member.read_index().await.expect("a quorum confirms the read index");
        member.range(&request)
    }

    async fn get(&self, turn: usize, key: &str) -> Option<KeyValue> {
        let range = KeyRange::key(key.to_owned());
        let request = RangeRequest { range, ..RangeRequest::default() };
        self.range(turn, request).await.expect("the latest revision is readable").kvs.pop()
    }

    /// Waits until this member has applied `revision`.
    async fn applied(&self, turn: usize, revision: Revision) {
        while self.member(turn).revision() < revision {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn watch(&self, turn: usize, range: KeyRange, start: Revision) -> Watcher {
        let request = WatchRequest { range, start };
        self.member(turn).watch(request).expect("the start is in history")
    }
}

/// The next events, whatever progress comes before.
async fn next_events(watcher: &mut Watcher) -> (Revision, Arc<[Event]>) {
    loop {
        match watcher.next().await {
            Some(WatchItem::Events { revision, events }) => return (revision, events),
            Some(WatchItem::Progress { .. }) => {}
            other => panic!("{other:?} instead of events"),
        }
    }
}

/// A transaction without comparisons.
fn steps(steps: impl IntoIterator<Item = Op>) -> Txn {
    Txn { success: steps.into_iter().collect(), ..Txn::default() }
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() })
}

fn mod_revision_is(key: &str, revision: Revision) -> Compare {
    let target = Target::ModRevision(revision);
    Compare { range: KeyRange::key(bytes(key)), order: Order::Equal, target }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
