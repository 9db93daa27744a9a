//! A pod as the scheduler sees it: read once when it changes, compared many times.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm,
    PreferredSchedulingTerm, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Wire;
use master_api::selector::LabelSelector;
use master_client::informer::key_of;
use master_client::pod::{Pod, PodSpec};

use crate::resources::{Resources, guess_of, request_of};

pub(crate) type Labels = BTreeMap<String, String>;

static NO_LABELS: Labels = Labels::new();

/// Who schedules pods that name nobody else.
pub(crate) const SCHEDULER_NAME: &str = "default-scheduler";

/// A port of the node that a pod takes: address, protocol, number.
pub(crate) type HostPort = (String, String, i32);

/// What scheduling needs to know of a pod: what takes work to read, and the pod itself for the rest.
#[derive(Debug, Default)]
pub(crate) struct PodInfo {
    /// `namespace/name`.
    pub(crate) key: String,
    pub(crate) priority: i32,
    pub(crate) may_preempt: bool,
    pub(crate) request: Resources,
    pub(crate) guess: Resources,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) node_terms: Option<Vec<NodeTerm>>,
    pub(crate) node_preferences: Vec<(i64, NodeTerm)>,
    pub(crate) spread: Vec<Spread>,
    pub(crate) affinity: PodTerms,
    pub(crate) anti_affinity: PodTerms,
    /// The uid of the controller it belongs to.
    pub(crate) owner: Option<String>,
    /// The node it is bound to.
    pub(crate) node: Option<String>,
    /// The node where others were preempted for it.
    pub(crate) nominated: Option<String>,
    pub(crate) is_gated: bool,
    pub(crate) is_terminating: bool,
    /// Succeeded or failed: uses nothing any more.
    pub(crate) is_finished: bool,
    pub(crate) has_failed: bool,
    /// When it was made, in seconds since the Unix epoch.
    pub(crate) created_s: i64,
    pub(crate) pod: Arc<Pod>,
}

/// Rules about other pods, required and preferred.
#[derive(Debug, Default)]
pub(crate) struct PodTerms {
    pub(crate) required: Vec<PodTerm>,
    pub(crate) preferred: Vec<(i64, PodTerm)>,
}

/// One rule about other pods within a topology.
#[derive(Debug)]
pub(crate) struct PodTerm {
    pub(crate) topology_key: String,
    selector: Option<LabelSelector>,
    namespaces: Vec<String>,
    namespace_selector: Option<LabelSelector>,
}

impl PodTerm {
    fn read(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let mut wire = term.label_selector.clone();
        add_keys(&mut wire, term.match_label_keys.as_deref(), labels, "In");
        add_keys(&mut wire, term.mismatch_label_keys.as_deref(), labels, "NotIn");
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: wire.as_ref().map(selector),
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().map(selector),
        }
    }

    /// Whether the rule is about that pod. `namespace_labels` finds the labels of a namespace.
    pub(crate) fn matches(&self, pod: &PodInfo, namespace_labels: impl Fn(&str) -> Labels) -> bool {
        let in_namespace = self.namespaces.iter().any(|namespace| namespace == pod.namespace())
            || self.namespace_selector.as_ref().is_some_and(|selector| {
                selector.is_everything() || selector.matches_map(&namespace_labels(pod.namespace()))
            });
        in_namespace
            && self.selector.as_ref().is_some_and(|selector| selector.matches_map(pod.labels()))
    }
}

/// One topology spread constraint.
#[derive(Debug)]
pub(crate) struct Spread {
    pub(crate) topology_key: String,
    pub(crate) max_skew: i64,
    pub(crate) is_required: bool,
    pub(crate) min_domains: Option<usize>,
    pub(crate) honours_affinity: bool,
    pub(crate) honours_taints: bool,
    pub(crate) selector: Option<LabelSelector>,
}

impl Spread {
    fn read(constraint: &TopologySpreadConstraint, labels: &Labels) -> Self {
        let mut wire = constraint.label_selector.clone();
        add_keys(&mut wire, constraint.match_label_keys.as_deref(), labels, "In");
        Self {
            topology_key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            is_required: constraint.when_unsatisfiable == "DoNotSchedule",
            min_domains: constraint.min_domains.and_then(|domains| usize::try_from(domains).ok()),
            honours_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honours_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            selector: wire.as_ref().map(selector),
        }
    }

    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches_map(labels))
    }
}

/// One alternative of a node selector: all of its requirements must hold.
#[derive(Debug)]
pub(crate) struct NodeTerm {
    expressions: Vec<NodeSelectorRequirement>,
    fields: Vec<NodeSelectorRequirement>,
}

impl NodeTerm {
    fn read(term: &NodeSelectorTerm) -> Self {
        Self {
            expressions: term.match_expressions.clone().unwrap_or_default(),
            fields: term.match_fields.clone().unwrap_or_default(),
        }
    }

    /// Whether a node of that name and labels is meant. A term without requirements means none.
    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        let field = |one: &NodeSelectorRequirement| match one.key.as_str() {
            "metadata.name" => holds(one, Some(name)),
            _ => false,
        };
        (!self.expressions.is_empty() || !self.fields.is_empty())
            && self
                .expressions
                .iter()
                .all(|one| holds(one, labels.get(&one.key).map(String::as_str)))
            && self.fields.iter().all(field)
    }
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.iter().any(|one| one == value));
    let compared = || {
        let (own, bound) = (value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?);
        Some(own.cmp(&bound))
    };
    match requirement.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared() == Some(std::cmp::Ordering::Greater),
        "Lt" => compared() == Some(std::cmp::Ordering::Less),
        _ => false,
    }
}

impl PodInfo {
    /// Reads a pod.
    pub(crate) fn read(pod: Arc<Pod>) -> Self {
        let default = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&default);
        let meta = &pod.metadata;
        let phase =
            pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let labels = meta.labels.as_ref().unwrap_or(&NO_LABELS);
        let affinity = spec.affinity.as_ref();
        let node_affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let required = node_affinity.and_then(|affinity| {
            affinity.required_during_scheduling_ignored_during_execution.as_ref()
        });
        let preferred = node_affinity.and_then(|affinity| {
            affinity.preferred_during_scheduling_ignored_during_execution.as_deref()
        });
        let owners = meta.owner_references.iter().flatten();
        Self {
            key: key_of(pod.as_ref()),
            priority: spec.priority.unwrap_or_default(),
            may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
            request: request_of(spec, pod.status.as_ref()),
            guess: guess_of(spec, pod.status.as_ref()),
            ports: host_ports(spec),
            node_terms: required.map(node_terms),
            node_preferences: preferred.unwrap_or_default().iter().map(node_preference).collect(),
            spread: spec
                .topology_spread_constraints
                .iter()
                .flatten()
                .map(|one| Spread::read(one, labels))
                .collect(),
            affinity: affinity_terms(spec, namespace, labels),
            anti_affinity: anti_affinity_terms(spec, namespace, labels),
            owner: owners
                .filter(|owner| owner.controller == Some(true))
                .map(|owner| owner.uid.clone())
                .next(),
            node: spec.node_name.clone().filter(|node| !node.is_empty()),
            nominated: pod
                .status
                .as_ref()
                .and_then(|status| status.nominated_node_name.clone())
                .filter(|node| !node.is_empty()),
            is_gated: spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()),
            is_terminating: meta.deletion_timestamp.is_some(),
            is_finished: phase == "Succeeded" || phase == "Failed",
            has_failed: phase == "Failed",
            created_s: meta.creation_timestamp.as_ref().map_or(0, |at| at.0.as_second()),
            pod,
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn labels(&self) -> &Labels {
        self.pod.metadata.labels.as_ref().unwrap_or(&NO_LABELS)
    }

    pub(crate) fn node_selector(&self) -> &Labels {
        let selector = self.pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
        selector.unwrap_or(&NO_LABELS)
    }

    fn tolerations(&self) -> &[Toleration] {
        let tolerations = self.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref());
        tolerations.unwrap_or_default()
    }

    /// The images of its containers.
    pub(crate) fn images(&self) -> impl Iterator<Item = &str> {
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.filter_map(|container| container.image.as_deref())
    }

    fn scheduler(&self) -> &str {
        let name = self.pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        name.unwrap_or(SCHEDULER_NAME)
    }

    /// Whether it waits for this scheduler.
    pub(crate) fn is_ours_to_place(&self) -> bool {
        self.node.is_none()
            && self.scheduler() == SCHEDULER_NAME
            && !self.is_terminating
            && !self.is_finished
            && !self.is_gated
    }

    /// Whether it tolerates a taint.
    pub(crate) fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        self.tolerations().iter().any(|toleration| {
            let (own_key, own_effect) =
                (word(toleration.key.as_ref()), word(toleration.effect.as_ref()));
            let is_exists = toleration.operator.as_deref() == Some("Exists");
            (own_effect.is_empty() || own_effect == effect)
                && (own_key == key || (own_key.is_empty() && is_exists))
                && (is_exists || word(toleration.value.as_ref()) == value)
        })
    }
}

fn word(field: Option<&String>) -> &str {
    field.map_or("", String::as_str)
}

fn affinity_terms(spec: &PodSpec, namespace: &str, labels: &Labels) -> PodTerms {
    let Some(affinity) = spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref())
    else {
        return PodTerms::default();
    };
    let required = affinity.required_during_scheduling_ignored_during_execution.iter().flatten();
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    PodTerms {
        required: required.map(|term| PodTerm::read(term, namespace, labels)).collect(),
        preferred: preferred
            .map(|term| {
                (i64::from(term.weight), PodTerm::read(&term.pod_affinity_term, namespace, labels))
            })
            .collect(),
    }
}

fn anti_affinity_terms(spec: &PodSpec, namespace: &str, labels: &Labels) -> PodTerms {
    let Some(affinity) =
        spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref())
    else {
        return PodTerms::default();
    };
    let required = affinity.required_during_scheduling_ignored_during_execution.iter().flatten();
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    PodTerms {
        required: required.map(|term| PodTerm::read(term, namespace, labels)).collect(),
        preferred: preferred
            .map(|term| {
                (i64::from(term.weight), PodTerm::read(&term.pod_affinity_term, namespace, labels))
            })
            .collect(),
    }
}

fn node_terms(selector: &NodeSelector) -> Vec<NodeTerm> {
    selector.node_selector_terms.iter().map(NodeTerm::read).collect()
}

fn node_preference(term: &PreferredSchedulingTerm) -> (i64, NodeTerm) {
    (i64::from(term.weight), NodeTerm::read(&term.preference))
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let side_cars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(side_cars)
        .flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let address = port
                .host_ip
                .clone()
                .filter(|ip| !ip.is_empty() && ip != "0.0.0.0")
                .unwrap_or_default();
            Some((address, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), number))
        })
        .collect()
}

/// Adds what `matchLabelKeys` and `mismatchLabelKeys` stand for: the pod's own values.
fn add_keys(wire: &mut Option<Wire>, keys: Option<&[String]>, labels: &Labels, operator: &str) {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
    let Some(wire) = wire else { return };
    for key in keys.unwrap_or_default() {
        let Some(value) = labels.get(key) else { continue };
        let requirement = LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        };
        let expressions = wire.match_expressions.get_or_insert_default();
        if !expressions.contains(&requirement) {
            expressions.push(requirement);
        }
    }
}

/// A selector that cannot be read (validation refuses those) selects nothing that matters here.
pub(crate) fn selector(wire: &Wire) -> LabelSelector {
    let json = serde_json::to_value(wire).unwrap_or_default();
    LabelSelector::from_json(&json).unwrap_or_else(|_| LabelSelector::everything())
}
