//! A Job's plans, played out against pods that end as told.

use serde_json::{Value, json};

use super::*;
use crate::testing::{at, object, pods};

struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    now_s: i64,
    made: usize,
}

impl World {
    fn new(spec: Value) -> Self {
        let job = object(json!({"metadata": {"name": "j", "namespace": "default", "uid": "u"},
            "spec": spec}));
        Self { job, pods: Vec::new(), now_s: 1_000_000, made: 0 }
    }

    /// Plans and writes until nothing is left to do; tells how many pods are active.
    fn settle(&mut self) -> usize {
        for _ in 0..20 {
            let plan = plan(&self.job, &self.pods, &Time(at(self.now_s)));
            let before = (self.job.clone(), self.pods.clone());
            assert!(!plan.expired);
            self.job.status = Some(plan.status);
            for pod in plan.release {
                let place = self.pods.iter().position(|known| uid(known) == uid(&pod)).unwrap();
                let mut pod = (*pod).clone();
                pod.metadata.finalizers = None;
                self.pods[place] = Arc::new(pod);
            }
            self.pods.retain(|pod| !plan.delete.iter().any(|gone| uid(gone) == uid(pod)));
            for index in plan.create {
                self.made += 1;
                let mut pod = (*pods(&format!("p{}", self.made))[0]).clone();
                pod.metadata.finalizers = Some(vec![TRACKING.to_owned()]);
                if let Some(index) = index {
                    let annotations = pod.metadata.annotations.get_or_insert_default();
                    annotations.insert(INDEX.to_owned(), index.to_string());
                }
                self.pods.push(Arc::new(pod));
            }
            if before == (self.job.clone(), self.pods.clone()) {
                break;
            }
        }
        self.pods.iter().filter(|pod| pods::is_active(pod)).count()
    }

    /// The oldest active pod ends.
    fn end(&mut self, phase: &str) {
        let place = self.pods.iter().position(|pod| pods::is_active(pod)).unwrap();
        let mut pod = (*self.pods[place]).clone();
        pod.status.get_or_insert_default().phase = Some(phase.to_owned());
        self.pods[place] = Arc::new(pod);
    }

    fn told(&self) -> String {
        let status = self.job.status.clone().unwrap();
        let end = ["Complete", "Failed", "Suspended"]
            .into_iter()
            .find(|kind| condition(&status, kind).is_some());
        let (succeeded, failed) = totals(&status);
        format!("{succeeded} ok, {failed} failed, {}", end.unwrap_or("runs"))
    }
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
    assert!(status.completion_time.is_some() && status.uncounted_terminated_pods.is_none());
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
    let mut world = World::new(json!({"completions": 1, "backoffLimit": 1}));
    assert_eq!(world.settle(), 1);
    world.end("Failed");
    let status = world.pods[0].metadata.creation_timestamp.clone();
    assert!(status.is_some());
    world.now_s -= 995; // the pod was made five seconds ago
    assert_eq!(world.settle(), 0, "it waits");
    world.now_s += 10;
    assert_eq!(world.settle(), 1);
    world.end("Failed");
    world.now_s += 1_000;
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "0 ok, 2 failed, Failed");
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
    assert_eq!(world.job.status.unwrap().completed_indexes.as_deref(), Some("0-3"));
    for text in ["", "0", "0,1", "0-2,5", "1,3,7-9"] {
        assert_eq!(print_indexes(&parse_indexes(text)), text);
    }
}

#[test]
fn deadline_suspension_and_time_to_live_hold() {
    let mut world =
        World::new(json!({"activeDeadlineSeconds": 100, "ttlSecondsAfterFinished": 50}));
    world.settle();
    world.now_s += 100;
    assert_eq!(world.settle(), 0);
    assert_eq!(world.told(), "0 ok, 0 failed, Failed");
    world.now_s += 49;
    let later = |world: &World| plan(&world.job, &world.pods, &Time(at(world.now_s))).expired;
    assert!(!later(&world));
    world.now_s += 1;
    assert!(later(&world));
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
    let mut pod = (*world.pods[0]).clone();
    pod.spec.get_or_insert_default().restart_policy = Some("OnFailure".to_owned());
    pod.status = Some(object::<Pod>(json!({"status": {"phase": "Running",
        "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 2}]}})).status.unwrap());
    world.pods[0] = Arc::new(pod);
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
    let fail = |world: &mut World, kind: &str| {
        let mut pod = (*world.pods[0]).clone();
        let condition = json!([{"type": kind, "status": "True"}]);
        let status = pod.status.get_or_insert_default();
        status.phase = Some("Failed".to_owned());
        status.conditions = serde_json::from_value(condition).unwrap();
        world.pods[0] = Arc::new(pod);
    };
    assert_eq!(world.settle(), 2);
    // A pod that is going is waited for: its end decides what it counts for.
    let mut going = (*world.pods[0]).clone();
    going.metadata.deletion_timestamp = Some(Time(at(1)));
    world.pods[0] = Arc::new(going);
    assert_eq!(world.settle(), 1);
    assert_eq!((world.told(), world.pods.len()), ("0 ok, 0 failed, runs".to_owned(), 2));
    fail(&mut world, "DisruptionTarget");
    world.settle();
    world.pods.remove(0);
    world.now_s += 1_000;
    assert_eq!(world.settle(), 2);
    assert_eq!(world.told(), "0 ok, 0 failed, runs");
    fail(&mut world, "Bad");
    assert_eq!(world.settle(), 0);
    let status = world.job.status.clone().unwrap();
    assert_eq!(condition(&status, "Failed").unwrap().reason.as_deref(), Some("PodFailurePolicy"));
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
    let status = world.job.status.clone().unwrap();
    assert_eq!(condition(&status, "Complete").unwrap().reason.as_deref(), Some("SuccessPolicy"));
    // What fails while it is brought down changes nothing.
    assert!(condition(&status, "FailureTarget").is_none());
}
