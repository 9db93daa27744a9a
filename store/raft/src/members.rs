//! Changes of the group: members come as learners, are promoted once they have caught up, and leave for good.
//!
//! # Invariants
//! - Only the leader changes the group, and each change may be asked for twice.
//! - A member that was removed is never added again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, ServerState};
use store_env::task::TaskResult;
use store_handle::{Member, MemberId, MembershipChange, ProposeError, STAYS_LEARNER, WAIT_MAX};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::{Core, LOOK_AGAIN};
use crate::peers::AskError;
use crate::types::{MemberNode, Metrics, TypeConfig};
use crate::wire::{Answer, Ask, Change, Undone};

/// A learner that lags by no more entries than this has caught up.
const CAUGHT_UP_ENTRIES: u64 = 100;

/// How often the leader looks for learners to promote.
const PROMOTE_EVERY: Duration = Duration::from_millis(250);

type Done = Result<(), Undone>;

/// Changes the group, by whoever leads.
pub(crate) async fn change(core: &Core, change: MembershipChange) -> Result<(), ProposeError> {
    let change = match change {
        MembershipChange::Add(member) => Change::Add(member),
        MembershipChange::Remove(id) => Change::Remove(id),
        MembershipChange::Promote(id) => Change::Promote(id),
    };
    by_leader(core, || change_here(core, change.clone()), Ask::Change(change.clone())).await
}

/// Hands leadership over, by whoever leads.
pub(crate) async fn hand_over(core: &Core, to: Option<MemberId>) -> Result<(), ProposeError> {
    by_leader(core, || hand_over_here(core, to), Ask::HandOver(to)).await
}

/// Does it here if this member leads, else asks the leader; again while it is certain that nothing was done.
async fn by_leader<F: Future<Output = Done>>(
    core: &Core,
    here: impl Fn() -> F,
    ask: Ask,
) -> Result<(), ProposeError> {
    let until = Instant::now() + WAIT_MAX;
    while Instant::now() < until {
        let within = until.saturating_duration_since(Instant::now());
        let done = match core.leader() {
            Some(leader) if leader == core.id() => here().await,
            Some(leader) => match core.peers.ask(leader, &ask, within).await {
                Ok(Answer::Change(done) | Answer::HandOver(done)) => done,
                Ok(other) => Err(Undone::Unknown(format!("unexpected {other:?}"))),
                Err(AskError::NotSent(_)) => Err(Undone::NotLeader),
                Err(error) => Err(Undone::Unknown(error.to_string())),
            },
            None => Err(Undone::NotLeader),
        };
        match done {
            Ok(()) => return Ok(()),
            Err(Undone::NotLeader) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(Undone::Never(reason)) => return Err(ProposeError::NotProposed { reason }),
            Err(Undone::Unknown(reason)) => return Err(ProposeError::Unknown { reason }),
        }
    }
    Err(crate::propose::not_proposed("no leader in time"))
}

/// Changes the group, as the leader.
pub(crate) async fn change_here(core: &Core, change: Change) -> Done {
    let until = Instant::now() + WAIT_MAX;
    loop {
        let metrics = core.metrics();
        if metrics.current_leader != Some(core.id()) {
            return Err(Undone::NotLeader);
        }
        let Some((members, retain)) = plan(core, &metrics, &change)? else { return Ok(()) };
        let changing = core.raft.change_membership(members, retain);
        match tokio::time::timeout_at(until, changing).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                return Err(Undone::NotLeader);
            }
            // Another change is under way, most likely.
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                if Instant::now() + LOOK_AGAIN * 5 > until {
                    return Err(Undone::Never(error.to_string()));
                }
                tokio::time::sleep(LOOK_AGAIN * 5).await;
            }
            Ok(Err(error)) => return Err(Undone::Unknown(error.to_string())),
            Err(_) => return Err(Undone::Unknown("no quorum confirmed it in time".into())),
        }
    }
}

type Step = (ChangeMembers<MemberId, MemberNode>, bool);

/// What is left to do; `None` if nothing is.
fn plan(core: &Core, metrics: &Metrics, change: &Change) -> Result<Option<Step>, Undone> {
    let membership = &metrics.membership_config;
    match change {
        Change::Add(member) => {
            if core.replica.was_removed(member.id) {
                let reason = format!("member {} was removed; it needs a new id", member.id);
                return Err(Undone::Never(reason));
            }
            let node = MemberNode::from(member);
            let nodes = BTreeMap::from([(member.id, node.clone())]);
            Ok(match membership.membership().get_node(&member.id) {
                Some(known) if *known == node => None,
                Some(_) => Some((ChangeMembers::SetNodes(nodes), true)),
                None => Some((ChangeMembers::AddNodes(nodes), true)),
            })
        }
        Change::Remove(id) => {
            let voters: BTreeSet<MemberId> = membership.voter_ids().collect();
            let only = BTreeSet::from([*id]);
            if voters == only {
                return Err(Undone::Never(format!("member {id} is the last voter")));
            }
            Ok(if voters.contains(id) {
                Some((ChangeMembers::RemoveVoters(only), false))
            } else if membership.membership().get_node(id).is_some() {
                Some((ChangeMembers::RemoveNodes(only), false))
            } else {
                None
            })
        }
        Change::Promote(id) => {
            if membership.voter_ids().any(|voter| voter == *id) {
                return Ok(None);
            }
            if membership.membership().get_node(id).is_none() {
                return Err(Undone::Never(format!("there is no member {id}")));
            }
            if !is_near(metrics, *id) {
                return Err(Undone::Never(format!("member {id} has not caught up")));
            }
            Ok(Some((ChangeMembers::AddVoterIds(BTreeSet::from([*id])), true)))
        }
    }
}

/// Hands leadership over, as the leader, and waits until another member leads.
pub(crate) async fn hand_over_here(core: &Core, to: Option<MemberId>) -> Done {
    let metrics = core.metrics();
    if metrics.current_leader != Some(core.id()) {
        return Err(Undone::NotLeader);
    }
    if to == Some(core.id()) {
        return Ok(());
    }
    let voters = core.voters();
    let successor = match to {
        Some(to) if !voters.contains(&to) => {
            return Err(Undone::Never(format!("member {to} is no voter")));
        }
        Some(to) => to,
        None => best_successor(core.id(), &metrics, &voters)
            .ok_or_else(|| Undone::Never("there is no other voter".into()))?,
    };
    let stopped = |error: openraft::errors::Fatal<TypeConfig>| Undone::Never(error.to_string());
    core.raft.trigger().transfer_leader(successor).await.map_err(stopped)?;
    let until = Instant::now() + Duration::from_millis(core.config.election_min_ms);
    while core.leader().is_none_or(|leader| leader == core.id()) {
        if Instant::now() >= until {
            return Err(Undone::Unknown(format!("member {successor} has not taken over")));
        }
        tokio::time::sleep(LOOK_AGAIN / 4).await;
    }
    Ok(())
}

/// The other voter whose log reaches furthest.
fn best_successor(
    me: MemberId,
    metrics: &Metrics,
    voters: &BTreeSet<MemberId>,
) -> Option<MemberId> {
    let matched = |id: &MemberId| metrics.replication.as_ref()?.get(id)?.map(|id| id.index);
    voters.iter().copied().filter(|id| *id != me).max_by_key(|id| matched(id))
}

/// The other member whose log reaches furthest, of those that may; none whose log is not nearly complete.
pub(crate) fn next_to(core: &Core, may: impl Fn(MemberId) -> bool) -> Option<MemberId> {
    let metrics = core.metrics();
    let near = core.voters().into_iter().filter(|id| may(*id) && is_near(&metrics, *id));
    best_successor(core.id(), &metrics, &near.collect())
}

/// Promotes learners that have caught up, while this member leads.
pub(crate) async fn promote(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PROMOTE_EVERY) => {}
        }
        let metrics = core.metrics();
        let ready = caught_up(&metrics);
        if ready.is_empty() {
            continue;
        }
        tracing::info!(?ready, "promoting learners");
        let change = core.raft.change_membership(ChangeMembers::AddVoterIds(ready), true);
        match tokio::time::timeout(WAIT_MAX, change).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::info!(%error, "not promoted now"),
            Err(_) => tracing::info!("not promoted in time"),
        }
    }
}

fn caught_up(metrics: &Metrics) -> BTreeSet<MemberId> {
    if metrics.state != ServerState::Leader {
        return BTreeSet::new();
    }
    let membership = metrics.membership_config.membership();
    let stays = |id: &MemberId| {
        membership.get_node(id).is_some_and(|node| node.labels.contains_key(STAYS_LEARNER))
    };
    membership.learner_ids().filter(|id| !stays(id) && is_near(metrics, *id)).collect()
}

/// Whether, as its leader sees it, the member's log is nearly complete.
fn is_near(metrics: &Metrics, id: MemberId) -> bool {
    let last = metrics.last_log_index.unwrap_or(0);
    let matched = metrics.replication.as_ref().and_then(|all| all.get(&id).copied().flatten());
    matched.is_some_and(|matched| matched.index + CAUGHT_UP_ENTRIES >= last)
}

/// Tells the group, once this member is in it, what it is called and where it is now.
pub(crate) async fn introduce(core: Arc<Core>, stop: CancellationToken) -> TaskResult {
    let mut me = core.config.member.clone();
    loop {
        let membership = core.replica.membership();
        let known = membership.membership().get_node(&me.id);
        // What part it plays is not for the member to say.
        match known.and_then(|node| node.labels.get(STAYS_LEARNER)) {
            Some(text) => me.labels.insert(STAYS_LEARNER.into(), text.clone()),
            None => me.labels.remove(STAYS_LEARNER),
        };
        match known {
            Some(node) if *node == MemberNode::from(&me) => break,
            Some(_) => {
                let told = change(&core, MembershipChange::Add(me.clone()));
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    told = told => if let Err(error) = told {
                        tracing::info!(%error, "the group does not know yet where this member is");
                    }
                }
            }
            None => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PROMOTE_EVERY) => {}
        }
    }
    stop.cancelled().await;
    Ok(())
}

/// The members as applied.
pub(crate) fn list(core: &Core) -> Vec<Member> {
    crate::types::members_of(&core.replica.membership())
}
