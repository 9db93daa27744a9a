//! The documents of kinds that users define: their schema as its author wrote it, and what all objects have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::{Document, collect, components, document, path_of};
use crate::resource::Resource;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// The document of one group and version, made when first asked for.
#[derive(Debug)]
pub(super) struct Lazy {
    path: String,
    resources: Vec<Arc<Resource>>,
    document: OnceLock<Document>,
}

/// A document for each group and version; of `before` what is the same is kept.
pub(super) fn documents(
    resources: &[Arc<Resource>],
    before: Option<&BTreeMap<String, Arc<Lazy>>>,
) -> BTreeMap<String, Arc<Lazy>> {
    let mut groups: BTreeMap<String, Vec<Arc<Resource>>> = BTreeMap::new();
    for resource in resources {
        let path = path_of(&resource.group, &resource.version);
        groups.entry(path).or_default().push(resource.clone());
    }
    let lazy = |(path, resources): (String, Vec<Arc<Resource>>)| {
        let known = before.and_then(|before| before.get(&path));
        let lazy = match known.filter(|known| known.is_of(&resources)) {
            Some(known) => known.clone(),
            None => Arc::new(Lazy { path: path.clone(), resources, document: OnceLock::new() }),
        };
        (path, lazy)
    };
    groups.into_iter().map(lazy).collect()
}

impl Lazy {
    fn is_of(&self, resources: &[Arc<Resource>]) -> bool {
        let same = |(left, right): (&Arc<Resource>, &Arc<Resource>)| matches!((&left.custom, &right.custom), (Some(l), Some(r)) if l.is_same_kind(r));
        self.resources.len() == resources.len() && self.resources.iter().zip(resources).all(same)
    }

    pub(super) fn document(&self) -> &Document {
        self.document.get_or_init(|| {
            let mut types = shared().clone();
            for resource in &self.resources {
                let own = object(resource, Notation::Newer);
                types.insert(resource.schema.name().to_owned(), own);
                types.insert(components::list_name(resource), components::list_of(resource));
            }
            let resources: Vec<&Resource> = self.resources.iter().map(|r| &**r).collect();
            Document::of(document(&self.path, &resources, &types))
        })
    }
}

/// The types of k8s-openapi that every custom kind's document refers to.
fn shared() -> &'static Map<String, Value> {
    static SHARED: OnceLock<Map<String, Value>> = OnceLock::new();
    SHARED.get_or_init(|| {
        let all = components::all(&[]);
        let roots = [OBJECT_META, LIST_META, SCALE, components::STATUS, components::DELETE_OPTIONS];
        let mut needed = BTreeSet::from([components::PATCH.to_owned()]);
        for root in roots {
            collect(&components::reference(root), &all, &mut needed);
        }
        all.into_iter().filter(|(name, _)| needed.contains(name)).collect()
    })
}

/// The type of a kind's objects (apiextensions `pkg/controller/openapi/builder`).
fn object(resource: &Resource, notation: Notation) -> Value {
    let own = resource.custom.as_ref().map_or(&Value::Null, |custom| custom.kind.json_schema());
    let mut schema = own.clone();
    let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if !own.is_object() || (notation == Notation::Older && is_open) {
        // With any property named, clients would take all others for unknown.
        schema = json!({ "type": "object" });
    } else {
        if notation == Notation::Older {
            older(&mut schema);
        }
        of_objects(&mut schema);
        embedded(&mut schema, notation);
    }
    let gvk = json!({
        "group": resource.group, "version": resource.version, "kind": resource.kind,
    });
    schema["x-kubernetes-group-version-kind"] = json!([gvk]);
    let fields: Vec<Value> = resource
        .strategy
        .fields(&Value::Null)
        .into_keys()
        .map(|field| json!({ "fieldPath": field }))
        .collect();
    if notation == Notation::Newer && !fields.is_empty() {
        schema["x-kubernetes-selectable-fields"] = fields.into();
    }
    schema
}

/// Which version of OpenAPI a type is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// 2.0
    Older,
    /// 3.0
    Newer,
}

/// The fields that every object has.
fn of_objects(schema: &mut Value) {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let metadata =
        json!({ "description": METADATA, "allOf": [components::reference(OBJECT_META)] });
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    for (field, described) in
        [("apiVersion", text(API_VERSION)), ("kind", text(KIND)), ("metadata", metadata)]
    {
        schema["properties"][field] = described;
    }
}

/// Objects within objects have them, too.
fn embedded(schema: &mut Value, notation: Notation) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, property) in properties.into_iter().flatten() {
        embedded(property, notation);
    }
    for name in ["items", "additionalProperties"] {
        if schema[name].is_object() {
            embedded(&mut schema[name], notation);
        }
    }
    let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if schema["x-kubernetes-embedded-resource"] == true && !(is_open && notation == Notation::Older)
    {
        of_objects(schema);
    }
}

const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The resources of all documents.
pub(super) fn resources<'a>(
    documents: impl Iterator<Item = &'a Arc<Lazy>>,
) -> impl Iterator<Item = &'a Arc<Resource>> {
    documents.flat_map(|lazy| &lazy.resources)
}

/// A kind's types, its list included, in the older notation: other references, and without what it cannot say.
pub(super) fn older_types(resource: &Resource) -> [(String, Value); 2] {
    let mut types = [
        (resource.schema.name().to_owned(), object(resource, Notation::Older)),
        (components::list_name(resource), components::list_of(resource)),
    ];
    types.iter_mut().for_each(|(_, definition)| refer_older(definition));
    types
}

/// Drops what OpenAPI v2 does not have (apiextensions `pkg/controller/openapi/v2/conversion.go`).
fn older(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    for name in ["allOf", "oneOf", "anyOf", "not"] {
        fields.remove(name);
    }
    let is_null_too = fields.remove("nullable") == Some(json!(true));
    let is_open = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    // Clients that validate by such a document would refuse what the server takes.
    if is_null_too || is_open {
        fields.remove("items");
        fields.remove("properties");
    }
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let misleads = match kind {
        "array" => !fields.contains_key("items"),
        "object" => is_open,
        _ => false,
    };
    if is_null_too || misleads {
        fields.remove("type");
    }
    let nullable = |property: &Value| property["nullable"] == true;
    let properties = fields.get("properties").and_then(Value::as_object);
    let optional: Vec<String> = properties
        .into_iter()
        .flatten()
        .filter(|(_, property)| nullable(property))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(required) = fields.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !optional.iter().any(|optional| *name == **optional));
        if required.is_empty() {
            fields.remove("required");
        }
    }
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    for (_, property) in properties.into_iter().flatten() {
        older(property);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(name) {
            older(inner);
        }
    }
}

fn refer_older(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // A reference stood in `allOf` for OpenAPI v3 only.
            if let Some(Value::Array(all)) = fields.get("allOf")
                && let [only] = all.as_slice()
                && let Some(reference) = only.get("$ref").cloned()
            {
                fields.remove("allOf");
                fields.insert("$ref".to_owned(), reference);
            }
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                *reference = reference.replace("#/components/schemas/", "#/definitions/");
            }
            fields.values_mut().for_each(refer_older);
        }
        Value::Array(items) => items.iter_mut().for_each(refer_older),
        _ => {}
    }
}
