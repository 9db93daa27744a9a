//! What a Job's pods amount to, and how each finished one is counted once. Pure.
//!
//! ```text
//!  ended, with finalizer ──▶ remembered in the status ──▶ finalizer gone ──▶ a number in the status
//!                            (by uid, or by its index)
//! ```
//!
//! # Invariants
//! - A finalizer may go only after the status that remembers its pod was written.
//! - Of a job that counts failures by index, the last pod of an index that failed keeps its finalizer until its
//!   successor is there: that carries the count on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{JobStatus, UncountedTerminatedPods};
use master_client::pod::Pod;

use super::backoff::{Record, ended_at};
use super::indexes::Indexes;
use super::look::{Look, index_of, is_tracked, number, uid};
use super::policy::{self, Verdict};
use super::{FAILURES, FAILURES_IGNORED};
use crate::pods;

/// So many pods are remembered by uid at a time: a status must stay small.
const UNCOUNTED_MAX: usize = 500;

/// What the pods amount to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Those included that are still to be counted; of an indexed job, its succeeded indexes.
    pub(super) succeeded: i64,
    pub(super) failed: i64,
    pub(super) record: Record,
    pub(super) done: Indexes,
    /// Indexes that failed for good, if each is counted by itself.
    pub(super) broken: Option<Indexes>,
    /// The last pod of each index that failed and is to have another.
    pub(super) held: BTreeMap<i32, Arc<Pod>>,
}

impl Tally {
    pub(super) fn of(look: &Look<'_>, before: Record) -> Self {
        let uncounted = look.status.uncounted_terminated_pods.clone().unwrap_or_default();
        let (good, bad) = (known(uncounted.succeeded), known(uncounted.failed));
        let fresh = |known: &BTreeSet<String>, is_meant: &dyn Fn(&Pod) -> bool| -> Vec<&Pod> {
            let tracked = look.tracked().map(|pod| &**pod);
            tracked
                .filter(|pod| is_valid(look, pod) && is_meant(pod) && !known.contains(&uid(pod)))
                .collect()
        };
        let succeeded = fresh(&good, &|pod| pods::phase(pod) == "Succeeded");
        let failed = fresh(&bad, &|pod| look.has_failed(pod));
        let counted = failed.iter().filter(|pod| policy::judge(look.spec, pod) != Verdict::Ignored);
        let total = |written: Option<i32>, more: usize| {
            i64::from(written.unwrap_or(0)) + i64::try_from(more).unwrap_or(i64::MAX)
        };
        let mut tally = Self {
            succeeded: total(look.status.succeeded, succeeded.len() + good.len()),
            failed: total(look.status.failed, counted.count() + bad.len()),
            record: before.after(&succeeded, &failed),
            ..Self::default()
        };
        if look.is_indexed() {
            tally.by_index(look, &succeeded);
        }
        tally
    }

    fn by_index(&mut self, look: &Look<'_>, succeeded: &[&Pod]) {
        let done: Indexes = succeeded.iter().filter_map(|pod| look.index(pod)).collect();
        self.done = look.indexes(look.status.completed_indexes.as_ref()).with(&done);
        self.succeeded = self.done.count();
        if look.index_limit().is_none() {
            return;
        }
        let broken = look.tracked().filter(|pod| look.has_failed_index(pod));
        let broken: Indexes = broken.filter_map(|pod| look.index(pod)).collect();
        let broken = look.indexes(look.status.failed_indexes.as_ref()).with(&broken);
        let active: BTreeSet<i32> = look.active().iter().filter_map(|pod| index_of(pod)).collect();
        for pod in look.tracked().filter(|pod| look.has_failed(pod)) {
            let Some(index) = look.index(pod) else { continue };
            if self.done.has(index) || broken.has(index) || active.contains(&index) {
                continue;
            }
            let rank = |pod: &Pod| (failures(pod), ended_at(pod));
            let is_later = self.held.get(&index).is_none_or(|last| {
                let (was, is) = (rank(last), rank(pod));
                was.0 <= is.0 && was.1 <= is.1
            });
            if is_later {
                self.held.insert(index, pod.clone());
            }
        }
        self.broken = Some(broken);
    }

    pub(super) fn broken_count(&self) -> i64 {
        self.broken.as_ref().map_or(0, Indexes::count)
    }

    fn is_held(&self, look: &Look<'_>, pod: &Pod) -> bool {
        let held = look.index(pod).and_then(|index| self.held.get(&index));
        held.is_some_and(|held| uid(held) == uid(pod))
    }
}

/// All failures of a pod's predecessors, those that a policy ignores included.
pub(super) fn failures(pod: &Pod) -> i32 {
    number(pod, FAILURES).saturating_add(number(pod, FAILURES_IGNORED))
}

/// An indexed job counts only pods of its indexes.
fn is_valid(look: &Look<'_>, pod: &Pod) -> bool {
    !look.is_indexed() || look.index(pod).is_some()
}

fn known(uids: Option<Vec<String>>) -> BTreeSet<String> {
    uids.unwrap_or_default().into_iter().collect()
}

/// How a job ends, as far as counting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    NotYet,
    /// Whatever still runs is let go, and does not count.
    Good,
    /// Whatever still runs counts as failed.
    Bad,
}

/// What counting comes to.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Their finalizer may go, once the status is written.
    pub(super) release: Vec<Arc<Pod>>,
    /// More is to be counted than a status may remember.
    pub(super) is_full: bool,
}

/// Counts what has ended into `status`.
pub(super) fn count(look: &Look<'_>, tally: &Tally, end: End, status: &mut JobStatus) -> Counted {
    let mut counted = Counted::default();
    let mut uncounted = settle(look, status);
    let (mut good, mut bad) = (
        uncounted.succeeded.take().unwrap_or_default(),
        uncounted.failed.take().unwrap_or_default(),
    );
    let known_bad: BTreeSet<String> = bad.iter().cloned().collect();
    let known_good: BTreeSet<String> = good.iter().cloned().collect();
    let done_before = look.indexes(look.status.completed_indexes.as_ref());
    let mut fresh_indexes = 0;
    let mut tracked: Vec<&Arc<Pod>> = look.tracked().collect();
    if look.is_indexed() {
        tracked.sort_by_key(|pod| index_of(pod));
    }
    for pod in tracked {
        let has_succeeded = pods::phase(pod) == "Succeeded";
        let has_failed = look.has_failed(pod);
        let ends = look.is_going || end != End::NotYet;
        if !(ends || has_succeeded || has_failed && !tally.is_held(look, pod)) {
            continue;
        }
        counted.release.push(pod.clone());
        let is_known_bad = known_bad.contains(&uid(pod));
        if has_succeeded && !is_known_bad {
            let index = look.index(pod);
            if !look.is_indexed() && !known_good.contains(&uid(pod)) {
                good.push(uid(pod));
            } else if index.is_some_and(|index| !done_before.has(index)) {
                fresh_indexes += 1;
            }
        } else if (has_failed || end == End::Bad)
            && !is_known_bad
            && is_valid(look, pod)
            && policy::judge(look.spec, pod) != Verdict::Ignored
        {
            bad.push(uid(pod));
        }
        if fresh_indexes + good.len() + bad.len() >= UNCOUNTED_MAX {
            counted.is_full = true;
            break;
        }
    }
    let list = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    status.uncounted_terminated_pods =
        Some(UncountedTerminatedPods { succeeded: list(good), failed: list(bad) });
    if look.is_indexed() {
        let done = tally.done.to_string();
        status.succeeded = some(tally.done.count());
        status.completed_indexes = Some(done).filter(|done| !done.is_empty());
        status.failed_indexes = tally.broken.as_ref().map(ToString::to_string);
    }
    counted
}

/// Makes numbers of remembered pods whose finalizer is gone; the rest stays to be remembered.
fn settle(look: &Look<'_>, status: &mut JobStatus) -> UncountedTerminatedPods {
    let held: BTreeSet<String> =
        look.pods.iter().filter(|pod| is_tracked(pod)).map(|pod| uid(pod)).collect();
    let settle = |list: Option<Vec<String>>, total: &mut Option<i32>| {
        let (kept, settled): (Vec<String>, Vec<String>) =
            list.unwrap_or_default().into_iter().partition(|uid| held.contains(uid));
        let more = i64::try_from(settled.len()).unwrap_or(i64::MAX);
        *total = some(i64::from(total.unwrap_or(0)) + more);
        Some(kept)
    };
    let uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    UncountedTerminatedPods {
        succeeded: settle(uncounted.succeeded, &mut status.succeeded),
        failed: settle(uncounted.failed, &mut status.failed),
    }
}

/// A count as statuses have it: none is left out.
pub(super) fn some(count: i64) -> Option<i32> {
    Some(i32::try_from(count).unwrap_or(i32::MAX)).filter(|count| *count != 0)
}
