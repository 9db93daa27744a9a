//! Whether a pod that was bound to this node may run here: what the scheduler looks at, looked at once more.
//!
//! Pure. Whoever binds a pod by hand, or with an old view of the node, is told by a pod that has failed. A pod that was
//! admitted once stays, whatever becomes of the node.
//!
//! # Path
//! `workers.rs` → here; refused pods → `worker/report.rs`
//!
//! # Errors
//! Reasons and messages are upstream's (pkg/kubelet/lifecycle/predicate.go).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, Pod, Taint, Toleration};

use crate::amount;
use crate::config::Config;
use crate::context::Machine;
use crate::plan::Waiting;
use crate::pod;
use crate::resize::{self, Need};

/// Pods of this priority, and static ones, are not refused for want of room.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// A port of the machine that a pod takes for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    ip: String,
    protocol: String,
    number: i32,
}

impl Port {
    fn is_with(&self, other: &Self) -> bool {
        let (one, two) = (self.ip.as_str(), other.ip.as_str());
        let is_any = one == "0.0.0.0" || two == "0.0.0.0";
        (self.number, &self.protocol) == (other.number, &other.protocol) && (is_any || one == two)
    }
}

/// What a pod takes of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) need: Need,
    /// Resources other than CPU and memory.
    other: BTreeMap<String, u64>,
    ports: Vec<Port>,
}

impl Claim {
    pub(crate) fn of(pod: &Pod) -> Self {
        let containers = || pod::containers(pod).map(|(_, container)| container);
        let spec = pod::spec(pod);
        let of_containers = containers().filter_map(|container| container.resources.as_ref());
        let lists = of_containers.chain(&spec.resources);
        let lists = lists.flat_map(|it| [&it.requests, &it.limits]).chain([&spec.overhead]);
        let lists = lists.flatten();
        let names: BTreeSet<&String> = lists.flat_map(BTreeMap::keys).collect();
        let other = names.into_iter().filter(|name| !matches!(name.as_str(), "cpu" | "memory"));
        let other = other.map(|name| (name.clone(), resize::request(pod, name, amount::units)));
        let ports = containers().flat_map(|container| container.ports.iter().flatten());
        let ports = ports.filter_map(|port| {
            let text = |text: &Option<String>, default: &str| {
                text.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
            };
            Some(Port {
                ip: text(&port.host_ip, "0.0.0.0"),
                protocol: text(&port.protocol, "TCP"),
                number: port.host_port.filter(|number| *number > 0)?,
            })
        });
        Self { need: resize::need(pod), other: other.collect(), ports: ports.collect() }
    }

    #[cfg(test)]
    pub(crate) fn of_need(need: Need) -> Self {
        Self { need, ..Self::default() }
    }

    fn amount(&self, resource: &str) -> u64 {
        match resource {
            "pods" => 1,
            "cpu" => self.need.cpu_milli,
            "memory" => self.need.memory_bytes,
            _ => self.other.get(resource).copied().unwrap_or(0),
        }
    }
}

/// For whom what is known of a node is what it was after they had come, not what a copy of it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fresh {
    ForNobody,
    /// For the pods of these uids.
    For(BTreeSet<String>),
    ForAll,
}

/// What a node says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    name: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    allocatable: BTreeMap<String, u64>,
    fresh: Fresh,
}

impl Facts {
    /// What its object says.
    pub(crate) fn read(node: &Node, fresh: Fresh) -> Self {
        let allocatable = node.status.iter().flat_map(|it| it.allocatable.iter().flatten());
        let amount = |(name, quantity): (&String, _)| {
            let read = if name == "cpu" { amount::milli } else { amount::units };
            Some((name.clone(), read(quantity)?))
        };
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: node.spec.iter().flat_map(|it| it.taints.iter().flatten()).cloned().collect(),
            allocatable: allocatable.filter_map(amount).collect(),
            fresh,
        }
    }

    fn is_fresh_for(&self, pod: &Pod) -> bool {
        match &self.fresh {
            Fresh::ForNobody => false,
            Fresh::For(uids) => uids.contains(pod::uid(pod)),
            Fresh::ForAll => true,
        }
    }

    /// What is known of a node that has no object.
    pub(crate) fn own(config: &Config, machine: Machine, fresh: Fresh) -> Self {
        let amounts = [("cpu", machine.cpu_milli), ("memory", machine.memory_bytes)];
        Self {
            name: config.node_name.clone(),
            labels: config.own_labels().into_iter().collect(),
            taints: Vec::new(),
            allocatable: amounts.map(|(name, amount)| (name.to_owned(), amount)).into(),
            fresh,
        }
    }
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    /// Its reason and message.
    Refused(Waiting),
    /// It would be refused, if the node were still as the copy of it shows.
    Doubted,
}

/// Judges a pod beside others that were admitted.
pub(crate) fn judge(pod: &Pod, facts: &Facts, others: &[Claim]) -> Verdict {
    let refused =
        |reason: &str, message: &str| Verdict::Refused((reason.to_owned(), message.to_owned()));
    let os = pod.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/os"));
    if os.is_some_and(|os| os != "linux") {
        let text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return refused("PodOSSelectorNodeLabelDoesNotMatch", text);
    }
    if pod::spec(pod).os.as_ref().is_some_and(|os| os.name != "linux") {
        let text = "Failed to admit pod as the OS field doesn't match node OS";
        return refused("PodOSNotSupported", text);
    }
    let claim = Claim::of(pod);
    let lacking = match is_critical(pod) {
        // Upstream takes other pods down for it.
        true => None,
        false => lacking(&claim, facts, others),
    };
    let unfit = || {
        let (name, why) = unfit(pod, &claim, facts, others)?;
        Some((name.to_owned(), format!("Predicate {name} failed: {why}")))
    };
    match lacking.or_else(unfit) {
        None => Verdict::Admitted,
        Some(_) if !facts.is_fresh_for(pod) => Verdict::Doubted,
        Some(why) => Verdict::Refused(why),
    }
}

fn is_critical(pod: &Pod) -> bool {
    pod::is_static(pod)
        || pod::spec(pod).priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY)
}

/// The first resource of which the node has not enough left.
fn lacking(claim: &Claim, facts: &Facts, others: &[Claim]) -> Option<Waiting> {
    let first = ["pods", "cpu", "memory", "ephemeral-storage"];
    let rest = claim.other.keys().map(String::as_str).filter(|name| !first.contains(name));
    first.into_iter().chain(rest).find_map(|resource| {
        let known = facts.allocatable.get(resource).copied();
        // What the cluster knows and the node does not is none of its business.
        if known.is_none() && (is_extended(resource) || first.contains(&resource)) {
            return None;
        }
        let (capacity, requested) = (known.unwrap_or(0), claim.amount(resource));
        let used = others.iter().map(|other| other.amount(resource)).fold(0, u64::saturating_add);
        (requested > 0 && used.saturating_add(requested) > capacity).then(|| {
            let text = format!(
                "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            (format!("OutOf{resource}"), text)
        })
    })
}

/// Whether a resource is of somebody's own making.
fn is_extended(resource: &str) -> bool {
    resource.split_once('/').is_some_and(|(domain, _)| {
        !domain.ends_with("kubernetes.io") && !resource.starts_with("requests.")
    })
}

/// What but resources keeps the pod from this node: by which rule, and why.
fn unfit(
    pod: &Pod,
    claim: &Claim,
    facts: &Facts,
    others: &[Claim],
) -> Option<(&'static str, &'static str)> {
    let spec = pod::spec(pod);
    if !is_wanted(pod, facts) {
        return Some(("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    if spec.node_name.as_ref().is_some_and(|name| !name.is_empty() && *name != facts.name) {
        return Some(("NodeName", "node(s) didn't match the requested node name"));
    }
    let mut taken = others.iter().flat_map(|other| &other.ports);
    if taken.any(|port| claim.ports.iter().any(|wanted| wanted.is_with(port))) {
        let why = "node(s) didn't have free ports for the requested pod ports";
        return Some(("NodePorts", why));
    }
    let mut taints = facts.taints.iter().filter(|taint| taint.effect == "NoExecute");
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let is_borne = |taint: &Taint| tolerations.iter().any(|it| tolerates(it, taint));
    let is_unborne = !pod::is_static(pod) && taints.any(|taint| !is_borne(taint));
    is_unborne.then_some(("TaintToleration", "node(s) had taints that the pod didn't tolerate"))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let fits = |wanted: &Option<String>, is: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == is)
    };
    let value = |text: &Option<String>| text.clone().unwrap_or_default();
    fits(&toleration.effect, &taint.effect)
        && fits(&toleration.key, &taint.key)
        && match toleration.operator.as_deref().unwrap_or_default() {
            "" | "Equal" => value(&toleration.value) == value(&taint.value),
            "Exists" => true,
            _ => false,
        }
}

/// Whether the pod's node selector and required affinity mean this node.
fn is_wanted(pod: &Pod, facts: &Facts) -> bool {
    let spec = pod::spec(pod);
    let selected = |(key, value): (&String, &String)| facts.labels.get(key) == Some(value);
    if !spec.node_selector.iter().flatten().all(selected) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|it| it.node_affinity.as_ref());
    let required =
        affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let Some(required) = required else { return true };
    required.node_selector_terms.iter().any(|term| {
        let labels = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let of_label = |it: &NodeSelectorRequirement| holds(it, facts.labels.get(&it.key));
        let of_field = |it: &NodeSelectorRequirement| {
            it.key == "metadata.name" && holds(it, Some(&facts.name))
        };
        !(labels.is_empty() && fields.is_empty())
            && labels.iter().all(of_label)
            && fields.iter().all(of_field)
    })
}

fn holds(wanted: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.contains(value));
    let number = |text: &String| text.parse::<i64>().ok();
    let compared = value.and_then(number).zip(values.first().and_then(number));
    match wanted.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared.is_some_and(|(value, bound)| value > bound),
        "Lt" => compared.is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
