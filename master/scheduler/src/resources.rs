//! Amounts of resources as whole numbers: what a pod asks for, what a node has.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource;
use master_api::quantity::Quantity;

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
/// its runtime's overhead.
pub(crate) fn request_of(spec: &PodSpec) -> Resources {
    need(spec, false)
}

/// The same with upstream's guess for containers that state nothing.
pub(crate) fn guess_of(spec: &PodSpec) -> Resources {
    need(spec, true)
}

fn need(spec: &PodSpec, guess: bool) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of_container(container, guess));
    }
    // Side cars (init containers that restart) run on beside whatever starts after them.
    let mut side_cars = Resources::default();
    let mut starting = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut moment = side_cars.clone();
        moment.add(&of_container(container, guess));
        starting.raise(&moment);
        if container.restart_policy.as_deref() == Some("Always") {
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

fn of_container(container: &Container, guess: bool) -> Resources {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut amounts = requests.map(Resources::read).unwrap_or_default();
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
            assert_eq!(request_of(&read).cpu_m, cpu_m, "{spec}");
        }
        let mut side_car = container("500m");
        side_car["restartPolicy"] = json!("Always");
        let spec = json!({ "initContainers": [side_car, container("1")], "containers": [container("100m")] });
        let read: PodSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(request_of(&read).cpu_m, 1500);
    }

    #[test]
    fn silent_containers_are_guessed_for_scores_only() {
        let read: PodSpec =
            serde_json::from_value(json!({ "containers": [{ "name": "c" }] })).unwrap();
        assert_eq!((request_of(&read).cpu_m, guess_of(&read).cpu_m), (0, 100));
    }
}
