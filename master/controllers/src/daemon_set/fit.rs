//! Whether a daemon's pod runs on a node, and how it is pinned there. Pure.

use k8s_openapi::api::core::v1::{
    self as core, Affinity, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
    PodTemplateSpec, Toleration,
};

use crate::owner::{label, name_of};
use crate::pods;
use crate::taint_eviction::tolerates;
use master_client::pod::Pod;

const NAME_FIELD: &str = "metadata.name";
/// What a daemon's pod bears on its node: (taint, effect).
const BORNE: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// A pod belongs here.
    Runs,
    /// None is started, but one that runs may stay.
    MayStay,
    MayNotStay,
}

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let borne = BORNE.into_iter().chain((spec.host_network == Some(true)).then_some(NETWORK));
    let toleration = |(key, effect): (&str, &str)| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some(effect.to_owned()),
        ..Toleration::default()
    };
    spec.tolerations.iter().flatten().cloned().chain(borne.map(toleration)).collect()
}

pub(super) fn fit(template: &PodTemplateSpec, node: &Node) -> Fit {
    let spec = template.spec.clone().unwrap_or_default();
    let selected = spec.node_selector.iter().flatten();
    let mut selected = selected.map(|(key, value)| label(&node.metadata, key) == Some(value));
    if !selected.all(|is_so| is_so) || !is_wanted(&spec, node) {
        return Fit::MayNotStay;
    }
    let tolerations = tolerations(&spec);
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let borne = |taint: &&k8s_openapi::api::core::v1::Taint| {
        !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    };
    let effects: Vec<&str> = taints.filter(borne).map(|taint| taint.effect.as_str()).collect();
    match effects {
        effects if effects.contains(&"NoExecute") => Fit::MayNotStay,
        effects if effects.contains(&"NoSchedule") => Fit::MayStay,
        _ => Fit::Runs,
    }
}

/// The required node affinity: one of its terms holds.
fn is_wanted(spec: &PodSpec, node: &Node) -> bool {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let Some(required) = required else { return true };
    required.node_selector_terms.iter().any(|term| {
        let labels = term.match_expressions.iter().flatten();
        let fields = term.match_fields.iter().flatten();
        let is_empty = term.match_expressions.is_none() && term.match_fields.is_none();
        !is_empty
            && labels.clone().all(|wanted| holds(wanted, label(&node.metadata, &wanted.key)))
            && fields.clone().all(|wanted| {
                holds(wanted, (wanted.key == NAME_FIELD).then(|| name_of(&node.metadata)))
            })
    })
}

fn holds(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let is_in =
        || value.is_some_and(|value| wanted.values.iter().flatten().any(|wanted| wanted == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = || wanted.values.iter().flatten().next().and_then(|text| number(text));
    match wanted.operator.as_str() {
        "In" => is_in(),
        "NotIn" => !is_in(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(bound()).is_some_and(|(value, bound)| value > bound),
        "Lt" => value.and_then(number).zip(bound()).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Lets the pod go to this node only, and stay there whatever happens to the node.
pub(super) fn pin(pod: &mut core::Pod, node: &str) {
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let field = NodeSelectorRequirement {
        key: NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![field]), match_expressions: None };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let affinity = affinity.node_affinity.get_or_insert_default();
    // The node was chosen with the template's own terms; they need not be asked again.
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a pod is on, or pinned to.
pub(super) fn target_of(pod: &Pod) -> &str {
    if let Some(node) = pods::node_of(pod) {
        return node;
    }
    let pinned = || {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        let fields = required.node_selector_terms.first()?.match_fields.as_ref()?;
        let field = fields.iter().find(|field| field.key == NAME_FIELD)?;
        field.values.as_ref()?.first().map(String::as_str)
    };
    pinned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::object;

    fn check(spec: Value, node: Value, expected: Fit) {
        let template = object(json!({"spec": spec}));
        let node = object(node);
        assert_eq!(fit(&template, &node), expected, "{template:?} on {node:?}");
    }

    #[test]
    fn selectors_affinity_and_taints_decide() {
        let node = |taints: Value| {
            json!({"metadata": {"name": "n", "labels": {"a": "1"}},
            "spec": {"taints": taints}})
        };
        let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
        let plain = || json!({"containers": []});
        check(plain(), node(json!([])), Fit::Runs);
        check(plain(), node(taint("k", "NoSchedule")), Fit::MayStay);
        check(plain(), node(taint("k", "NoExecute")), Fit::MayNotStay);
        check(plain(), node(taint("node.kubernetes.io/unreachable", "NoExecute")), Fit::Runs);
        check(plain(), node(taint("node.kubernetes.io/unschedulable", "NoSchedule")), Fit::Runs);
        check(
            json!({"containers": [], "nodeSelector": {"a": "2"}}),
            node(json!([])),
            Fit::MayNotStay,
        );
        let affinity = |operator: &str, values: Value| {
            json!({"containers": [], "affinity": {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}]}}}})
        };
        check(affinity("In", json!(["1", "2"])), node(json!([])), Fit::Runs);
        check(affinity("NotIn", json!(["1"])), node(json!([])), Fit::MayNotStay);
        check(affinity("Gt", json!(["0"])), node(json!([])), Fit::Runs);
        check(affinity("DoesNotExist", json!([])), node(json!([])), Fit::MayNotStay);
    }

    #[test]
    fn pinned_pod_names_its_node_before_it_is_bound() {
        let mut pod = core::Pod::default();
        pin(&mut pod, "n7");
        let read: Pod = object(serde_json::to_value(&pod).unwrap());
        assert_eq!(target_of(&read), "n7");
        assert_eq!(pod.spec.unwrap().tolerations.unwrap().len(), BORNE.len());
    }
}
