//! From what a Deployment and its ReplicaSets are to what has to be written. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{self, AVAILABLE, PROGRESSING, REPLICA_FAILURE};
use super::revision::{self, annotate, new_set, note_size, revision_of, same_template};
use super::rollout::{Sets, available, is_rolling, max_unavailable, replicas, wanted};
use crate::controller::Requeue;
use crate::owner::{annotation, is_terminating, name_of};

/// What a plan is made from.
pub(super) struct View<'a> {
    pub(super) deployment: &'a Deployment,
    /// The sets it controls.
    pub(super) sets: Vec<ReplicaSet>,
    /// Whether a set (by name) still has pods that have not ended.
    pub(super) running: BTreeMap<String, bool>,
    pub(super) now: Time,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Create(ReplicaSet),
    /// Writes a set; it had `from` replicas.
    Write {
        set: ReplicaSet,
        from: i32,
    },
    Delete(ReplicaSet),
    /// The deployment's revision annotation.
    Revision(String),
    Status(DeploymentStatus),
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) requeue: Requeue,
}

struct Planner<'a> {
    view: View<'a>,
    sets: Sets<'a>,
    created: bool,
    deleted: Vec<ReplicaSet>,
    revision: Option<String>,
    /// The deployment's status with the conditions this pass added.
    base: DeploymentStatus,
}

pub(super) fn plan(mut view: View<'_>) -> Plan {
    view.sets.sort_by_key(|set| {
        let created = set.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created, set.metadata.name.clone())
    });
    let deployment = view.deployment;
    let new = view.sets.iter().position(|set| same_template(set, deployment));
    let sets = Sets { deployment, sets: view.sets.clone(), new };
    let base = deployment.status.clone().unwrap_or_default();
    let planner = Planner { view, sets, created: false, deleted: Vec::new(), revision: None, base };
    planner.run()
}

impl Planner<'_> {
    fn run(mut self) -> Plan {
        let deployment = self.view.deployment;
        let spec = deployment.spec.clone().unwrap_or_default();
        self.sync_revision(false);
        if is_terminating(&deployment.metadata) {
            return self.finish(false);
        }
        self.note_pause();
        if spec.paused == Some(true) {
            self.sets.resize();
            self.clean_up();
            return self.finish(false);
        }
        if self.is_resized() {
            self.sets.resize();
            return self.finish(false);
        }
        if is_rolling(deployment) {
            self.sync_revision(true);
            if !self.sets.grow_new() && !self.sets.shrink_old() {
                self.clean_up_if_complete();
            }
        } else if !self.sets.drop_old() && !self.old_pods_run() {
            self.sync_revision(true);
            self.sets.grow_new();
            self.clean_up_if_complete();
        }
        self.finish(true)
    }

    /// Gives the newest set the highest revision, and the deployment the same.
    fn sync_revision(&mut self, may_create: bool) {
        let deployment = self.view.deployment;
        let old = self.sets.sets.iter().enumerate().filter(|(i, _)| Some(*i) != self.sets.new);
        let revision = old.map(|(_, set)| revision_of(set)).max().unwrap_or(0) + 1;
        let has_deadline = progress_deadline_s(deployment).is_some();
        if let Some(new) = self.sets.new {
            let set = &mut self.sets.sets[new];
            annotate(set, deployment, revision);
            let spec = deployment.spec.as_ref();
            let min_ready_s = spec.and_then(|spec| spec.min_ready_seconds);
            let of_set = &mut set.spec.get_or_insert_default().min_ready_seconds;
            if of_set.unwrap_or(0) != min_ready_s.unwrap_or(0) {
                *of_set = min_ready_s;
            }
            self.revision = annotation(&set.metadata, revision::REVISION).map(str::to_owned);
            if has_deadline && conditions::get(&self.base, PROGRESSING).is_none() {
                let text = format!("Found new replica set \"{}\"", name_of(&set.metadata));
                self.progress("True", "FoundNewReplicaSet", text);
            }
        } else if may_create {
            let mut set = new_set(deployment);
            annotate(&mut set, deployment, revision);
            note_size(&mut set, deployment);
            let name = name_of(&set.metadata).to_owned();
            let place = self.sets.sets.len();
            self.sets.sets.push(set);
            self.sets.new = Some(place);
            let size = self.sets.new_size(place);
            self.sets.scale(place, size, false);
            self.created = true;
            self.revision = Some(revision.to_string());
            if has_deadline {
                let text = format!("Created new replica set \"{name}\"");
                self.progress("True", "NewReplicaSetCreated", text);
            }
        }
    }

    fn progress(&mut self, status: &str, reason: &str, text: String) {
        let condition = conditions::new(PROGRESSING, status, reason, text, &self.view.now);
        conditions::set(&mut self.base, condition);
    }

    /// A pause stops the clock of the progress deadline.
    fn note_pause(&mut self) {
        let deployment = self.view.deployment;
        if progress_deadline_s(deployment).is_none() {
            return;
        }
        let known = conditions::get(&self.base, PROGRESSING);
        if conditions::has_reason(known, "ProgressDeadlineExceeded") {
            return;
        }
        let was_paused = conditions::has_reason(known, "DeploymentPaused");
        let is_paused = deployment.spec.as_ref().is_some_and(|spec| spec.paused == Some(true));
        match (is_paused, was_paused) {
            (true, false) => {
                self.progress("Unknown", "DeploymentPaused", "Deployment is paused".to_owned());
            }
            (false, true) => {
                self.progress("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned());
            }
            (true, true) | (false, false) => {}
        }
    }

    /// An active set was last sized for another number of replicas.
    fn is_resized(&self) -> bool {
        let wanted = wanted(self.view.deployment);
        let noted = |set: &ReplicaSet| {
            annotation(&set.metadata, revision::DESIRED).and_then(|text| text.parse::<i32>().ok())
        };
        let mut active = self.sets.sets.iter().filter(|set| replicas(set) > 0);
        active.any(|set| noted(set).is_some_and(|noted| noted != wanted))
    }

    fn old_pods_run(&self) -> bool {
        let new = self.sets.new.map(|place| name_of(&self.sets.sets[place].metadata));
        let counted = |set: &ReplicaSet| {
            Some(name_of(&set.metadata)) != new
                && set.status.as_ref().is_some_and(|status| status.replicas > 0)
        };
        self.sets.sets.iter().any(counted)
            || self.view.running.iter().any(|(name, runs)| *runs && Some(name.as_str()) != new)
    }

    fn clean_up_if_complete(&mut self) {
        let deployment = self.view.deployment;
        if is_complete(deployment, &deployment.status.clone().unwrap_or_default()) {
            self.clean_up();
        }
    }

    /// Deletes the oldest empty sets beyond the history limit.
    fn clean_up(&mut self) {
        let spec = self.view.deployment.spec.as_ref();
        let limit = spec.and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let places = (0..self.sets.sets.len()).filter(|place| Some(*place) != self.sets.new);
        let sets = places.map(|place| self.sets.sets[place].clone());
        let mut old: Vec<ReplicaSet> = sets.filter(|set| !is_terminating(&set.metadata)).collect();
        old.sort_by_key(revision_of);
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        let is_empty = |set: &ReplicaSet| {
            let status = set.status.clone().unwrap_or_default();
            replicas(set) == 0
                && status.replicas == 0
                && set.metadata.generation.unwrap_or(0) <= status.observed_generation.unwrap_or(0)
        };
        self.deleted.extend(old.into_iter().take(surplus).filter(is_empty));
    }

    fn finish(mut self, is_rollout: bool) -> Plan {
        let mut status = self.counted();
        if is_rollout {
            self.judge_progress(&mut status);
        }
        let deployment = self.view.deployment;
        let requeue = self.next_look(&status);
        let mut steps = Vec::new();
        if self.created
            && let Some(new) = self.sets.new
        {
            steps.push(Step::Create(self.sets.sets.remove(new)));
        }
        let before: BTreeMap<&str, &ReplicaSet> =
            self.view.sets.iter().map(|set| (name_of(&set.metadata), set)).collect();
        for set in self.sets.sets {
            let Some(known) = before.get(name_of(&set.metadata)) else { continue };
            if **known != set {
                steps.push(Step::Write { from: replicas(known), set });
            }
        }
        // Growing goes before shrinking.
        steps.sort_by_key(|step| match step {
            Step::Create(_) => 0,
            Step::Write { set, from } if replicas(set) >= *from => 1,
            _ => 2,
        });
        steps.extend(self.deleted.into_iter().map(Step::Delete));
        let known = annotation(&deployment.metadata, revision::REVISION);
        if let Some(revision) = self.revision.filter(|revision| Some(revision.as_str()) != known) {
            steps.push(Step::Revision(revision));
        }
        if deployment.status.as_ref() != Some(&status) {
            steps.push(Step::Status(status));
        }
        Plan { steps, requeue }
    }

    /// What the sets amount to.
    fn counted(&self) -> DeploymentStatus {
        let deployment = self.view.deployment;
        let sum = |of: &dyn Fn(&ReplicaSet) -> i32| self.sets.sets.iter().map(of).sum::<i32>();
        let actual = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
        let serving = sum(&available);
        let terminating = |set: &ReplicaSet| {
            set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0)
        };
        let ready = |set: &ReplicaSet| {
            set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
        };
        let mut status = DeploymentStatus {
            observed_generation: deployment.metadata.generation,
            replicas: nonzero(sum(&actual)),
            updated_replicas: self.sets.new.and_then(|new| nonzero(actual(&self.sets.sets[new]))),
            ready_replicas: nonzero(sum(&ready)),
            available_replicas: nonzero(serving),
            unavailable_replicas: nonzero((self.sets.total() - serving).max(0)),
            terminating_replicas: Some(sum(&terminating)),
            collision_count: self.base.collision_count,
            conditions: self.base.conditions.clone(),
        };
        let enough = serving >= wanted(deployment) - max_unavailable(deployment);
        let (truth, reason, text) = if enough {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        let condition = conditions::new(AVAILABLE, truth, reason, text, &self.view.now);
        conditions::set(&mut status, condition);
        status
    }

    /// Whether the rollout is complete, moves, or hangs.
    fn judge_progress(&self, status: &mut DeploymentStatus) {
        let deployment = self.view.deployment;
        let now = &self.view.now;
        let deadline_s = progress_deadline_s(deployment);
        if deadline_s.is_none() {
            conditions::remove(status, PROGRESSING);
        }
        let known = conditions::get(&self.base, PROGRESSING).cloned();
        let was_complete = status.replicas == status.updated_replicas
            && conditions::has_reason(known.as_ref(), "NewReplicaSetAvailable");
        if let Some(deadline_s) = deadline_s
            && !was_complete
        {
            let name = name_of(&deployment.metadata);
            let what = match self.sets.new {
                Some(new) => format!("ReplicaSet \"{}\"", name_of(&self.sets.sets[new].metadata)),
                None => format!("Deployment \"{name}\""),
            };
            let new = |truth, reason, text| conditions::new(PROGRESSING, truth, reason, text, now);
            if is_complete(deployment, status) {
                let text = format!("{what} has successfully progressed.");
                conditions::set(status, new("True", "NewReplicaSetAvailable", text));
            } else if moved(&deployment.status.clone().unwrap_or_default(), status) {
                let text = format!("{what} is progressing.");
                let mut condition = new("True", "ReplicaSetUpdated", text);
                if let Some(known) = known.filter(|known| known.status == "True") {
                    condition.last_transition_time = known.last_transition_time;
                }
                conditions::replace(status, condition);
            } else if is_timed_out(status, deadline_s, now) {
                let text = format!("{what} has timed out progressing.");
                conditions::set(status, new("False", "ProgressDeadlineExceeded", text));
            }
        }
        self.pass_failure_on(status);
    }

    /// A set that cannot create or delete pods makes the deployment say so.
    fn pass_failure_on(&self, status: &mut DeploymentStatus) {
        let newest = self.sets.new.map(|new| &self.sets.sets[new]);
        let mut failures = newest.into_iter().chain(&self.sets.sets).filter_map(|set| {
            let all = set.status.as_ref()?.conditions.as_ref()?;
            all.iter().find(|condition| condition.type_ == REPLICA_FAILURE)
        });
        match failures.next() {
            Some(failure) => {
                let reason = failure.reason.clone().unwrap_or_default();
                let text = failure.message.clone().unwrap_or_default();
                let now = &self.view.now;
                let mut condition =
                    conditions::new(REPLICA_FAILURE, &failure.status, &reason, text, now);
                condition.last_transition_time.clone_from(&failure.last_transition_time);
                condition.last_update_time.clone_from(&failure.last_transition_time);
                conditions::set(status, condition);
            }
            None => conditions::remove(status, REPLICA_FAILURE),
        }
    }

    /// A rollout without news is looked at again when its deadline has passed.
    fn next_look(&self, status: &DeploymentStatus) -> Requeue {
        let deployment = self.view.deployment;
        let (Some(deadline_s), Some(known)) =
            (progress_deadline_s(deployment), conditions::get(status, PROGRESSING))
        else {
            return Requeue::OnChange;
        };
        let over = ["ProgressDeadlineExceeded", "NewReplicaSetAvailable", "DeploymentPaused"];
        if is_complete(deployment, status)
            || over.iter().any(|reason| conditions::has_reason(Some(known), reason))
        {
            return Requeue::OnChange;
        }
        let passed_s = since_s(known.last_update_time.as_ref(), &self.view.now);
        let left_s = u64::try_from(i64::from(deadline_s) - passed_s).unwrap_or(0);
        Requeue::After(Duration::from_secs(left_s + 1))
    }
}

/// Upstream writes no zeros.
fn nonzero(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

/// The progress deadline, unless it is "never".
pub(super) fn progress_deadline_s(deployment: &Deployment) -> Option<i32> {
    let deadline_s = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (deadline_s != i32::MAX).then_some(deadline_s)
}

fn since_s(time: Option<&Time>, now: &Time) -> i64 {
    time.map_or(0, |time| now.0.as_second() - time.0.as_second())
}

/// All pods are of the new template, and serve.
fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = wanted(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// More new, ready or available pods than before, or fewer old ones.
fn moved(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let n = |value: Option<i32>| value.unwrap_or(0);
    let old = |status: &DeploymentStatus| n(status.replicas) - n(status.updated_replicas);
    n(after.updated_replicas) > n(before.updated_replicas)
        || old(after) < old(before)
        || n(after.ready_replicas) > n(before.ready_replicas)
        || n(after.available_replicas) > n(before.available_replicas)
}

fn is_timed_out(status: &DeploymentStatus, deadline_s: i32, now: &Time) -> bool {
    let Some(known) = conditions::get(status, PROGRESSING) else { return false };
    match known.reason.as_deref() {
        Some("NewReplicaSetAvailable") => false,
        Some("ProgressDeadlineExceeded") => true,
        _ => since_s(known.last_update_time.as_ref(), now) > i64::from(deadline_s),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
