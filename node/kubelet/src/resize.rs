//! Resizing a pod in place: what its containers were given, whether the node can give more, what to change.
//!
//! Pure. A pod's specification says what is wanted; the node *allocates* it when it fits; each running
//! container is then brought from what it *has* to that. Everything else in the kubelet works with the
//! pod as it is allocated.
//!
//! # Path
//! `worker.rs` → here → `plan.rs` → `worker/sizes.rs` → `node_cri::Runtime`, `cgroup.rs`
//!
//! # Invariants
//! - What is allocated never exceeds the node, unless it did before and does not grow.
//! - A container that was not resized costs nothing: what it was started with is in its annotation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use crate::amount;
use crate::context::Machine;
use crate::pod::{self, Role};
use crate::view::{ContainerView, PodView, STARTED_WITH};

/// Below these, the kernel makes no difference, and what the specification says is shown.
const SHARES_MIN: u64 = 2;
const CPU_LIMIT_MIN_MILLI: u64 = 10;

/// What is remembered of a pod whose containers were resized.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What the node has set aside, by container.
    pub(crate) allocated: BTreeMap<String, ResourceRequirements>,
    /// What containers were updated with, by id.
    pub(crate) updated: BTreeMap<String, ResourceRequirements>,
    /// The ids, by name, of containers that were stopped to be started with other limits.
    #[serde(default)]
    pub(crate) stopped: BTreeMap<String, String>,
}

impl Record {
    /// The pod as the node has it: where a container says otherwise now, with what was allocated before.
    pub(crate) fn as_allocated(&self, pod: &Arc<Pod>, view: &PodView) -> Arc<Pod> {
        self.as_started(pod, |name| view.latest(name).map(|found| &found.annotations))
    }

    /// The same, with the annotations of each container's newest instance.
    pub(crate) fn as_started<'a>(
        &self,
        pod: &Arc<Pod>,
        newest: impl Fn(&str) -> Option<&'a BTreeMap<String, String>>,
    ) -> Arc<Pod> {
        self.with_sizes(pod, |container| {
            let known = self.allocated.get(&container.name).cloned();
            known.or_else(|| newest(&container.name).and_then(started_with))
        })
    }

    /// The pod with what its running containers have now.
    pub(crate) fn as_updated(&self, allocated: &Arc<Pod>, view: &PodView) -> Arc<Pod> {
        self.with_sizes(allocated, |container| {
            let found = view.latest(&container.name).filter(|found| found.is_running())?;
            Some(self.has(found, container))
        })
    }

    fn with_sizes(
        &self,
        pod: &Arc<Pod>,
        size: impl Fn(&Container) -> Option<ResourceRequirements>,
    ) -> Arc<Pod> {
        let sizes: BTreeMap<String, ResourceRequirements> = pod::containers(pod)
            .filter_map(|(_, container)| {
                let size = size(container)?;
                let is_same = container.resources.clone().unwrap_or_default() == size;
                (!is_same).then(|| (container.name.clone(), size))
            })
            .collect();
        if sizes.is_empty() {
            return pod.clone();
        }
        let mut pod = Pod::clone(pod);
        let spec = pod.spec.get_or_insert_default();
        let inits = spec.init_containers.iter_mut().flatten();
        for container in inits.chain(&mut spec.containers) {
            if let Some(size) = sizes.get(&container.name) {
                container.resources = Some(size.clone());
            }
        }
        Arc::new(pod)
    }

    /// What a container was last updated or started with.
    fn has(&self, found: &ContainerView, container: &Container) -> ResourceRequirements {
        let updated = self.updated.get(&found.id).cloned();
        let had = updated.or_else(|| started_with(&found.annotations));
        had.unwrap_or_else(|| container.resources.clone().unwrap_or_default())
    }

    /// Remembers that all of the pod is allocated as it says.
    pub(crate) fn allocate(&mut self, pod: &Pod) {
        let sizes = pod::containers(pod).map(|(_, container)| {
            (container.name.clone(), container.resources.clone().unwrap_or_default())
        });
        self.allocated = sizes.collect();
    }

    /// Remembers what running containers have, before others sizes are allocated.
    pub(crate) fn keep_running(&mut self, allocated: &Pod, view: &PodView) {
        for found in view.running() {
            if let Some((_, container)) = pod::container(allocated, &found.name) {
                let has = self.has(found, container);
                self.updated.insert(found.id.clone(), has);
            }
        }
    }

    /// Forgets containers that are gone.
    pub(crate) fn prune(&mut self, view: &PodView) {
        let is_there = |id: &String| view.containers.iter().any(|found| found.id == *id);
        self.updated.retain(|id, _| is_there(id));
        self.stopped.retain(|_, id| is_there(id));
    }

    /// Whether a container was stopped to be started with other limits, and none was started since.
    pub(crate) fn awaits(&self, view: &PodView, name: &str) -> bool {
        let latest = view.latest(name).filter(|found| !found.is_running());
        latest.is_some_and(|found| self.stopped.get(name) == Some(&found.id))
    }
}

fn started_with(annotations: &BTreeMap<String, String>) -> Option<ResourceRequirements> {
    serde_json::from_str(annotations.get(STARTED_WITH)?).ok()
}

/// What a container's annotation says of its resources.
pub(crate) fn annotation(container: &Container) -> String {
    serde_json::to_string(&container.resources.clone().unwrap_or_default()).unwrap_or_default()
}

/// CPU and memory that a pod asks of its node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) cpu_milli: u64,
    pub(crate) memory_bytes: u64,
}

impl Need {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }
}

/// What the pod needs of CPU and memory.
pub(crate) fn need(pod: &Pod) -> Need {
    Need {
        cpu_milli: request(pod, "cpu", amount::milli),
        memory_bytes: request(pod, "memory", amount::units),
    }
}

/// What the pod asks for of a resource: its containers together, or its greediest moment while starting, or what it says
/// of itself as a whole; and what running it costs.
pub(crate) fn request(pod: &Pod, resource: &str, read: fn(&Quantity) -> Option<u64>) -> u64 {
    let of = |container: &Container| amount::request(container, resource).and_then(read);
    let whole = amount::request_of_all(pod, resource).and_then(read);
    let amount = whole.unwrap_or_else(|| together(pod, |container| of(container).unwrap_or(0)));
    amount.saturating_add(overhead(pod, resource, read))
}

/// What the pod may not exceed of a resource: what it says of itself as a whole, or its containers together where each of
/// them says; and what running it costs (upstream: pkg/kubelet/cm/helpers_linux.go, `ResourceConfigForPod`).
pub(crate) fn limit(pod: &Pod, resource: &str, read: fn(&Quantity) -> Option<u64>) -> Option<u64> {
    let own = |container: &Container| {
        amount::limit(container, resource).and_then(read).filter(|amount| *amount > 0)
    };
    let whole = amount::limit_of_all(pod, resource).and_then(read).filter(|amount| *amount > 0);
    let of_containers = || {
        let each_says = pod::containers(pod).all(|(_, container)| own(container).is_some());
        each_says.then(|| together(pod, |container| own(container).unwrap_or(0)))
    };
    let amount = whole.or_else(of_containers).filter(|amount| *amount > 0)?;
    Some(amount.saturating_add(overhead(pod, resource, read)))
}

fn overhead(pod: &Pod, resource: &str, read: fn(&Quantity) -> Option<u64>) -> u64 {
    let overhead = pod::spec(pod).overhead.as_ref().and_then(|all| all.get(resource));
    overhead.and_then(read).unwrap_or(0)
}

/// What the containers take together, or at their greediest moment while starting.
pub(crate) fn together(pod: &Pod, of: impl Fn(&Container) -> u64) -> u64 {
    let (mut sidecars, mut starting, mut mains) = (0_u64, 0, 0_u64);
    for (role, container) in pod::containers(pod) {
        let amount = of(container);
        match role {
            Role::Init => starting = starting.max(sidecars.saturating_add(amount)),
            Role::Sidecar => {
                sidecars = sidecars.saturating_add(amount);
                starting = starting.max(sidecars);
            }
            Role::Main => mains = mains.saturating_add(amount),
        }
    }
    mains.saturating_add(sidecars).max(starting)
}

/// What the node says to a pod that wants other sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It wants what it has.
    Same,
    Fits,
    /// Not while the others are here.
    Deferred(String),
    /// Never on this node.
    Infeasible(String),
}

/// Decides over a pod beside others that need `others` together.
pub(crate) fn decide(wanted: &Pod, allocated: &Pod, others: Need, machine: Machine) -> Verdict {
    let is_same = pod::containers(wanted).all(|(_, container)| {
        let known = pod::container(allocated, &container.name);
        known.is_some_and(|(_, known)| {
            known.resources.clone().unwrap_or_default()
                == container.resources.clone().unwrap_or_default()
        })
    });
    if is_same {
        return Verdict::Same;
    }
    let (new, old) = (need(wanted), need(allocated));
    let memory =
        ("memory", new.memory_bytes, old.memory_bytes, others.memory_bytes, machine.memory_bytes);
    let cpu = ("cpu", new.cpu_milli, old.cpu_milli, others.cpu_milli, machine.cpu_milli);
    for (resource, new, old, used, capacity) in [cpu, memory] {
        if new <= old {
            continue;
        }
        if new > capacity {
            return Verdict::Infeasible(format!(
                "Node didn't have enough capacity: {resource}, requested: {new}, capacity: {capacity}"
            ));
        }
        if used.saturating_add(new) > capacity {
            return Verdict::Deferred(format!(
                "Node didn't have enough resource: {resource}, requested: {new}, used: {used}, capacity: {capacity}"
            ));
        }
    }
    Verdict::Fits
}

/// One running container that is to have other limits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Update {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) from: ResourceRequirements,
    pub(crate) to: ResourceRequirements,
}

/// What brings the running containers to what is allocated.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Changes {
    /// Those that give come before those that take.
    pub(crate) updates: Vec<Update>,
    /// Ids of containers that are started again instead.
    pub(crate) restarts: BTreeSet<String>,
    /// Names of containers that were stopped for it and do not run yet.
    pub(crate) awaited: BTreeSet<String>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.restarts.is_empty() && self.awaited.is_empty()
    }
}

/// What differs between the pod as allocated and what its running containers have.
pub(crate) fn changes(allocated: &Pod, view: &PodView, record: &Record) -> Changes {
    let mut changes = Changes::default();
    let names = record.stopped.keys().filter(|name| record.awaits(view, name));
    changes.awaited = names.cloned().collect();
    for (role, container) in pod::containers(allocated) {
        let Some(found) = view.latest(&container.name).filter(|found| found.is_running()) else {
            continue;
        };
        let from = record.has(found, container);
        let to = container.resources.clone().unwrap_or_default();
        let (had, wants) = (Amounts::of(&from), Amounts::of(&to));
        if role == Role::Init || had == wants {
            continue;
        }
        let must_restart = |resource: &str| {
            let mut policies = container.resize_policy.iter().flatten();
            policies.any(|policy| {
                policy.resource_name == resource && policy.restart_policy == "RestartContainer"
            })
        };
        let differs = |resource: &str| match resource {
            "cpu" => (had.cpu_request, had.cpu_limit) != (wants.cpu_request, wants.cpu_limit),
            _ => {
                (had.memory_request, had.memory_limit) != (wants.memory_request, wants.memory_limit)
            }
        };
        if ["cpu", "memory"].into_iter().any(|resource| differs(resource) && must_restart(resource))
        {
            changes.restarts.insert(found.id.clone());
            continue;
        }
        let (id, name) = (found.id.clone(), found.name.clone());
        changes.updates.push(Update { id, name, from, to });
    }
    changes.updates.sort_by_key(|update| {
        let (had, wants) = (Amounts::of(&update.from), Amounts::of(&update.to));
        (wants.memory_limit > had.memory_limit, wants.cpu_limit > had.cpu_limit)
    });
    changes
}

/// Thousandths of a core and bytes; zero is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amounts {
    cpu_request: u64,
    cpu_limit: u64,
    memory_request: u64,
    memory_limit: u64,
}

impl Amounts {
    fn of(size: &ResourceRequirements) -> Self {
        let request = |name: &str| size.requests.as_ref().and_then(|all| all.get(name));
        let limit = |name: &str| size.limits.as_ref().and_then(|all| all.get(name));
        Self {
            cpu_request: request("cpu").and_then(amount::milli).unwrap_or(0),
            cpu_limit: limit("cpu").and_then(amount::milli).unwrap_or(0),
            memory_request: request("memory").and_then(amount::units).unwrap_or(0),
            memory_limit: limit("memory").and_then(amount::units).unwrap_or(0),
        }
    }
}

/// Why an update must wait: the container uses more memory than it would be left.
pub(crate) fn refusal(update: &Update, used_bytes: u64) -> Option<String> {
    let (had, wants) = (Amounts::of(&update.from), Amounts::of(&update.to));
    let is_lower =
        wants.memory_limit > 0 && (had.memory_limit == 0 || wants.memory_limit < had.memory_limit);
    (is_lower && used_bytes >= wants.memory_limit).then(|| {
        format!(
            "cannot decrease memory limits: attempting to set container {:?} memory limit ({}) below current usage ({used_bytes})",
            update.name, wants.memory_limit
        )
    })
}

/// What the runtime says that a container's limits are; `None` is what it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Actual {
    pub(crate) cpu_request_milli: Option<u64>,
    pub(crate) cpu_limit_milli: Option<u64>,
    pub(crate) memory_limit_bytes: Option<u64>,
}

/// What the status shows of a running container: what the runtime says it has, else what it was last given.
pub(crate) fn shown(
    container: &Container,
    found: &ContainerView,
    record: &Record,
) -> ResourceRequirements {
    let mut shown = container.resources.clone().unwrap_or_default();
    if !found.is_running() {
        return shown;
    }
    let (had, wants) = (Amounts::of(&record.has(found, container)), Amounts::of(&shown));
    let actual = found.actual;
    // Where neither says more than the least that the kernel tells apart, the specification's word stands.
    let tells = |value: Option<u64>, had: u64, wants: u64, least: u64| match value {
        Some(value) if value > least || wants > least => value,
        Some(_) => wants,
        None => had,
    };
    if let Some(requests) = &mut shown.requests {
        let cpu = tells(actual.cpu_request_milli, had.cpu_request, wants.cpu_request, SHARES_MIN);
        amount::put(requests, "cpu", cpu, wants.cpu_request);
        amount::put(requests, "memory", had.memory_request, wants.memory_request);
    }
    if let Some(limits) = &mut shown.limits {
        let cpu =
            tells(actual.cpu_limit_milli, had.cpu_limit, wants.cpu_limit, CPU_LIMIT_MIN_MILLI);
        amount::put(limits, "cpu", cpu, wants.cpu_limit);
        let memory = actual.memory_limit_bytes.unwrap_or(had.memory_limit);
        amount::put(limits, "memory", memory, wants.memory_limit);
    }
    shown
}

/// How far a resize is, as the pod's conditions tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Reason and message, and the generation that they are about.
    pub(crate) pending: Option<(&'static str, String, Option<i64>)>,
    /// What went wrong with it, if anything, and the generation that is carried out.
    pub(crate) under_way: Option<(Option<String>, Option<i64>)>,
}

impl Progress {
    /// What the status before says of a resize under way; what is pending is decided anew.
    pub(crate) fn read(pod: &Pod) -> Self {
        let mut conditions =
            pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let found = conditions.find(|found| found.type_ == "PodResizeInProgress");
        let under_way = found.map(|found| {
            let error = found.reason.as_deref() == Some("Error");
            (found.message.clone().filter(|_| error), found.observed_generation)
        });
        Self { pending: None, under_way }
    }

    pub(crate) fn is_deferred(&self) -> bool {
        matches!(self.pending, Some(("Deferred", ..)))
    }
}

/// The text of an event: `TITLE: {"containers": …, "generation": …}`, as upstream's kubelet words it.
pub(crate) fn message(title: &str, pod: &Pod, generation: Option<i64>, error: &str) -> String {
    let summary = |list: &[Container]| -> Vec<serde_json::Value> {
        let each = list.iter().map(|container| {
            serde_json::json!({"name": container.name, "resources": container.resources})
        });
        each.collect()
    };
    let spec = pod::spec(pod);
    let mut text = serde_json::Map::new();
    let inits = summary(spec.init_containers.as_deref().unwrap_or_default());
    for (name, list) in [("initContainers", inits), ("containers", summary(&spec.containers))] {
        if !list.is_empty() {
            text.insert(name.to_owned(), list.into());
        }
    }
    text.insert("generation".to_owned(), generation.unwrap_or_default().into());
    if !error.is_empty() {
        text.insert("error".to_owned(), error.into());
    }
    format!("{title}: {}", serde_json::Value::Object(text))
}

#[cfg(test)]
mod tests;
