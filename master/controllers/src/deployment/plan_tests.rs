//! A Deployment's plans, played out against a small model of ReplicaSets.

use serde_json::{Value, json};

use super::*;
use crate::testing::{at, object};

/// A deployment with its sets, as the API server and the ReplicaSet controller would keep them.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now_s: i64,
    generation: i64,
    /// Each write, in words.
    trace: Vec<String>,
    /// Pods get ready as soon as they are there.
    healthy: bool,
}

impl World {
    fn new(replicas: i32, strategy: Value) -> Self {
        let deployment = object(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 1},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "strategy": strategy, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
                "template": template("web:1")}}));
        let trace = Vec::new();
        Self { deployment, sets: Vec::new(), now_s: 1_000, generation: 1, trace, healthy: true }
    }

    fn rolling(replicas: i32, surge: Value, unavailable: Value) -> Self {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        Self::new(replicas, json!({"type": "RollingUpdate", "rollingUpdate": rolling}))
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut value = serde_json::to_value(&self.deployment).unwrap();
        edit(&mut value["spec"]);
        self.generation += 1;
        value["metadata"]["generation"] = json!(self.generation);
        self.deployment = object(value);
    }

    fn image(&mut self, image: &str) {
        self.edit(|spec| spec["template"] = template(image));
    }

    /// Plans and writes once; whether anything was written.
    fn step(&mut self) -> bool {
        let running = self
            .sets
            .iter()
            .map(|set| {
                let pods = set.status.as_ref().map_or(0, |status| status.replicas);
                (name_of(&set.metadata).to_owned(), pods > 0)
            })
            .collect();
        let now = Time(at(self.now_s));
        let view = View { deployment: &self.deployment, sets: self.sets.clone(), running, now };
        let plan = plan(view);
        let wrote = !plan.steps.is_empty();
        plan.steps.into_iter().for_each(|step| self.write(step));
        self.now_s += 1;
        wrote
    }

    fn write(&mut self, step: Step) {
        match step {
            Step::Create(mut set) => {
                self.trace.push(format!("{} 0>{}", image(&set), replicas(&set)));
                set.metadata.creation_timestamp = Some(Time(at(self.now_s)));
                set.metadata.uid = Some(format!("uid-{}", name_of(&set.metadata)));
                self.sets.push(set);
            }
            Step::Write { set, from } => {
                if from != replicas(&set) {
                    self.trace.push(format!("{} {from}>{}", image(&set), replicas(&set)));
                }
                let known =
                    self.sets.iter_mut().find(|known| known.metadata.name == set.metadata.name);
                *known.unwrap() = set;
            }
            Step::Delete(set) => {
                self.trace.push(format!("{} deleted", image(&set)));
                self.sets.retain(|known| known.metadata.name != set.metadata.name);
            }
            Step::Revision(revision) => {
                let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                annotations.insert(revision::REVISION.to_owned(), revision);
            }
            Step::Status(status) => self.deployment.status = Some(status),
        }
    }

    /// The ReplicaSet controller and the kubelets do their part.
    fn pods_follow(&mut self) {
        for set in &mut self.sets {
            let size = replicas(set);
            let status = set.status.get_or_insert_default();
            let ready = status.available_replicas.unwrap_or(0).min(size);
            let ready = if self.healthy { size } else { ready };
            status.replicas = size;
            status.ready_replicas = Some(ready);
            status.available_replicas = Some(ready);
        }
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            let wrote = self.step();
            self.check_bounds();
            let before = self.sets.clone();
            self.pods_follow();
            if !wrote && before == self.sets {
                return;
            }
        }
        panic!("does not settle: {:?}", self.trace);
    }

    /// Never more pods than allowed, never fewer serving than promised (if they once did).
    fn check_bounds(&self) {
        let sets = Sets { deployment: &self.deployment, sets: self.sets.clone(), new: None };
        let max = wanted(&self.deployment) + super::super::rollout::max_surge(&self.deployment);
        assert!(sets.total() <= max, "{} pods, at most {max}: {:?}", sets.total(), self.trace);
    }

    fn told(&mut self) -> String {
        std::mem::take(&mut self.trace).join(", ")
    }

    fn condition(&self, kind: &str) -> String {
        let status = self.deployment.status.clone().unwrap();
        let condition = conditions::get(&status, kind).unwrap();
        format!("{} {}", condition.status, condition.reason.clone().unwrap())
    }
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn image(set: &ReplicaSet) -> String {
    let spec = set.spec.as_ref().unwrap().template.as_ref().unwrap().spec.as_ref().unwrap();
    spec.containers[0].image.clone().unwrap().replace("web:", "v")
}

#[test]
fn first_rollout_creates_one_set_and_completes() {
    let mut world = World::rolling(3, json!("25%"), json!("25%"));
    world.step();
    assert_eq!(world.condition("Available"), "False MinimumReplicasUnavailable");
    assert_eq!(world.condition("Progressing"), "True NewReplicaSetCreated");
    world.settle();
    assert_eq!(world.told(), "v1 0>3");
    assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
    assert_eq!(world.condition("Progressing"), "True NewReplicaSetAvailable");
    let annotations = world.deployment.metadata.annotations.clone().unwrap();
    assert_eq!(annotations[revision::REVISION], "1");
    assert_eq!(world.deployment.status.clone().unwrap().observed_generation, Some(1));
}

#[test]
fn rolling_update_keeps_its_bounds() {
    let mut world = World::rolling(3, json!("25%"), json!("25%"));
    world.settle();
    world.told();
    world.image("web:2");
    world.settle();
    assert_eq!(world.told(), "v2 0>1, v1 3>2, v2 1>2, v1 2>1, v2 2>3, v1 1>0");
    let mut world = World::rolling(2, json!(0), json!(1));
    world.settle();
    world.told();
    world.image("web:2");
    world.settle();
    assert_eq!(world.told(), "v2 0>0, v1 2>1, v2 0>1, v1 1>0, v2 1>2");
}

#[test]
fn recreate_waits_for_the_old_pods_to_go() {
    let mut world = World::new(2, json!({"type": "Recreate"}));
    world.settle();
    world.told();
    world.image("web:2");
    assert!(world.step());
    assert_eq!(world.told(), "v1 2>0");
    world.step();
    assert_eq!(world.told(), "", "old pods are still there");
    world.settle();
    assert_eq!(world.told(), "v2 0>2");
}

#[test]
fn undo_uses_the_old_set_again_with_a_new_revision() {
    let mut world = World::rolling(1, json!(1), json!(0));
    world.settle();
    world.image("web:2");
    world.settle();
    world.told();
    world.image("web:1");
    world.settle();
    assert_eq!(world.told(), "v1 0>1, v2 1>0");
    let annotations = |set: &ReplicaSet| set.metadata.annotations.clone().unwrap();
    assert_eq!(annotations(&world.sets[0])[revision::REVISION], "3");
    assert_eq!(annotations(&world.sets[0])["deployment.kubernetes.io/revision-history"], "1");
    let annotations = world.deployment.metadata.annotations.clone().unwrap();
    assert_eq!(annotations[revision::REVISION], "3");
}

#[test]
fn history_is_cut_to_its_limit() {
    let mut world = World::rolling(1, json!(1), json!(0));
    for version in 1..=5 {
        world.image(&format!("web:{version}"));
        world.settle();
    }
    let mut kept: Vec<String> = world.sets.iter().map(image).collect();
    kept.sort();
    assert_eq!(kept, ["v3", "v4", "v5"]);
}

#[test]
fn hanging_rollout_stops_at_its_bounds_and_is_reported_after_the_deadline() {
    let mut world = World::rolling(4, json!(1), json!(1));
    world.settle();
    world.told();
    world.healthy = false;
    world.image("web:2");
    world.settle();
    assert_eq!(world.told(), "v2 0>1, v1 4>3, v2 1>2");
    assert_eq!(world.condition("Available"), "True MinimumReplicasAvailable");
    let now = Time(at(world.now_s));
    let sets = world.sets.clone();
    let view = View { deployment: &world.deployment, sets, running: BTreeMap::new(), now };
    assert!(matches!(plan(view).requeue, Requeue::After(delay) if delay.as_secs() > 500));
    world.now_s += 601;
    world.settle();
    assert_eq!(world.condition("Progressing"), "False ProgressDeadlineExceeded");
}

#[test]
fn resize_scales_the_one_set_and_during_a_rollout_all_in_proportion() {
    let mut world = World::rolling(2, json!("25%"), json!("25%"));
    world.settle();
    world.told();
    world.edit(|spec| spec["replicas"] = json!(5));
    world.settle();
    assert_eq!(world.told(), "v1 2>5");
    // Upstream's example: 10 replicas, a surge of 3, rolled out halfway, resized to 15.
    let mut world = World::rolling(10, json!(3), json!(2));
    world.settle();
    world.healthy = false;
    world.image("web:2");
    world.settle();
    world.told();
    let sizes = |world: &World| world.sets.iter().map(replicas).collect::<Vec<_>>();
    assert_eq!(sizes(&world), [8, 5]);
    world.edit(|spec| spec["replicas"] = json!(15));
    world.step();
    assert_eq!(sizes(&world), [11, 7]);
}

#[test]
fn paused_deployment_scales_but_does_not_roll() {
    let mut world = World::rolling(1, json!(1), json!(0));
    world.settle();
    world.told();
    world.edit(|spec| spec["paused"] = json!(true));
    world.image("web:2");
    world.edit(|spec| spec["replicas"] = json!(2));
    world.settle();
    assert_eq!(world.told(), "v1 1>2");
    assert_eq!(world.condition("Progressing"), "Unknown DeploymentPaused");
    world.edit(|spec| spec["paused"] = json!(false));
    world.settle();
    assert_eq!(world.sets.iter().map(replicas).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn plan_of_a_settled_deployment_is_empty() {
    for surge in [0, 1] {
        let mut world = World::rolling(3, json!(surge), json!(1));
        world.settle();
        assert!(!world.step());
    }
}
