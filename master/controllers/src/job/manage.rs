//! Which pods of a Job are made and which are too many. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use master_client::pod::Pod;

use super::backoff::{self, ended_at};
use super::indexes::Indexes;
use super::look::{Look, index_of, number};
use super::plan::{Plan, Present};
use super::policy::{self, Verdict};
use super::tally::{Tally, failures};
use super::{FAILURES, FAILURES_IGNORED};
use crate::pods;

/// So many pods are made or dismissed at a time.
const ACTS_MAX: usize = 500;

/// A pod to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NewPod {
    /// Of an indexed job.
    pub(super) index: Option<i32>,
    /// How often its index has failed before, and how many failures a policy ignored, if indexes are counted by themselves.
    pub(super) failures: Option<(i32, i32)>,
}

/// Plans as many pods as the job may have at a time.
pub(super) fn manage(
    plan: &mut Plan,
    look: &Look<'_>,
    tally: &Tally,
    active: &[Arc<Pod>],
    present: &mut Present,
) {
    let wanted = wanted(look, tally, active.len());
    let surplus = active.len().saturating_sub(wanted);
    let mut dismissed = surplus_of(look, active, surplus);
    if !look.is_suspended() {
        dismissed.truncate(ACTS_MAX);
    }
    if !dismissed.is_empty() || look.is_suspended() {
        present.lose(&dismissed);
        plan.dismiss = dismissed;
        return;
    }
    let going = if policy::waits_for_the_end(look.spec) { present.going } else { 0 };
    let missing = wanted.saturating_sub(active.len() + going).min(ACTS_MAX);
    if missing == 0 {
        return;
    }
    if look.index_limit().is_none() {
        let left = tally.record.left(look.now);
        if !left.is_zero() {
            plan.look_again(left);
            return;
        }
    }
    plan.create = if look.is_indexed() {
        let indexes = pending(look, tally, active, missing);
        match one_by_one(look, tally, &indexes) {
            Ok(create) => create,
            Err(left) => {
                plan.look_again(left);
                return;
            }
        }
    } else {
        vec![NewPod::default(); missing]
    };
    present.active += plan.create.len();
}

/// How many pods there should be.
fn wanted(look: &Look<'_>, tally: &Tally, active: usize) -> usize {
    let parallelism = usize::try_from(look.spec.parallelism.unwrap_or(1)).unwrap_or(0);
    match look.spec.completions {
        _ if look.is_suspended() => 0,
        Some(completions) => {
            let left = i64::from(completions) - tally.succeeded;
            parallelism.min(usize::try_from(left).unwrap_or(0))
        }
        // One has succeeded: the others are left to finish.
        None if tally.succeeded > 0 => active,
        None => parallelism,
    }
}

/// The indexes that have to have a pod, the first so many of them.
fn pending(look: &Look<'_>, tally: &Tally, active: &[Arc<Pod>], count_max: usize) -> Vec<i32> {
    let mut taken = tally.done.with(&active.iter().filter_map(|pod| index_of(pod)).collect());
    if policy::waits_for_the_end(look.spec) {
        let going: Indexes = look.going().filter_map(|pod| index_of(pod)).collect();
        taken = taken.with(&going);
    }
    if let Some(broken) = &tally.broken {
        taken = taken.with(broken);
    }
    taken.missing(look.completions(), count_max)
}

/// The pods for those indexes whose time has come; if there are some for none of which it has, how long it takes.
fn one_by_one(look: &Look<'_>, tally: &Tally, indexes: &[i32]) -> Result<Vec<NewPod>, Duration> {
    let pod = |index: i32| {
        let last = tally.held.get(&index);
        NewPod {
            index: Some(index),
            failures: look
                .index_limit()
                .map(|_| last.map_or((0, 0), |last| carried_on(look, last))),
        }
    };
    let left = |index: &i32| match tally.held.get(index) {
        Some(last) => {
            let failures = failures(last).saturating_add(1);
            backoff::left(failures, ended_at(last), look.now)
        }
        None => Duration::ZERO,
    };
    let create: Vec<NewPod> =
        indexes.iter().filter(|index| left(index).is_zero()).map(|index| pod(*index)).collect();
    match indexes.iter().map(left).min() {
        Some(soonest) if create.is_empty() => Err(soonest),
        _ => Ok(create),
    }
}

/// The failures that the successor of a failed pod begins with.
fn carried_on(look: &Look<'_>, last: &Pod) -> (i32, i32) {
    let (counted, ignored) = (number(last, FAILURES), number(last, FAILURES_IGNORED));
    match policy::judge(look.spec, last) {
        Verdict::Ignored => (counted, ignored.saturating_add(1)),
        _ => (counted.saturating_add(1), ignored),
    }
}

/// The pods to dismiss: `count_min` of them, the least useful first; of an indexed job all that share an index with a
/// better one, or have none that the job has.
fn surplus_of(look: &Look<'_>, active: &[Arc<Pod>], count_min: usize) -> Vec<Arc<Pod>> {
    let mut sorted = pods::by_usefulness(active);
    let mut surplus = Vec::new();
    if look.is_indexed() {
        let mut best: BTreeMap<i32, usize> = BTreeMap::new();
        for (place, pod) in sorted.iter().enumerate() {
            if let Some(index) = look.index(pod) {
                best.insert(index, place);
            }
        }
        let keeps = |(place, pod): &(usize, Arc<Pod>)| {
            look.index(pod).is_some_and(|index| best.get(&index) == Some(place))
        };
        let (kept, stray): (Vec<_>, Vec<_>) = sorted.into_iter().enumerate().partition(keeps);
        surplus.extend(stray.into_iter().map(|(_, pod)| pod));
        sorted = kept.into_iter().map(|(_, pod)| pod).collect();
    }
    let more = count_min.saturating_sub(surplus.len());
    surplus.extend(sorted.into_iter().take(more));
    surplus
}
