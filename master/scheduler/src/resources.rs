//! Amounts of resources as whole numbers: what a pod asks for, what a node has.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource;
use master_api::quantity::Quantity;
use master_client::pod::{Container, ContainerStatus, PodSpec, PodStatus};

/// What a container without requests is taken to use when nodes are compared (never when they are
/// filtered): upstream's 100m and 200 MB.
const UNSTATED_CPU_M: i64 = 100;
const UNSTATED_MEMORY: i64 = 200 * 1024 * 1024;

type Quantities = BTreeMap<String, resource::Quantity>;

/// Amounts: cpu in thousandths, memory and storage in bytes, the rest in units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) cpu_m: i64,
    pub(crate) memory: i64,
    pub(crate) storage: i64,
    pub(crate) pods: i64,
    /// Devices, huge pages and whatever else has a name.
    pub(crate) others: BTreeMap<String, i64>,
}

impl Resources {
    pub(crate) fn read(quantities: &Quantities) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in quantities {
            let Ok(quantity) = Quantity::parse(&quantity.0) else { continue };
            match name.as_str() {
                "cpu" => amounts.cpu_m = quantity.millis(),
                "memory" => amounts.memory = quantity.units(),
                "ephemeral-storage" => amounts.storage = quantity.units(),
                "pods" => amounts.pods = quantity.units(),
                _ => drop(amounts.others.insert(name.clone(), quantity.units())),
            }
        }
        amounts
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// The larger of each.
    fn raise(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        self.cpu_m = with(self.cpu_m, other.cpu_m);
        self.memory = with(self.memory, other.memory);
        self.storage = with(self.storage, other.storage);
        self.pods = with(self.pods, other.pods);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = with(*own, *amount);
        }
    }
}

/// What a pod needs of a node: its containers together, or its greediest moment while starting, with
/// its runtime's overhead. A container that is being resized counts with the most of what it wants, was
/// allocated and has.
pub(crate) fn request_of(spec: &PodSpec, status: Option<&PodStatus>) -> Resources {
    need(spec, status, false)
}

/// The same with upstream's guess for containers that state nothing.
pub(crate) fn guess_of(spec: &PodSpec, status: Option<&PodStatus>) -> Resources {
    need(spec, status, true)
}

fn need(spec: &PodSpec, status: Option<&PodStatus>, guess: bool) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of_container(container, status, guess));
    }
    // Side cars (init containers that restart) run on beside whatever starts after them.
    let mut side_cars = Resources::default();
    let mut starting = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut moment = side_cars.clone();
        let is_side_car = container.restart_policy.as_deref() == Some("Always");
        moment.add(&of_container(container, status.filter(|_| is_side_car), guess));
        starting.raise(&moment);
        if is_side_car {
            side_cars = moment;
        }
    }
    running.add(&side_cars);
    running.raise(&starting);
    let pod_level = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if let Some(requests) = pod_level {
        let stated = Resources::read(requests);
        if requests.contains_key("cpu") {
            running.cpu_m = stated.cpu_m;
        }
        if requests.contains_key("memory") {
            running.memory = stated.memory;
        }
    }
    if let Some(overhead) = &spec.overhead {
        running.add(&Resources::read(overhead));
    }
    running.pods = 1;
    running
}

/// What the node says of a container, once it says what the container has.
fn status_of<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|found| found.name == name && found.resources.is_some())
}

/// Whether the node will never give the pod what its specification says by now.
fn is_infeasible(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    let pending = conditions.find(|found| found.type_ == "PodResizePending");
    pending.is_some_and(|found| found.reason.as_deref() == Some("Infeasible"))
}

fn of_container(container: &Container, status: Option<&PodStatus>, guess: bool) -> Resources {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut amounts = requests.map(Resources::read).unwrap_or_default();
    let own = status.and_then(|status| Some((status, status_of(status, &container.name)?)));
    if let Some((status, own)) = own {
        if is_infeasible(status) {
            amounts = Resources::default();
        }
        let actual = own.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        for known in [actual, own.allocated_resources.as_ref()].into_iter().flatten() {
            amounts.raise(&Resources::read(known));
        }
    }
    if guess && amounts.cpu_m == 0 {
        amounts.cpu_m = UNSTATED_CPU_M;
    }
    if guess && amounts.memory == 0 {
        amounts.memory = UNSTATED_MEMORY;
    }
    amounts
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(cpu: &str) -> Value {
        json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } })
    }

    #[test]
    fn a_pod_needs_its_sum_or_its_greediest_start() {
        let table = [
            (json!({ "containers": [container("100m"), container("200m")] }), 300),
            (
                json!({ "initContainers": [container("1")], "containers": [container("100m")] }),
                1000,
            ),
            (
                json!({ "initContainers": [container("1"), container("2")], "containers": [container("100m")] }),
                2000,
            ),
            (json!({ "containers": [container("100m")], "overhead": { "cpu": "50m" } }), 150),
            (json!({ "containers": [] }), 0),
        ];
        for (spec, cpu_m) in table {
            let read: PodSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(request_of(&read, None).cpu_m, cpu_m, "{spec}");
        }
        let mut side_car = container("500m");
        side_car["restartPolicy"] = json!("Always");
        let spec = json!({ "initContainers": [side_car, container("1")], "containers": [container("100m")] });
        let read: PodSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(request_of(&read, None).cpu_m, 1500);
    }

    #[test]
    fn container_that_is_resized_counts_with_the_most_of_what_it_wants_and_has() {
        let spec = json!({ "containers": [container("200m")] });
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let check = |allocated: &str, actual: &str, reason: &str, cpu_m: i64| {
            let status = json!({
                "conditions": [{ "type": "PodResizePending", "status": "True", "reason": reason }],
                "containerStatuses": [{
                    "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "allocatedResources": { "cpu": allocated },
                    "resources": { "requests": { "cpu": actual } },
                }],
            });
            let status: PodStatus = serde_json::from_value(status).unwrap();
            assert_eq!(request_of(&spec, Some(&status)).cpu_m, cpu_m, "{allocated} {actual}");
        };
        check("200m", "300m", "", 300);
        check("300m", "100m", "", 300);
        check("100m", "100m", "Deferred", 200);
        check("100m", "150m", "Infeasible", 150);
    }

    #[test]
    fn silent_containers_are_guessed_for_scores_only() {
        let read: PodSpec =
            serde_json::from_value(json!({ "containers": [{ "name": "c" }] })).unwrap();
        assert_eq!((request_of(&read, None).cpu_m, guess_of(&read, None).cpu_m), (0, 100));
    }
}
