//! How lists and objects of the built-in types merge: facts that k8s-openapi's schemas do not carry.
//!
//! Taken from `x-kubernetes-*` of upstream's OpenAPI of v1.36. Strategic merge patch, server-side
//! apply and `kubectl apply` (through our OpenAPI) all follow this one table. A list of which it says nothing is atomic.

use master_api::patch::{Merge, PatchMeta};
use serde_json::{Map, Value, json};

use crate::schema::{Cursor, Schema};

/// What is known about a field beyond its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// `map`, `set` or `atomic`; empty where upstream says nothing.
    pub list_type: &'static str,
    /// The keys that identify an item of a `map` list.
    pub list_map_keys: &'static [&'static str],
    /// `atomic` for an object that is one value; `granular` for one that is not, though its type says so.
    pub map_type: &'static str,
    /// The one key by which a strategic merge tells items apart.
    pub merge_key: &'static str,
    /// `merge`, `replace`, `retainKeys`, joined by commas.
    pub patch_strategy: &'static str,
}

const NOTHING: Fact =
    Fact { list_type: "", list_map_keys: &[], map_type: "", merge_key: "", patch_strategy: "" };
const SET: Fact = Fact { list_type: "set", ..NOTHING };
const MERGED_SET: Fact = Fact { patch_strategy: "merge", ..SET };
const ATOMIC_MAP: Fact = Fact { map_type: "atomic", ..NOTHING };
const GRANULAR_MAP: Fact = Fact { map_type: "granular", ..NOTHING };
const RETAIN: Fact = Fact { patch_strategy: "retainKeys", ..NOTHING };
const REPLACE: Fact = Fact { patch_strategy: "replace", ..NOTHING };

/// A list with identifying keys, of which a strategic merge uses the first.
const fn by(keys: &'static [&'static str]) -> Fact {
    Fact { merge_key: keys[0], patch_strategy: "merge", ..keyed(keys) }
}

const fn retaining(keys: &'static [&'static str]) -> Fact {
    Fact { patch_strategy: "merge,retainKeys", ..by(keys) }
}

/// A list with identifying keys that a strategic merge replaces.
const fn keyed(keys: &'static [&'static str]) -> Fact {
    Fact { list_type: "map", list_map_keys: keys, ..NOTHING }
}

const fn atomic_by(key: &'static str) -> Fact {
    Fact { list_type: "atomic", merge_key: key, patch_strategy: "merge", ..NOTHING }
}

/// The field of a type, by the type's full name in OpenAPI.
pub fn fact(type_name: &str, field: &str) -> Fact {
    let short = short_name(type_name);
    let found = FACTS.binary_search_by(|(kind, name, _)| (*kind, *name).cmp(&(short, field)));
    found.map_or(NOTHING, |at| FACTS[at].2)
}

/// Whether the objects of a type are one value wherever they stand.
pub fn is_atomic(type_name: &str) -> bool {
    ATOMIC_TYPES.binary_search(&short_name(type_name)).is_ok()
}

/// What counts where an item of a list leaves out one of the keys that identify it.
pub fn default_of_key(name: &str) -> Option<Value> {
    (name == "protocol").then(|| "TCP".into())
}

fn short_name(type_name: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| type_name.strip_prefix(prefix)).unwrap_or(type_name)
}

const PREFIXES: [&str; 3] =
    ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis.", "io.k8s.apiextensions-apiserver.pkg.apis."];

impl Fact {
    /// Adds what upstream's OpenAPI says of such a field.
    pub(crate) fn describe(&self, field: &mut Map<String, Value>) {
        let mut set = |name: &str, value: Value| {
            field.insert(format!("x-kubernetes-{name}"), value);
        };
        for (name, text) in [
            ("list-type", self.list_type),
            ("map-type", self.map_type),
            ("patch-merge-key", self.merge_key),
            ("patch-strategy", self.patch_strategy),
        ] {
            if !text.is_empty() {
                set(name, text.into());
            }
        }
        if !self.list_map_keys.is_empty() {
            set("list-map-keys", json!(self.list_map_keys));
        }
    }

    fn merge(&self) -> Merge {
        match (self.merge_key, self.patch_strategy) {
            ("", "replace") => Merge::Replace,
            ("", strategy) if strategy.starts_with("merge") => Merge::Set,
            ("", _) => Merge::Plain,
            (key, _) => Merge::ByKey(key),
        }
    }
}

/// Types, for a strategic merge patch of an object of this schema.
pub fn types(schema: &Schema) -> Types<'_> {
    Types(schema.cursor())
}

/// A place in a schema, with the facts of this table.
#[derive(Clone, Copy, Debug)]
pub struct Types<'a>(Option<Cursor<'a>>);

impl PatchMeta for Types<'_> {
    fn field(&self, name: &str) -> (Merge, Self) {
        let Some(cursor) = self.0 else { return (Merge::Plain, *self) };
        let fact = cursor.type_name().map_or(NOTHING, |kind| fact(kind, name));
        (fact.merge(), Self(cursor.field(name)))
    }

    fn name(&self) -> String {
        let kind = self.0.and_then(|cursor| cursor.type_name());
        kind.and_then(|kind| kind.rsplit('.').next()).unwrap_or("unknown type").to_owned()
    }
}

/// Type, field, fact; ordered by type and field.
#[rustfmt::skip]
const FACTS: &[(&str, &str, Fact)] = &[
    ("admissionregistration.v1.MutatingAdmissionPolicySpec", "matchConditions", by(&["name"])),
    ("admissionregistration.v1.MutatingWebhook", "matchConditions", by(&["name"])),
    ("admissionregistration.v1.MutatingWebhookConfiguration", "webhooks", by(&["name"])),
    ("admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", "validationActions", SET),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", "matchConditions", by(&["name"])),
    ("admissionregistration.v1.ValidatingAdmissionPolicySpec", "variables", by(&["name"])),
    ("admissionregistration.v1.ValidatingAdmissionPolicyStatus", "conditions", keyed(&["type"])),
    ("admissionregistration.v1.ValidatingWebhook", "matchConditions", by(&["name"])),
    ("admissionregistration.v1.ValidatingWebhookConfiguration", "webhooks", by(&["name"])),
    ("apiextensions.v1.CustomResourceDefinitionStatus", "conditions", keyed(&["type"])),
    ("apiextensions.v1.JSONSchemaProps", "x-kubernetes-validations", by(&["rule"])),
    ("apps.v1.DaemonSetStatus", "conditions", by(&["type"])),
    ("apps.v1.DeploymentSpec", "strategy", RETAIN),
    ("apps.v1.DeploymentStatus", "conditions", by(&["type"])),
    ("apps.v1.ReplicaSetStatus", "conditions", by(&["type"])),
    ("apps.v1.StatefulSetStatus", "conditions", by(&["type"])),
    ("autoscaling.v2.HorizontalPodAutoscalerStatus", "conditions", by(&["type"])),
    ("batch.v1.JobStatus", "conditions", atomic_by("type")),
    ("batch.v1.PodFailurePolicyOnExitCodesRequirement", "values", SET),
    ("batch.v1.UncountedTerminatedPods", "failed", SET),
    ("batch.v1.UncountedTerminatedPods", "succeeded", SET),
    ("certificates.v1.CertificateSigningRequestStatus", "conditions", keyed(&["type"])),
    ("core.v1.Container", "env", by(&["name"])),
    ("core.v1.Container", "ports", by(&["containerPort", "protocol"])),
    ("core.v1.Container", "volumeDevices", by(&["devicePath"])),
    ("core.v1.Container", "volumeMounts", by(&["mountPath"])),
    ("core.v1.ContainerRestartRuleOnExitCodes", "values", SET),
    ("core.v1.ContainerStatus", "allocatedResourcesStatus", by(&["name"])),
    ("core.v1.ContainerStatus", "volumeMounts", by(&["mountPath"])),
    ("core.v1.EphemeralContainer", "env", by(&["name"])),
    ("core.v1.EphemeralContainer", "ports", by(&["containerPort", "protocol"])),
    ("core.v1.EphemeralContainer", "volumeDevices", by(&["devicePath"])),
    ("core.v1.EphemeralContainer", "volumeMounts", by(&["mountPath"])),
    ("core.v1.NamespaceStatus", "conditions", by(&["type"])),
    ("core.v1.NodeAllocatableResourceClaimStatus", "containers", SET),
    ("core.v1.NodeSpec", "podCIDRs", MERGED_SET),
    ("core.v1.NodeStatus", "addresses", by(&["type"])),
    ("core.v1.NodeStatus", "conditions", by(&["type"])),
    ("core.v1.PersistentVolumeClaimStatus", "allocatedResourceStatuses", GRANULAR_MAP),
    ("core.v1.PersistentVolumeClaimStatus", "conditions", by(&["type"])),
    ("core.v1.PersistentVolumeSpec", "claimRef", GRANULAR_MAP),
    ("core.v1.PodSpec", "containers", by(&["name"])),
    ("core.v1.PodSpec", "ephemeralContainers", by(&["name"])),
    ("core.v1.PodSpec", "hostAliases", by(&["ip"])),
    ("core.v1.PodSpec", "imagePullSecrets", by(&["name"])),
    ("core.v1.PodSpec", "initContainers", by(&["name"])),
    ("core.v1.PodSpec", "nodeSelector", ATOMIC_MAP),
    ("core.v1.PodSpec", "resourceClaims", retaining(&["name"])),
    ("core.v1.PodSpec", "schedulingGates", by(&["name"])),
    ("core.v1.PodSpec", "topologySpreadConstraints", by(&["topologyKey", "whenUnsatisfiable"])),
    ("core.v1.PodSpec", "volumes", retaining(&["name"])),
    ("core.v1.PodStatus", "conditions", by(&["type"])),
    ("core.v1.PodStatus", "hostIPs", atomic_by("ip")),
    ("core.v1.PodStatus", "podIPs", by(&["ip"])),
    ("core.v1.PodStatus", "resourceClaimStatuses", retaining(&["name"])),
    ("core.v1.ReplicationControllerSpec", "selector", ATOMIC_MAP),
    ("core.v1.ReplicationControllerStatus", "conditions", by(&["type"])),
    ("core.v1.ResourceRequirements", "claims", keyed(&["name"])),
    ("core.v1.ResourceStatus", "resources", keyed(&["resourceID"])),
    ("core.v1.ServiceAccount", "secrets", by(&["name"])),
    ("core.v1.ServiceSpec", "ports", by(&["port", "protocol"])),
    ("core.v1.ServiceSpec", "selector", ATOMIC_MAP),
    ("core.v1.ServiceStatus", "conditions", by(&["type"])),
    ("discovery.v1.Endpoint", "addresses", SET),
    ("flowcontrol.v1.FlowSchemaStatus", "conditions", by(&["type"])),
    ("flowcontrol.v1.NonResourcePolicyRule", "nonResourceURLs", SET),
    ("flowcontrol.v1.NonResourcePolicyRule", "verbs", SET),
    ("flowcontrol.v1.PriorityLevelConfigurationStatus", "conditions", by(&["type"])),
    ("flowcontrol.v1.ResourcePolicyRule", "apiGroups", SET),
    ("flowcontrol.v1.ResourcePolicyRule", "namespaces", SET),
    ("flowcontrol.v1.ResourcePolicyRule", "resources", SET),
    ("flowcontrol.v1.ResourcePolicyRule", "verbs", SET),
    ("meta.v1.ObjectMeta", "finalizers", MERGED_SET),
    ("meta.v1.ObjectMeta", "ownerReferences", by(&["uid"])),
    ("networking.v1.ServiceCIDRStatus", "conditions", by(&["type"])),
    ("node.v1.Scheduling", "nodeSelector", ATOMIC_MAP),
    ("policy.v1.PodDisruptionBudgetSpec", "selector", REPLACE),
    ("policy.v1.PodDisruptionBudgetStatus", "conditions", by(&["type"])),
    ("resource.v1.AllocatedDeviceStatus", "conditions", keyed(&["type"])),
    ("resource.v1.ResourceClaimStatus", "devices", keyed(&["driver", "device", "pool", "shareID"])),
    ("resource.v1.ResourceClaimStatus", "reservedFor", by(&["uid"])),
    ("storage.v1.CSIDriverSpec", "volumeLifecycleModes", SET),
    ("storage.v1.CSINodeSpec", "drivers", by(&["name"])),
];

/// Types whose objects are one value; in order.
const ATOMIC_TYPES: &[&str] = &[
    "admissionregistration.v1.MatchResources",
    "admissionregistration.v1.NamedRuleWithOperations",
    "admissionregistration.v1.ParamKind",
    "admissionregistration.v1.ParamRef",
    "admissionregistration.v1.Variable",
    "autoscaling.v1.CrossVersionObjectReference",
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.FileKeySelector",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.ScopeSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
    "networking.v1.ServiceBackendPort",
    "rbac.v1.RoleRef",
    "rbac.v1.Subject",
];

#[cfg(test)]
mod tests {
    use master_api::patch::strategic_merge;

    use super::*;

    #[test]
    fn the_table_is_ordered_and_names_fields_that_exist() {
        assert!(FACTS.is_sorted_by(|left, right| (left.0, left.1) < (right.0, right.1)));
        assert!(ATOMIC_TYPES.is_sorted());
        let definitions = crate::schema::definitions();
        for (kind, field, _) in FACTS {
            let full = PREFIXES.map(|prefix| format!("{prefix}{kind}"));
            let found = full.iter().find_map(|name| definitions.get(name));
            let is_field = found.map(|schema| schema["properties"][field].is_object());
            // These groups may not be served.
            let is_optional = kind.starts_with("resource.")
                || kind.starts_with("apiextensions.")
                || kind.contains("MutatingAdmissionPolicy");
            assert!(is_field.unwrap_or(is_optional), "{kind}.{field}");
        }
    }

    #[test]
    fn containers_of_a_template_merge_by_name() {
        let schema = Schema::builtin("io.k8s.api.apps.v1.Deployment");
        let object =
            |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let merged = strategic_merge(
            object(json!([{"name": "a", "image": "x", "args": ["1"]}, {"name": "b"}])),
            object(json!([{"name": "a", "image": "y", "env": [{"name": "E", "value": "1"}]}])),
            &types(&schema),
        );
        let expected = object(json!([
            {"name": "a", "image": "y", "args": ["1"], "env": [{"name": "E", "value": "1"}]},
            {"name": "b"},
        ]));
        assert_eq!(merged, Ok(expected));
    }
}
