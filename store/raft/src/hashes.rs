//! Members compare what they hold: checksums of the same revision, after the same compaction, must be equal.
//!
//! Any member may ask all others and itself. Whoever differs from what most voters have is told so, and puts
//! itself in quarantine; where there is no majority that agrees, everybody is in doubt until there is one.
//!
//! # Invariants
//! - Checksums are compared only between states that have applied and forgotten the same.
//! - A member that has not answered is neither accused nor counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use store_env::task::TaskResult;
use store_handle::{Hash, MemberId, ReadError, Revision};
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::wire::{Answer, Ask};

/// How long a member may take to apply up to the revision that is asked for.
const APPLY_MAX: Duration = Duration::from_secs(5);

/// How long it may then read: a large store is read from its disk.
const HASH_MAX: Duration = Duration::from_secs(600);

/// A compaction between two members' answers makes them incomparable: asked again so often.
const ROUNDS_MAX: usize = 3;

/// How long a member that starts waits before it asks again, while others cannot be asked.
const START_AGAIN: Duration = Duration::from_secs(1);

/// A member's checksum, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) compacted: Revision,
    pub(crate) crc32: u32,
}

/// What a comparison has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Those whose state is that of most voters.
    pub(crate) agree: BTreeSet<MemberId>,
    /// Those whose state differs from it.
    pub(crate) differ: BTreeSet<MemberId>,
    /// Those who differ from each other, none of them with a majority.
    pub(crate) in_doubt: BTreeSet<MemberId>,
}

/// The checksum of what this member holds.
pub(crate) fn hash(core: &Core, revision: Revision) -> Result<Hash, ReadError> {
    core.replica.contents.hash(revision)
}

/// Waits until `revision` is applied here, and sums up.
pub(crate) async fn sum_here(core: &Arc<Core>, revision: Revision) -> Result<Sum, String> {
    let mut progress = core.replica.progress();
    let applied = progress.wait_for(|progress| progress.revision >= revision);
    match tokio::time::timeout(APPLY_MAX, applied).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => return Err("the store has stopped".into()),
        Err(_) => return Err(format!("revision {revision} is not applied here yet")),
    }
    let reader = core.clone();
    let summed = core.flush.run(move || hash(&reader, revision)).await;
    let hash = summed.map_err(|e| e.to_string())?.map_err(|error| error.to_string())?;
    Ok(Sum { compacted: hash.compacted, crc32: hash.crc32 })
}

/// Compares once at the start if told to, then every `every` while this member leads, until told to stop.
pub(crate) async fn run(
    core: Arc<Core>,
    at_start: bool,
    every: Option<Duration>,
    stop: CancellationToken,
) -> TaskResult {
    let comparing = async {
        // Until a majority, this member included, has been heard: a member alone proves nothing.
        while at_start && !compare(&core).await {
            tokio::time::sleep(START_AGAIN).await;
        }
        loop {
            match every {
                Some(every) => tokio::time::sleep(every).await,
                None => std::future::pending().await,
            }
            let mine = core.alarms.of(core.id());
            if core.leadership.borrow().leads || mine.is_in_doubt {
                compare(&core).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        () = comparing => Ok(()),
    }
}

/// Compares all members that answer, and tells them; whether enough have answered to say anything.
async fn compare(core: &Arc<Core>) -> bool {
    let mut suspected = None;
    for _ in 0..ROUNDS_MAX {
        let membership = core.metrics().membership_config;
        let ids: Vec<MemberId> = membership.membership().nodes().map(|(id, _)| *id).collect();
        let revision = core.replica.progress().borrow().revision;
        let asked = ids.iter().map(|id| async move { (*id, ask(core, *id, revision).await) });
        let mut sums = BTreeMap::new();
        for (id, answer) in join_all(asked).await {
            match answer {
                Ok(sum) => drop(sums.insert(id, sum)),
                Err(reason) => tracing::debug!(member = id, reason, "not compared"),
            }
        }
        let Some(verdict) = judge(&sums, &core.voters()) else { continue };
        // Nobody is accused on the strength of one look.
        let is_clean = verdict.differ.is_empty() && verdict.in_doubt.is_empty();
        if is_clean || suspected.as_ref() == Some(&verdict) {
            tell(core, &ids, &verdict).await;
            return true;
        }
        suspected = Some(verdict);
    }
    false
}

async fn ask(core: &Arc<Core>, id: MemberId, revision: Revision) -> Result<Sum, String> {
    if id == core.id() {
        return sum_here(core, revision).await;
    }
    match core.peers.ask(id, &Ask::Hash(revision), APPLY_MAX + HASH_MAX).await {
        Ok(Answer::Hash(sum)) => sum,
        Ok(other) => Err(format!("unexpected {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// `None` if too few can be compared.
fn judge(sums: &BTreeMap<MemberId, Sum>, voters: &BTreeSet<MemberId>) -> Option<Verdict> {
    // Of those that have forgotten the same, the largest party.
    let mut parties: BTreeMap<Revision, BTreeMap<u32, BTreeSet<MemberId>>> = BTreeMap::new();
    for (id, sum) in sums {
        parties.entry(sum.compacted).or_default().entry(sum.crc32).or_default().insert(*id);
    }
    let votes = |ids: &BTreeSet<MemberId>| ids.intersection(voters).count();
    let comparable =
        |groups: &BTreeMap<u32, BTreeSet<MemberId>>| -> usize { groups.values().map(votes).sum() };
    let groups = parties.into_values().max_by_key(comparable)?;
    let all: BTreeSet<MemberId> = groups.values().flatten().copied().collect();
    if votes(&all) * 2 <= voters.len() {
        return None;
    }
    let majority = groups.values().find(|ids| votes(ids) * 2 > voters.len()).cloned();
    Some(match majority {
        Some(agree) => Verdict {
            differ: all.difference(&agree).copied().collect(),
            agree,
            in_doubt: BTreeSet::new(),
        },
        // They differ, but the rest may yet decide.
        None if groups.len() < 2 => return None,
        None => Verdict { in_doubt: all, ..Verdict::default() },
    })
}

async fn tell(core: &Arc<Core>, ids: &[MemberId], verdict: &Verdict) {
    if !verdict.differ.is_empty() {
        let differ: Vec<String> = verdict.differ.iter().map(|id| format!("{id:x}")).collect();
        tracing::error!(?differ, "members hold something else than the majority");
    }
    if !verdict.in_doubt.is_empty() {
        tracing::error!("members hold different things, and no majority agrees");
    }
    hear(core, verdict);
    let within = core.peers.times().keep_alive_timeout;
    let others = ids.iter().filter(|id| **id != core.id());
    let ask = Ask::Verdict(verdict.clone());
    // Who is not reached now finds out by its own comparison.
    drop(join_all(others.map(|id| core.peers.ask(*id, &ask, within))).await);
}

/// Takes a verdict about this member; one that has diverged stays so whatever it hears later.
pub(crate) fn hear(core: &Core, verdict: &Verdict) {
    let me = core.id();
    core.alarms.change(me, |alarms| {
        let was_corrupt = alarms.is_corrupt;
        alarms.is_corrupt |= verdict.differ.contains(&me);
        if verdict.agree.contains(&me) || alarms.is_corrupt {
            alarms.is_in_doubt = false;
        }
        alarms.is_in_doubt |= verdict.in_doubt.contains(&me) && !alarms.is_corrupt;
        if alarms.is_corrupt && !was_corrupt {
            tracing::error!(
                "this member's data differs from what the majority holds: it serves no reads and writes any \
                 more. Replace it: `etcdctl member remove {me:x}`, stop it, delete its data directory, \
                 `etcdctl member add`, and start it with --initial-cluster-state=existing"
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `1a 2a 3b@5`: members, what they hold, and how far they have forgotten.
    fn check(
        sums: &str,
        voters: &[MemberId],
        expected: Option<(&[MemberId], &[MemberId], &[MemberId])>,
    ) {
        let read = |word: &str| {
            let (sum, compacted) = word.split_once('@').unwrap_or((word, "0"));
            let (id, held) = sum.split_at(1);
            let crc32 = u32::from(held.as_bytes()[0]);
            (id.parse().unwrap(), Sum { compacted: compacted.parse().unwrap(), crc32 })
        };
        let found: BTreeMap<MemberId, Sum> = sums.split_whitespace().map(read).collect();
        let set = |ids: &[MemberId]| ids.iter().copied().collect::<BTreeSet<_>>();
        let expected = expected.map(|(agree, differ, in_doubt)| Verdict {
            agree: set(agree),
            differ: set(differ),
            in_doubt: set(in_doubt),
        });
        assert_eq!(judge(&found, &set(voters)), expected, "{sums}");
    }

    #[test]
    fn whoever_differs_from_the_majority_is_named() {
        let three = &[1, 2, 3];
        check("1a 2a 3a", three, Some((&[1, 2, 3], &[], &[])));
        check("1a 2b 3a", three, Some((&[1, 3], &[2], &[])));
        check("1a 2a", three, Some((&[1, 2], &[], &[])));
        check("1a", &[1], Some((&[1], &[], &[])));
        check("1a 2a 3a 4b", three, Some((&[1, 2, 3], &[4], &[])));
        check("1a 2a 4b", three, Some((&[1, 2], &[4], &[])));
    }

    #[test]
    fn without_a_majority_nobody_is_accused() {
        let three = &[1, 2, 3];
        check("", three, None);
        check("1a", three, None);
        check("1a 2b", &[1, 2], Some((&[], &[], &[1, 2])));
        check("1a 2b 3c", three, Some((&[], &[], &[1, 2, 3])));
        check("1a 2b", three, Some((&[], &[], &[1, 2])));
    }

    #[test]
    fn what_was_forgotten_differently_is_not_compared() {
        let three = &[1, 2, 3];
        check("1a@4 2b@5", &[1, 2], None);
        check("1a@4 2a@4 3b@5", three, Some((&[1, 2], &[], &[])));
        check("1a@4 2b@5 3c@6", three, None);
    }
}
