//! Proposals: gathered into one entry a batch, forwarded to the leader, answered after the local apply.
//!
//! # Path
//! `Handle::propose` → queue → batch → `client_write` on the leader, or a question to it → replies
//!
//! # Invariants
//! - A fenced command is never forwarded.
//! - A command is proposed again only when it is certain that nothing was done.
//! - `NotProposed` is answered only then, too; everything doubtful is `Unknown`.
//! - No command from another member stays in the queue of one that does not lead: what is before it there may be
//!   waiting for that other member's queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use openraft::errors::{ClientWriteError, RaftError};
use parking_lot::Mutex;
use store_env::task::{Crew, TaskResult};
use store_handle::{
    Batch, Command, Fenced, MemberId, Op, ProposeError, Reply, Term, WAIT_MAX, room,
};
use store_mvcc::codec;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::core::{Core, LOOK_AGAIN};
use crate::members;
use crate::types::Proposal;
use crate::wire::{Answer, Ask, Outcome, Undone};

/// Commands that may wait to be proposed before those who bring more have to.
pub(crate) const QUEUE_MAX: usize = 8_192;

/// Commands in one entry, at most.
const COMMANDS_MAX: usize = 1_024;

/// Bytes of one entry, about; one command may be larger.
const ENTRY_BYTES: usize = 1 << 20;

/// Batches under way at once: while one waits for the disks, the next is on the network. Those that were sent
/// to one that leads no more do not count.
const IN_FLIGHT_MAX: usize = 2;

/// What a client of a member hears that stops.
const STOPPING: &str = "the store is stopping";

/// Where the command was applied, and what it answered.
pub(crate) type Proposed = Result<(u64, Result<Reply, store_handle::Error>), Undone>;

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    command: Command,
    fence: Option<Term>,
    /// It came from another member: it is answered `NotLeader` rather than sent on.
    is_forwarded: bool,
    until: Instant,
    slot: Slot,
}

impl Pending {
    /// Whether it is for the caller of this to propose, and has not been given up.
    fn take(&self) -> bool {
        self.slot.party.take(self.slot.index)
    }

    fn answer(self, answer: Proposed) {
        // The caller may have given up; nothing is lost by that.
        if let Some(place) = self.slot.party.answers.lock().get_mut(self.slot.index) {
            *place = Some(answer);
        }
    }
}

/// Commands that were submitted together: whoever waits for them is woken once.
#[derive(Debug)]
struct Party {
    answers: Mutex<Vec<Option<Proposed>>>,
    /// Whoever sets one first decides: the batcher proposes, or the caller gives up.
    taken: Vec<AtomicBool>,
    /// Slots that are still held.
    open: AtomicUsize,
    all_answered: Notify,
}

impl Party {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new((0..count).map(|_| None).collect()),
            taken: (0..count).map(|_| AtomicBool::new(false)).collect(),
            open: AtomicUsize::new(count),
            all_answered: Notify::new(),
        })
    }

    fn take(&self, index: usize) -> bool {
        !self.taken[index].swap(true, Ordering::AcqRel)
    }

    /// Gives up what the batcher has not taken; whether nothing of it is left to wait for.
    fn turn_away(&self) -> bool {
        let mut answers = self.answers.lock();
        for (index, answer) in answers.iter_mut().enumerate() {
            if answer.is_none() && self.take(index) {
                *answer = Some(Err(Undone::NotLeader));
            }
        }
        answers.iter().all(Option::is_some)
    }
}

/// One command's place in its party; given up, answered or not, when it is dropped.
#[derive(Debug)]
struct Slot {
    party: Arc<Party>,
    index: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.party.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.party.all_answered.notify_one();
        }
    }
}

/// Proposes for a client of this member.
pub(crate) async fn propose(
    core: &Core,
    command: Command,
    fence: Option<Term>,
) -> Result<Reply, ProposeError> {
    refusal(core, &command).map_or(Ok(()), Err)?;
    let until = Instant::now() + WAIT_MAX;
    let mut answers = submit(core, vec![command], fence, false, until).await;
    reply_of(answers.pop().expect("one command has one answer"))
}

/// Proposes several, each on its own.
pub(crate) async fn propose_many(
    core: &Core,
    commands: Vec<Command>,
) -> Vec<Result<Reply, ProposeError>> {
    let refusals: Vec<_> = commands.iter().map(|command| refusal(core, command)).collect();
    let free = commands.into_iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
    let free = free.map(|(command, _)| command).collect();
    let until = Instant::now() + WAIT_MAX;
    let mut answers = submit(core, free, None, false, until).await.into_iter();
    let mut next = || answers.next().expect("one command has one answer");
    let each = refusals.into_iter().map(|refusal| match refusal {
        Some(refusal) => Err(refusal),
        None => reply_of(next()),
    });
    each.collect()
}

/// What stands against a command of this member's client: it grows, and too many disks are full.
fn refusal(core: &Core, command: &Command) -> Option<ProposeError> {
    if !core.alarms.has_any() || !room::grows(command) {
        return None;
    }
    let full = core.alarms.in_the_way(&core.voters());
    if full.is_empty() {
        return None;
    }
    let members = members::list(core);
    let names = members.iter().filter(|member| full.contains(&member.id));
    let names: Vec<&str> = names.map(|member| &*member.name).collect();
    let names = names.join(", ");
    let reason = format!(
        "the disk or the quota of {names} is used up; free some, or delete what is not needed"
    );
    Some(ProposeError::NoSpace { reason })
}

fn reply_of(answer: Proposed) -> Result<Reply, ProposeError> {
    match answer {
        Ok((_, reply)) => Ok(reply?),
        Err(Undone::NotLeader) => Err(not_proposed("no leader in time")),
        Err(Undone::Never(reason)) => Err(ProposeError::NotProposed { reason }),
        Err(Undone::Unknown(reason)) => Err(ProposeError::Unknown { reason }),
    }
}

/// Proposes for another member, which takes this one to lead.
pub(crate) async fn propose_forwarded(core: &Core, commands: Vec<Command>) -> Vec<Outcome> {
    let until = Instant::now() + WAIT_MAX;
    let outcome = |proposed: Proposed| match proposed {
        Ok((index, reply)) => Outcome::Done { index, reply },
        Err(undone) => Outcome::Undone(undone),
    };
    submit(core, commands, None, true, until).await.into_iter().map(outcome).collect()
}

/// Queues commands, and waits until each of them has an answer; one for each, in order.
async fn submit(
    core: &Core,
    commands: Vec<Command>,
    fence: Option<Term>,
    is_forwarded: bool,
    until: Instant,
) -> Vec<Proposed> {
    if commands.is_empty() {
        return Vec::new();
    }
    let party = Party::new(commands.len());
    for (index, command) in commands.into_iter().enumerate() {
        let slot = Slot { party: party.clone(), index };
        let pending = Pending { command, fence, is_forwarded, until, slot };
        match core.proposals.try_send(pending) {
            // What cannot be queued has given up its slot.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(pending)) => {
                drop(tokio::time::timeout_at(until, core.proposals.send(pending)).await);
            }
        }
    }
    // The batcher has the same deadline, and answers on it; half a second more for its answer to come.
    let patience = until + LOOK_AGAIN * 25;
    match is_forwarded {
        true => answered_while_leading(core, &party, patience).await,
        false => drop(tokio::time::timeout_at(patience, party.all_answered.notified()).await),
    }
    let is_stopping = core.proposals.is_closed();
    let answers = std::mem::take(&mut *party.answers.lock());
    let each = answers.into_iter().enumerate().map(|(index, answer)| match answer {
        Some(answer) => answer,
        // Another member can ask whoever leads next.
        None if !party.take(index) => {
            Err(Undone::Unknown("the store stopped while it was under way".into()))
        }
        None if is_forwarded || !is_stopping => Err(Undone::NotLeader),
        None => Err(Undone::Never(STOPPING.into())),
    });
    each.collect()
}

/// Waits for the answers to what another member sent, as long as this one leads or is at it.
async fn answered_while_leading(core: &Core, party: &Party, until: Instant) {
    let all = party.all_answered.notified();
    tokio::pin!(all);
    while Instant::now() < until {
        let look = until.min(Instant::now() + LOOK_AGAIN);
        let is_over = tokio::time::timeout_at(look, &mut all).await.is_ok();
        if is_over || (core.leader() != Some(core.id()) && party.turn_away()) {
            return;
        }
    }
}

/// Drains the queue into batches, until told to stop; then says when the last of them is done.
pub(crate) async fn run(
    core: Arc<Core>,
    mut queue: mpsc::Receiver<Pending>,
    stop: CancellationToken,
    drained: CancellationToken,
) -> TaskResult {
    let _drained = drained.drop_guard();
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut crew = Crew::new();
    let mut batch = Vec::new();
    loop {
        let permit = in_flight.clone().acquire_owned().await?;
        tokio::select! {
            // Whoever is in the queue when the store stops learns that nothing was done.
            biased;
            () = stop.cancelled() => break,
            received = queue.recv_many(&mut batch, COMMANDS_MAX) => {
                if received == 0 { break }
            }
        }
        let taken = std::mem::take(&mut batch).into_iter();
        let mine: Vec<Pending> = taken.filter(Pending::take).collect();
        let core = core.clone();
        crew.spawn(async move {
            let before = core.leadership.borrow().leader;
            let settled = async {
                for part in split(mine) {
                    settle(&core, part).await;
                }
            };
            tokio::pin!(settled);
            tokio::select! {
                biased;
                () = &mut settled => return,
                () = core.led_by_another(before) => drop(permit),
            }
            // What the former leader was sent it may answer late, or never: nothing else waits for that.
            settled.await;
        });
    }
    queue.close();
    while let Ok(pending) = queue.try_recv() {
        let undone = match pending.is_forwarded {
            true => Undone::NotLeader,
            false => Undone::Never(STOPPING.into()),
        };
        pending.answer(Err(undone));
    }
    crew.finish(WAIT_MAX).await;
    Ok(())
}

/// Cuts a batch so that no entry grows much beyond `ENTRY_BYTES`.
fn split(batch: Vec<Pending>) -> Vec<Vec<Pending>> {
    let mut parts: Vec<Vec<Pending>> = Vec::new();
    let mut bytes = ENTRY_BYTES;
    for pending in batch {
        let own = command_bytes(&pending.command);
        if bytes + own > ENTRY_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += own;
        if let Some(part) = parts.last_mut() {
            part.push(pending);
        }
    }
    parts
}

fn command_bytes(command: &Command) -> usize {
    fn ops(list: &[Op]) -> usize {
        let one = |op: &Op| match op {
            Op::Put(put) => put.key.len() + put.value.len() + 16,
            Op::Range(_) | Op::Delete(_) => 64,
            Op::Txn(txn) => ops(&txn.success) + ops(&txn.failure),
        };
        list.iter().map(one).sum()
    }
    match command {
        Command::Txn(txn) => 64 * (1 + txn.compare.len()) + ops(&txn.success) + ops(&txn.failure),
        Command::LeaseExpire { ids } => 16 + 10 * ids.len(),
        _ => 32,
    }
}

/// Proposes one batch until each of its commands has an outcome.
async fn settle(core: &Core, batch: Vec<Pending>) {
    let mut open = batch;
    loop {
        let now = Instant::now();
        let (late, in_time): (Vec<_>, _) = open.into_iter().partition(|p| p.until <= now);
        late.into_iter().for_each(|pending| pending.answer(Err(Undone::NotLeader)));
        open = in_time;
        if open.is_empty() {
            return;
        }
        let leader = core.leader();
        if leader == Some(core.id()) {
            open = write(core, open).await;
        }
        // Whoever is fenced, or was sent here, has to know at once that another member leads.
        let (bound, free): (Vec<_>, _) =
            open.into_iter().partition(|p| p.fence.is_some() || p.is_forwarded);
        bound.into_iter().for_each(|pending| pending.answer(Err(Undone::NotLeader)));
        open = free;
        if let Some(leader) = leader.filter(|leader| *leader != core.id() && !open.is_empty()) {
            open = forward(core, leader, open).await;
        }
        if !open.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Proposes as the leader. Returns those that were certainly not proposed.
async fn write(core: &Core, batch: Vec<Pending>) -> Vec<Pending> {
    let commands = batch
        .iter()
        .map(|pending| Fenced { fence: pending.fence, command: pending.command.clone() })
        .collect();
    let entry = Batch { now_ms: core.now_ms(), commands };
    let format = core.replica.format();
    let proposal = Proposal(Bytes::from(codec::encode_as(format, &entry)));
    let until = latest(&batch);
    let unknown = |reason: String| Err(Undone::Unknown(reason));
    match tokio::time::timeout_at(until, core.raft.client_write(proposal)).await {
        Ok(Ok(response)) => {
            let index = response.log_id.index;
            let replies = response.data.0;
            assert_eq!(replies.len(), batch.len(), "every command has a reply");
            let both = batch.into_iter().zip(replies);
            both.for_each(|(pending, reply)| pending.answer(Ok((index, reply))));
            Vec::new()
        }
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => batch,
        Ok(Err(error)) => {
            let reason = error.to_string();
            batch.into_iter().for_each(|pending| pending.answer(unknown(reason.clone())));
            Vec::new()
        }
        Err(_) => {
            let reason = "no quorum confirmed it in time";
            batch.into_iter().for_each(|pending| pending.answer(unknown(reason.into())));
            Vec::new()
        }
    }
}

/// Sends a batch to the leader. Returns those that were certainly not proposed.
async fn forward(core: &Core, leader: MemberId, batch: Vec<Pending>) -> Vec<Pending> {
    let until = latest(&batch);
    let commands = batch.iter().map(|pending| pending.command.clone()).collect();
    let within = until.saturating_duration_since(Instant::now());
    let outcomes = match core.peers.ask(leader, &Ask::Propose(commands), within).await {
        Ok(Answer::Propose(outcomes)) if outcomes.len() == batch.len() => outcomes,
        Err(crate::peers::AskError::NotSent(_)) => return batch,
        other => {
            let reason = match other {
                Err(error) => error.to_string(),
                Ok(answer) => format!("unexpected {answer:?}"),
            };
            for pending in batch {
                pending.answer(Err(Undone::Unknown(reason.clone())));
            }
            return Vec::new();
        }
    };
    let last = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Done { index, .. } => Some(*index),
        Outcome::Undone(_) => None,
    });
    let is_applied = match last.max() {
        Some(index) => core.applied(index, until).await.is_ok(),
        None => true,
    };
    let mut open = Vec::new();
    for (pending, outcome) in batch.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Done { index, reply } if is_applied => pending.answer(Ok((index, reply))),
            Outcome::Done { .. } => {
                let reason = "done, but not yet applied by this member".to_owned();
                pending.answer(Err(Undone::Unknown(reason)));
            }
            Outcome::Undone(Undone::NotLeader) => open.push(pending),
            Outcome::Undone(undone) => pending.answer(Err(undone)),
        }
    }
    open
}

fn latest(batch: &[Pending]) -> Instant {
    batch.iter().map(|pending| pending.until).max().unwrap_or_else(Instant::now)
}

pub(crate) fn not_proposed(reason: &str) -> ProposeError {
    ProposeError::NotProposed { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_turned_away_is_not_proposed_and_what_is_taken_is_waited_for() {
        let party = Party::new(3);
        assert!(party.take(1), "the batcher has it");
        assert!(!party.turn_away(), "one is under way");
        assert!(!party.take(0) && !party.take(2), "nobody proposes the others any more");
        party.answers.lock()[1] = Some(Err(Undone::Never("full".into())));
        assert!(party.turn_away());
        let answers = std::mem::take(&mut *party.answers.lock());
        let is_not_leader =
            |answer: &Option<Proposed>| matches!(answer, Some(Err(Undone::NotLeader)));
        assert_eq!(answers.iter().map(is_not_leader).collect::<Vec<_>>(), [true, false, true]);
    }
}
