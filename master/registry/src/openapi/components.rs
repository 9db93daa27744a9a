//! The types of a document: k8s-openapi's schemas in the form that upstream publishes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::patchmeta;
use crate::resource::Resource;
use crate::schema;

/// The body of every PATCH.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Bodies that are no resource of their own, with group, version and kind.
const BODIES: [(&str, &str, &str, &str); 7] = [
    ("io.k8s.api.autoscaling.v1.Scale", "autoscaling", "v1", "Scale"),
    ("io.k8s.api.policy.v1.Eviction", "policy", "v1", "Eviction"),
    ("io.k8s.api.core.v1.Binding", "", "v1", "Binding"),
    ("io.k8s.api.authentication.v1.TokenRequest", "authentication.k8s.io", "v1", "TokenRequest"),
    (STATUS, "", "v1", "Status"),
    (DELETE_OPTIONS, "", "v1", "DeleteOptions"),
    ("io.k8s.api.core.v1.PodTemplate", "", "v1", "PodTemplate"),
];

pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The full name of a kind's list type.
pub(super) fn list_name(resource: &Resource) -> String {
    format!("{}List", resource.schema.name())
}

/// Every type by full name, lists included.
pub(super) fn all(resources: &[Arc<Resource>]) -> Map<String, Value> {
    let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, group, version, kind) in BODIES {
        let gvk = json!({"group": group, "version": version, "kind": kind});
        kinds.insert(name.to_owned(), vec![gvk]);
    }
    let mut lists = Map::new();
    for resource in resources {
        let gvk = |kind: String| json!({"group": resource.group, "version": resource.version, "kind": kind});
        kinds.insert(resource.schema.name().to_owned(), vec![gvk(resource.kind.to_string())]);
        if resource.can("list") {
            lists.insert(list_name(resource), list_of(resource));
        }
    }
    let mut types = schema::definitions();
    for (name, definition) in &mut types {
        finish(name, definition);
        if let Some(gvks) = kinds.remove(name) {
            definition["x-kubernetes-group-version-kind"] = gvks.into();
            optional_metadata(definition);
        }
    }
    types.append(&mut lists);
    types.insert(
        PATCH.to_owned(),
        json!({
            "type": "object",
            "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
        }),
    );
    types
}

/// k8s-openapi calls the metadata required since its types always have one; a body may leave it out.
fn optional_metadata(definition: &mut Value) {
    if let Some(required) = definition["required"].as_array_mut() {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            definition.as_object_mut().map(|fields| fields.remove("required"));
        }
    }
}

fn finish(name: &str, definition: &mut Value) {
    if definition["x-kubernetes-int-or-string"] == true {
        let description = definition["description"].take();
        *definition = if name.ends_with("Quantity") {
            json!({"description": description, "oneOf": [{"type": "string"}, {"type": "number"}]})
        } else {
            let types = [json!({"type": "integer"}), json!({"type": "string"})];
            json!({"description": description, "format": "int-or-string", "oneOf": types})
        };
        return;
    }
    for (field, schema) in definition["properties"].as_object_mut().into_iter().flatten() {
        let Some(schema) = schema.as_object_mut() else { continue };
        // Siblings of a reference are ignored by readers of OpenAPI 3.0: hence `allOf`.
        if let Some(reference) = schema.remove("$ref") {
            schema.insert("allOf".into(), json!([{ "$ref": reference }]));
        }
        patchmeta::fact(name, field).describe(schema);
        let is_list = schema.get("type").is_some_and(|kind| kind == "array");
        if is_list && !name.ends_with("List") && !name.ends_with(".APIResource") {
            schema.entry("x-kubernetes-list-type").or_insert_with(|| "atomic".into());
        }
    }
    if patchmeta::is_atomic(name) {
        definition["x-kubernetes-map-type"] = "atomic".into();
    }
}

/// The type of a kind's lists.
pub(super) fn list_of(resource: &Resource) -> Value {
    let mut list = list(resource);
    list["x-kubernetes-group-version-kind"] = json!([{
        "group": resource.group, "version": resource.version, "kind": resource.list_kind(),
    }]);
    list
}

fn list(resource: &Resource) -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "description": format!("{} is a list of {}", resource.list_kind(), resource.plural),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text("The versioned schema of this representation of an object."),
            "kind": text("The REST resource this object represents, in CamelCase."),
            "metadata": {"allOf": [reference(LIST_META)], "description": "Standard list metadata."},
            "items": {
                "type": "array",
                "description": format!("The {}", resource.plural),
                "items": reference(resource.schema.name()),
            },
        },
    })
}
