//! A Job's plans, played out against pods that end as told.

use serde_json::{Value, json};

use super::*;
use crate::job::look::{index_of, uid};
use crate::job::make::new_pod;
use crate::owner::{annotation, is_terminating};
use crate::testing::{at, object, time};

/// What is told of a pod of an indexed job: its index, failures before it, those that were ignored.
type Told = (i32, Option<String>, Option<String>);

struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    record: Record,
    now_s: i64,
    made: usize,
    /// Pods that are deleted stay until they are told to go.
    lingers: bool,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut spec = spec;
        let template = spec.as_object_mut().unwrap().entry("template").or_insert(json!({}));
        let pod = template.as_object_mut().unwrap().entry("spec").or_insert(json!({}));
        pod.as_object_mut().unwrap().entry("containers").or_insert(json!([]));
        let job = object(json!({"metadata": {"name": "j", "namespace": "default", "uid": "u"},
            "spec": spec}));
        let (pods, record) = (Vec::new(), Record::default());
        Self { job, pods, record, now_s: 1_000_000, made: 0, lingers: false }
    }

    fn plan(&self) -> Plan {
        plan(&self.job, &self.pods, self.record, &Time(at(self.now_s)), Hands::Free)
    }

    fn change(&mut self, pod: &Pod, change: impl FnOnce(&mut Pod)) {
        let place = self.pods.iter().position(|known| uid(known) == uid(pod)).unwrap();
        let mut pod = (*self.pods[place]).clone();
        change(&mut pod);
        self.pods[place] = Arc::new(pod);
    }

    /// Plans and writes until nothing is left to do; tells how many pods are active.
    fn settle(&mut self) -> usize {
        for _ in 0..20 {
            let plan = self.plan();
            let before = (self.job.clone(), self.pods.clone());
            assert!(!plan.expired);
            self.job.status = Some(plan.status);
            self.record = plan.record;
            self.pods.retain(|pod| !plan.dismiss.iter().any(|gone| uid(gone) == uid(pod)));
            for pod in plan.delete {
                let now = Time(at(self.now_s));
                self.change(&pod, |pod| pod.metadata.deletion_timestamp = Some(now));
            }
            for pod in plan.release {
                self.change(&pod, |pod| pod.metadata.finalizers = None);
            }
            for new in plan.create {
                self.made += 1;
                let mut pod = new_pod(&self.job, new);
                pod.metadata.uid = Some(format!("p{}", self.made));
                pod.metadata.name = Some(format!("p{}", self.made));
                pod.metadata.creation_timestamp = Some(Time(at(self.now_s)));
                pod.status.get_or_insert_default().phase = Some("Running".to_owned());
                self.pods.push(Arc::new(object(serde_json::to_value(pod).unwrap())));
            }
            if !self.lingers {
                self.sweep();
            }
            if before == (self.job.clone(), self.pods.clone()) {
                break;
            }
        }
        self.pods.iter().filter(|pod| pods::is_active(pod)).count()
    }

    /// Pods that are deleted, and that nothing holds, go.
    fn sweep(&mut self) {
        self.pods.retain(|pod| !is_terminating(&pod.metadata) || pod.metadata.finalizers.is_some());
    }

    fn oldest(&self) -> Arc<Pod> {
        self.pods.iter().find(|pod| pods::is_active(pod)).unwrap().clone()
    }

    /// The oldest active pod ends.
    fn end(&mut self, phase: &str) {
        self.end_with(&self.oldest(), phase, &[]);
    }

    /// The active pod of an index ends, and has these conditions.
    fn end_index(&mut self, index: i32, phase: &str, conditions: &[&str]) {
        let mut active = self.pods.iter().filter(|pod| pods::is_active(pod));
        let pod = active.find(|pod| index_of(pod) == Some(index)).unwrap().clone();
        self.end_with(&pod, phase, conditions);
    }

    fn end_with(&mut self, pod: &Pod, phase: &str, conditions: &[&str]) {
        let now = time(self.now_s);
        let also = conditions.iter().map(|kind| json!({"type": kind, "status": "True"}));
        let mut all = vec![json!({"type": "Ready", "status": "False", "lastTransitionTime": now})];
        all.extend(also);
        let status = object(json!({"phase": phase, "conditions": all}));
        self.change(pod, |pod| pod.status = Some(status));
    }

    /// Somebody deletes the oldest active pod.
    fn delete(&mut self) {
        let now = Time(at(self.now_s));
        self.change(&self.oldest(), |pod| pod.metadata.deletion_timestamp = Some(now));
    }

    fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap()
    }

    fn told(&self) -> String {
        let status = self.status();
        let end = ["Complete", "Failed", "Suspended"]
            .into_iter()
            .find(|kind| condition(&status, kind).is_some());
        let (succeeded, failed) = (status.succeeded.unwrap_or(0), status.failed.unwrap_or(0));
        format!("{succeeded} ok, {failed} failed, {}", end.unwrap_or("runs"))
    }

    fn reason(&self, kind: &str) -> Option<String> {
        condition(&self.status(), kind)?.reason.clone()
    }

    /// What the active pods are told of their indexes.
    fn indexes(&self) -> Vec<Told> {
        let text = |pod: &Pod, key: &str| annotation(&pod.metadata, key).map(str::to_owned);
        let active = self.pods.iter().filter(|pod| pods::is_active(pod));
        let told = active.filter_map(|pod| {
            let ignored = text(pod, crate::job::FAILURES_IGNORED);
            Some((index_of(pod)?, text(pod, crate::job::FAILURES), ignored))
        });
        let mut told: Vec<Told> = told.collect();
        told.sort();
        told
    }
}

fn told(index: i32, failures: &str) -> Told {
    (index, Some(failures.to_owned()), None)
}

#[test]
fn job_runs_so_many_at_a_time_until_enough_succeeded() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 2}));
    assert_eq!(world.settle(), 2);
    for (left, expected) in
        [(2, "1 ok, 0 failed, runs"), (1, "2 ok, 0 failed, runs"), (0, "3 ok, 0 failed, Complete")]
    {
        world.end("Succeeded");
        assert_eq!(world.settle(), left);
        assert_eq!(world.told(), expected);
    }
    let status = world.job.status.clone().unwrap();
    assert_eq!((status.succeeded, status.active), (Some(3), None));
    assert!(status.completion_time.is_some());
    assert_eq!(status.uncounted_terminated_pods, Some(Default::default()));
}

#[test]
fn pod_that_vanishes_after_its_end_stays_counted() {
    let mut world = World::new(json!({"completions": 2, "parallelism": 1}));
    world.settle();
    world.end("Succeeded");
    world.settle();
    world.pods.retain(|pod| pods::is_active(pod));
    world.settle();
    assert_eq!(world.told(), "1 ok, 0 failed, runs");
    world.end("Succeeded");
    world.settle();
    assert_eq!(world.told(), "2 ok, 0 failed, Complete");
}

#[test]
fn failures_wait_longer_and_longer_and_end_at_the_limit() {
    let mut world = World::new(json!({"completions": 1, "backoffLimit": 2}));
    assert_eq!(world.settle(), 1);
    for (wait_s, also) in [(10, true), (20, false)] {
        world.end("Failed");
        assert_eq!(world.settle(), 0, "it waits");
        // The pod that failed need not be there any more.
        world.pods.retain(|pod| also || pods::is_active(pod));
        world.now_s += wait_s - 1;
        assert_eq!(world.settle(), 0, "it waits {wait_s} s");
        assert_eq!(world.plan().requeue, Requeue::After(Duration::from_secs(1)));
        world.now_s += 1;
        assert_eq!(world.settle(), 1);
    }
    world.end("Failed");
    world.now_s += 1_000;
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "0 ok, 3 failed, Failed");
    assert_eq!(world.reason("Failed").as_deref(), Some("BackoffLimitExceeded"));
}

#[test]
fn deleted_pod_is_a_failure_to_wait_after_and_one_too_many_is_none() {
    let mut world = World::new(json!({"completions": 3, "parallelism": 2}));
    world.settle();
    world.delete();
    assert_eq!(world.settle(), 1);
    assert_eq!(world.told(), "0 ok, 1 failed, runs");
    world.now_s += 10;
    assert_eq!(world.settle(), 2);
    world.job.spec.get_or_insert_default().parallelism = Some(1);
    assert_eq!(world.settle(), 1);
    world.job.spec.get_or_insert_default().suspend = Some(true);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "0 ok, 1 failed, Suspended");
    assert_eq!(world.status().start_time, None);
}

#[test]
fn indexed_job_runs_each_index_once() {
    let spec = json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed"});
    let mut world = World::new(spec);
    assert_eq!(world.settle(), 4);
    let indexes: Vec<i32> = world.pods.iter().filter_map(|pod| index_of(pod)).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    for _ in 0..4 {
        world.end("Succeeded");
        world.settle();
    }
    assert_eq!(world.told(), "4 ok, 0 failed, Complete");
    let status = world.status();
    assert_eq!((status.completed_indexes.as_deref(), status.failed_indexes), (Some("0-3"), None));
}

#[test]
fn deadline_suspension_and_time_to_live_hold() {
    let mut world =
        World::new(json!({"activeDeadlineSeconds": 100, "ttlSecondsAfterFinished": 50}));
    world.settle();
    world.now_s += 100;
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "0 ok, 1 failed, Failed");
    world.now_s += 49;
    assert!(!world.plan().expired);
    world.now_s += 1;
    assert!(world.plan().expired);
    let mut world = World::new(json!({"suspend": true}));
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "0 ok, 0 failed, Suspended");
    world.job.spec.get_or_insert_default().suspend = Some(false);
    assert_eq!(world.settle(), 1);
}

#[test]
fn job_that_failed_by_restarts_stays_failed_while_its_pods_go() {
    let mut world = World::new(json!({"completions": 1, "backoffLimit": 2,
        "template": {"spec": {"restartPolicy": "OnFailure"}}}));
    assert_eq!(world.settle(), 1);
    let status = json!({"phase": "Running", "containerStatuses": [
        {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 2}]});
    world.change(&world.oldest(), |pod| pod.status = Some(object(status)));
    // Its only pod is deleted, and with it what the restarts were counted by.
    assert_eq!(world.settle(), 0);
    assert_eq!((world.made, world.told().split(", ").last()), (1, Some("Failed")));
}

#[test]
fn failures_that_a_policy_ignores_are_made_up_for_and_one_that_it_names_ends_the_job() {
    let rules = json!([
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onPodConditions": [{"type": "Bad", "status": "True"}]},
    ]);
    let mut world = World::new(json!({"completions": 2, "parallelism": 2, "backoffLimit": 0,
        "completionMode": "Indexed", "podFailurePolicy": {"rules": rules}}));
    assert_eq!(world.settle(), 2);
    // A pod that is going is waited for: its end decides what it counts for.
    world.delete();
    world.lingers = true;
    assert_eq!(world.settle(), 1);
    assert_eq!((world.told(), world.pods.len()), ("0 ok, 0 failed, runs".to_owned(), 2));
    assert_eq!(world.status().terminating, Some(1));
    world.lingers = false;
    world.end_with(&world.pods[0].clone(), "Failed", &["DisruptionTarget"]);
    world.settle();
    world.now_s += 1_000;
    assert_eq!(world.settle(), 2);
    assert_eq!(world.told(), "0 ok, 0 failed, runs");
    world.end_index(0, "Failed", &["Bad"]);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.reason("Failed").as_deref(), Some("PodFailurePolicy"));
    assert_eq!(world.told(), "0 ok, 2 failed, Failed");
}

#[test]
fn success_policy_ends_an_indexed_job_early() {
    let mut world =
        World::new(json!({"completions": 5, "parallelism": 2, "completionMode": "Indexed",
        "backoffLimit": 0, "successPolicy": {"rules": [{"succeededIndexes": "0"}]}}));
    assert_eq!(world.settle(), 2);
    world.end("Succeeded");
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "1 ok, 0 failed, Complete");
    assert_eq!(world.reason("Complete").as_deref(), Some("SuccessPolicy"));
    // What is brought down changes nothing.
    assert_eq!(world.reason("FailureTarget"), None);
}

#[test]
fn index_fails_by_itself_when_it_has_failed_too_often() {
    let mut world =
        World::new(json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX}));
    assert_eq!(world.settle(), 3);
    assert_eq!(world.indexes(), [told(0, "0"), told(1, "0"), told(2, "0")]);
    assert_eq!(world.status().failed_indexes.as_deref(), Some(""));
    world.end_index(0, "Failed", &[]);
    assert_eq!(world.settle(), 2, "it waits, and its last pod is held");
    let held = world.pods.iter().filter(|pod| pods::is_terminal(pod));
    assert!(held.map(|pod| pod.metadata.finalizers.is_some()).eq([true]));
    assert_eq!(world.told(), "0 ok, 0 failed, runs");
    world.now_s += 5;
    world.end_index(1, "Succeeded", &[]);
    assert_eq!(world.settle(), 1, "success of another does not shorten its wait");
    assert_eq!(world.plan().requeue, Requeue::After(Duration::from_secs(5)));
    world.now_s += 5;
    assert_eq!(world.settle(), 2);
    assert_eq!(world.indexes(), [told(0, "1"), told(2, "0")]);
    assert_eq!(world.told(), "1 ok, 1 failed, runs");
    world.end_index(0, "Failed", &[]);
    world.now_s += 1_000;
    assert_eq!(world.settle(), 1);
    assert_eq!(world.status().failed_indexes.as_deref(), Some("0"));
    assert_eq!(world.told(), "1 ok, 2 failed, runs");
    world.end_index(2, "Succeeded", &[]);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "2 ok, 2 failed, Failed");
    assert_eq!(world.reason("FailureTarget").as_deref(), Some("FailedIndexes"));
    assert_eq!(world.status().completed_indexes.as_deref(), Some("1,2"));
}

#[test]
fn job_fails_when_more_indexes_have_failed_than_may() {
    let mut world =
        World::new(json!({"completions": 5, "parallelism": 3, "completionMode": "Indexed",
        "backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "backoffLimit": i32::MAX}));
    assert_eq!(world.settle(), 3);
    world.end_index(1, "Failed", &[]);
    assert_eq!(world.settle(), 3, "another index runs at once");
    assert_eq!(world.indexes().len(), 3);
    world.end_index(3, "Failed", &[]);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.reason("Failed").as_deref(), Some("MaxFailedIndexesExceeded"));
    assert_eq!(world.status().failed_indexes.as_deref(), Some("1,3"));
    assert_eq!(world.told(), "0 ok, 4 failed, Failed");
}

#[test]
fn policy_fails_an_index_at_once_and_remembers_what_it_ignores() {
    let on = |kind: &str| json!([{"type": kind, "status": "True"}]);
    let rules = json!([{"action": "FailIndex", "onPodConditions": on("Bad")},
        {"action": "Ignore", "onPodConditions": on("Moved")}]);
    let mut world = World::new(
        json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed",
        "backoffLimitPerIndex": 5, "backoffLimit": i32::MAX, "podFailurePolicy": {"rules": rules}}),
    );
    assert_eq!(world.settle(), 2);
    world.end_index(0, "Failed", &["Bad"]);
    world.end_index(1, "Failed", &["Moved"]);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.status().failed_indexes.as_deref(), Some("0"));
    world.now_s += 10;
    assert_eq!(world.settle(), 1);
    let moved = (1, Some("0".to_owned()), Some("1".to_owned()));
    assert_eq!(world.indexes(), [moved]);
    assert_eq!(world.told(), "0 ok, 1 failed, runs");
    world.end_index(1, "Failed", &[]);
    world.now_s += 19;
    assert_eq!(world.settle(), 0, "what is ignored is waited after all the same");
    world.now_s += 1;
    assert_eq!(world.settle(), 1);
    assert_eq!(world.indexes(), [(1, Some("1".to_owned()), Some("1".to_owned()))]);
}

#[test]
fn indexed_job_becomes_smaller_and_larger() {
    let mut world =
        World::new(json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed"}));
    assert_eq!(world.settle(), 4);
    world.end_index(0, "Succeeded", &[]);
    world.end_index(3, "Succeeded", &[]);
    world.settle();
    assert_eq!(world.status().completed_indexes.as_deref(), Some("0,3"));
    let resize = |world: &mut World, count: i32| {
        let spec = world.job.spec.get_or_insert_default();
        (spec.completions, spec.parallelism) = (Some(count), Some(count));
    };
    resize(&mut world, 2);
    assert_eq!(world.settle(), 1, "index 2 is none any more");
    assert_eq!(world.told(), "1 ok, 0 failed, runs");
    assert_eq!(world.status().completed_indexes.as_deref(), Some("0"));
    resize(&mut world, 3);
    assert_eq!(world.settle(), 2);
    // Two pods of an index are one too many.
    let mut twin = (*world.oldest()).clone();
    twin.metadata.uid = Some("twin".to_owned());
    world.pods.push(Arc::new(twin));
    assert_eq!(world.settle(), 2);
    assert_eq!(world.indexes().iter().map(|told| told.0).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn job_has_not_ended_before_its_pods_are_gone() {
    let mut world = World::new(json!({"completions": 2, "parallelism": 2, "backoffLimit": 0}));
    world.settle();
    world.lingers = true;
    world.end("Failed");
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "0 ok, 2 failed, runs");
    let status = world.status();
    assert_eq!((status.active, status.terminating), (None, Some(1)));
    assert_eq!(world.reason("FailureTarget").as_deref(), Some("BackoffLimitExceeded"));
    world.sweep();
    world.settle();
    assert_eq!(world.told(), "0 ok, 2 failed, Failed");
}

#[test]
fn pods_of_a_job_that_goes_are_let_go_and_none_are_made() {
    let mut world = World::new(json!({"completions": 2, "parallelism": 2}));
    world.settle();
    world.end("Failed");
    world.job.metadata.deletion_timestamp = Some(Time(at(world.now_s)));
    world.now_s += 1_000;
    assert_eq!(world.settle(), 1);
    assert!(world.pods.iter().all(|pod| pod.metadata.finalizers.is_none()));
    assert_eq!((world.made, world.told()), (2, "0 ok, 1 failed, runs".to_owned()));
}

#[test]
fn what_cannot_be_done_is_not_told_as_done() {
    let mut world = World::new(json!({"completions": 2, "parallelism": 2, "backoffLimit": 0}));
    let bound = |world: &World| {
        plan(&world.job, &world.pods, world.record, &Time(at(world.now_s)), Hands::Bound)
    };
    let plan = bound(&world);
    assert_eq!((plan.create.len(), plan.status.active), (0, None));
    world.settle();
    world.end("Failed");
    let plan = bound(&world);
    assert_eq!((plan.delete.len(), plan.status.active, plan.release.len()), (0, Some(1), 1));
    assert!(condition(&plan.status, "FailureTarget").is_none());
}

#[test]
fn no_more_is_remembered_at_a_time_than_a_status_may_hold() {
    let mut world = World::new(json!({"parallelism": 600}));
    world.settle();
    while world.pods.iter().any(|pod| pods::is_active(pod)) {
        world.end("Succeeded");
    }
    let plan = world.plan();
    assert_eq!(plan.release.len(), 500);
    let uncounted = plan.status.uncounted_terminated_pods.clone().unwrap();
    assert_eq!(uncounted.succeeded.map(|list| list.len()), Some(500));
    assert!(condition(&plan.status, "Complete").is_none());
    world.settle();
    assert_eq!(world.told(), "600 ok, 0 failed, Complete");
}
