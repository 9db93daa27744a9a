//! Slices, planned over and over as pods come and go.

use serde_json::json;

use super::*;
use crate::testing::{object, pods};

struct World {
    service: Service,
    slices: Vec<Arc<EndpointSlice>>,
    made: usize,
}

impl World {
    fn new() -> Self {
        let service =
            object(json!({"metadata": {"name": "web", "namespace": "default", "uid": "s"},
            "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": "web"}}}));
        Self { service, slices: Vec::new(), made: 0 }
    }

    /// Plans for these pods, writes, and tells what was written: `+` created, `~`, `-`.
    fn step(&mut self, pods: &[Arc<Pod>]) -> String {
        let nodes = Store::default();
        let steps = plan(&self.service, pods, &self.slices, &nodes);
        let mut told: Vec<String> = steps.into_iter().map(|step| self.write(step)).collect();
        told.sort();
        assert!(
            plan(&self.service, pods, &self.slices, &nodes).is_empty(),
            "a second look changes nothing"
        );
        told.join(" ")
    }

    fn write(&mut self, step: Step) -> String {
        let size = |slice: &EndpointSlice| slice.endpoints.iter().flatten().count();
        let is = |slice: &EndpointSlice| slice.metadata.name.clone();
        match step {
            Step::Create(mut slice) => {
                self.made += 1;
                slice.metadata.name = Some(format!("web-{}", self.made));
                let told = format!("+{}", size(&slice));
                self.slices.push(Arc::new(slice));
                told
            }
            Step::Write(slice) => {
                let told = format!("~{}", size(&slice));
                let place = self.slices.iter().position(|known| is(known) == is(&slice)).unwrap();
                self.slices[place] = Arc::new(slice);
                told
            }
            Step::Delete(slice) => {
                self.slices.retain(|known| is(known) != is(&slice));
                "-".to_owned()
            }
        }
    }
}

fn crowd(range: std::ops::Range<usize>) -> Vec<Arc<Pod>> {
    let sketch: Vec<String> = range.clone().map(|n| format!("p{n}")).collect();
    let pods = pods(&sketch.join(" "));
    let address = |(n, pod): (usize, Arc<Pod>)| {
        let mut pod = (*pod).clone();
        pod.status.get_or_insert_default().pod_ip = Some(format!("10.0.{}.{}", n / 256, n % 256));
        Arc::new(pod)
    };
    range.zip(pods).map(address).collect()
}

#[test]
fn slices_hold_a_hundred_and_change_one_by_one() {
    let mut world = World::new();
    assert_eq!(world.step(&[]), "+0", "an empty one says: nobody");
    assert_eq!(world.step(&crowd(0..1)), "+1 -", "ports are known only with a pod");
    assert_eq!(world.step(&crowd(0..250)), "+100 +50 ~100");
    assert_eq!(world.step(&crowd(1..250)), "~99");
    assert_eq!(world.step(&crowd(1..251)), "~100");
    world.step(&crowd(1..50));
    let sizes = world.slices.iter().map(|slice| slice.endpoints.iter().flatten().count());
    assert_eq!(sizes.sum::<usize>(), 49, "those that stay, stay where they are");
    assert_eq!(world.step(&[]), "+0 - - -");
}

/// ready, serving, terminating
fn check(publish_all: bool, sketch: &str, expected: [bool; 3]) {
    let mut world = World::new();
    world.service.spec.get_or_insert_default().publish_not_ready_addresses = Some(publish_all);
    let mut pod = (*pods(sketch)[0]).clone();
    pod.status.get_or_insert_default().pod_ip = Some("10.0.0.1".to_owned());
    world.step(&[Arc::new(pod)]);
    let endpoint = world.slices[0].endpoints.as_ref().unwrap()[0].clone();
    let conditions = endpoint.conditions.unwrap();
    let got = [conditions.ready, conditions.serving, conditions.terminating];
    assert_eq!(got, expected.map(Some), "{sketch}, publish all: {publish_all}");
}

#[test]
fn conditions_say_who_may_get_traffic() {
    check(false, "a", [true, true, false]);
    check(false, "a!", [false, false, false]);
    check(false, "a-", [false, true, true]);
    check(true, "a!", [true, false, false]);
    check(true, "a!-", [true, false, true]);
}

#[test]
fn slices_carry_the_labels_that_clients_look_for() {
    let mut world = World::new();
    world.step(&crowd(0..1));
    let metadata = world.slices[0].metadata.clone();
    let labels = metadata.labels.unwrap();
    assert_eq!(labels[SERVICE_NAME], "web");
    assert_eq!(labels[MANAGED_BY], MANAGER);
    assert_eq!(metadata.owner_references.unwrap()[0].uid, "s");
}
