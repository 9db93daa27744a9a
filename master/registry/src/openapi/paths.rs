//! The paths of a document: which operations a kind has, with their parameters and bodies.

use serde_json::{Map, Value, json};

use super::components::{DELETE_OPTIONS, PATCH, STATUS, list_name, reference};
use crate::resource::{Resource, Subresource};

/// Query parameters: name, type, description.
type Parameter = (&'static str, &'static str, &'static str);

const DRY_RUN: Parameter = (
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. Valid values are: All",
);
const FIELD_MANAGER: Parameter = (
    "fieldManager",
    "string",
    "A name associated with the actor or entity that is making these changes.",
);
const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "How unknown or duplicate fields of the body are handled: Ignore, Warn or Strict.",
);
const FORCE: Parameter =
    ("force", "boolean", "Apply only: take over fields that other managers own.");

const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCHING: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
const DELETE: &[Parameter] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds before the object is deleted; zero means at once."),
    (
        "propagationPolicy",
        "string",
        "Whether and how dependents are deleted: Orphan, Background or Foreground.",
    ),
];
const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Asks for events of type BOOKMARK."),
    ("continue", "string", "The token of an earlier, limited list, to get its next part."),
    ("fieldSelector", "string", "Restricts the objects by their fields. Defaults to everything."),
    ("labelSelector", "string", "Restricts the objects by their labels. Defaults to everything."),
    ("limit", "integer", "The most objects to return in one reply."),
    ("resourceVersion", "string", "The version that the reply must be at or after."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied to lists."),
    ("sendInitialEvents", "boolean", "A watch begins with the objects that exist."),
    ("timeoutSeconds", "integer", "How long a list or watch may take."),
    ("watch", "boolean", "Follows changes instead of listing."),
];

/// What one operation is.
struct Operation<'a> {
    method: &'a str,
    /// `x-kubernetes-action`.
    action: &'a str,
    id: String,
    gvk: Value,
    parameters: &'a [Parameter],
    /// The type of the request's body.
    takes: Option<String>,
    /// The type of the reply.
    gives: Option<String>,
    /// Whether lists merge by their keys in a strategic merge patch.
    merges: bool,
    tag: String,
}

/// Adds the paths of a resource below `/<base>`, for instance `apis/apps/v1`.
pub(super) fn of(resource: &Resource, base: &str, paths: &mut Map<String, Value>) {
    let plural = &resource.plural;
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("/{base}{scope}/{plural}");
    paths.insert(collection.clone(), collection_item(resource));
    if !resource.can("get") {
        return;
    }
    if resource.namespaced {
        let item = path_item(resource, false, false, vec![list(resource, "ForAllNamespaces")]);
        paths.insert(format!("/{base}/{plural}"), item);
    }
    let one = format!("{collection}/{{name}}");
    paths.insert(one.clone(), object_item(resource));
    for subresource in &resource.subresources {
        let item = subresource_item(resource, *subresource);
        paths.insert(format!("{one}/{}", subresource.name()), item);
    }
}

fn gvk(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

/// `AppsV1`, `RbacAuthorizationV1`.
fn camel(resource: &Resource) -> String {
    let group = if resource.group.is_empty() { "core" } else { &*resource.group };
    let group = group.trim_end_matches(".k8s.io");
    group.split('.').chain([&*resource.version]).map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + chars.as_str())
        .unwrap_or_default()
}

fn tag(resource: &Resource) -> String {
    let group = if resource.group.is_empty() { "core" } else { &*resource.group };
    let group = group.trim_end_matches(".k8s.io");
    format!("{}_{}", group.replace('.', "_"), resource.version)
}

fn id(resource: &Resource, verb: &str, suffix: &str) -> String {
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    format!("{verb}{}{scope}{}{suffix}", camel(resource), resource.kind)
}

fn operation<'a>(
    resource: &Resource,
    (method, action, verb): (&'a str, &'a str, &str),
    parameters: &'a [Parameter],
    takes: Option<&str>,
) -> Operation<'a> {
    Operation {
        method,
        action,
        id: id(resource, verb, ""),
        gvk: gvk(resource),
        parameters,
        takes: takes.map(str::to_owned),
        gives: Some(resource.schema.name().to_owned()),
        merges: resource.custom.is_none(),
        tag: tag(resource),
    }
}

fn list<'a>(resource: &Resource, suffix: &str) -> Operation<'a> {
    let id = match suffix {
        "" => id(resource, "list", ""),
        _ => format!("list{}{}{suffix}", camel(resource), resource.kind),
    };
    let gives = Some(list_name(resource));
    Operation { id, gives, ..operation(resource, ("get", "list", "list"), LIST, None) }
}

fn collection_item(resource: &Resource) -> Value {
    let body = resource.schema.name();
    let mut operations = Vec::new();
    if resource.can("list") {
        operations.push(list(resource, ""));
    }
    if resource.can("deletecollection") {
        let delete = ("delete", "deletecollection", "deleteCollection");
        let gives = Some(STATUS.to_owned());
        operations
            .push(Operation { gives, ..operation(resource, delete, DELETE, Some(DELETE_OPTIONS)) });
    }
    if resource.can("create") {
        operations.push(operation(resource, ("post", "post", "create"), WRITE, Some(body)));
    }
    path_item(resource, resource.namespaced, false, operations)
}

fn object_item(resource: &Resource) -> Value {
    let body = resource.schema.name();
    let delete = operation(resource, ("delete", "delete", "delete"), DELETE, Some(DELETE_OPTIONS));
    let operations = [
        ("get", operation(resource, ("get", "get", "read"), &[], None)),
        ("update", operation(resource, ("put", "put", "replace"), WRITE, Some(body))),
        ("patch", operation(resource, ("patch", "patch", "patch"), PATCHING, Some(PATCH))),
        ("delete", Operation { gives: Some(STATUS.to_owned()), ..delete }),
    ];
    let there = operations.into_iter().filter(|(verb, _)| resource.can(verb));
    path_item(resource, resource.namespaced, true, there.map(|(_, operation)| operation).collect())
}

fn subresource_item(resource: &Resource, subresource: Subresource) -> Value {
    let (group, version, kind) = subresource.body(resource);
    let type_name = match subresource {
        Subresource::Scale => "io.k8s.api.autoscaling.v1.Scale",
        Subresource::Eviction => "io.k8s.api.policy.v1.Eviction",
        Subresource::Binding => "io.k8s.api.core.v1.Binding",
        Subresource::Token => "io.k8s.api.authentication.v1.TokenRequest",
        _ => resource.schema.name(),
    };
    let is_stream = matches!(
        subresource,
        Subresource::Attach
            | Subresource::Exec
            | Subresource::Log
            | Subresource::PortForward
            | Subresource::Proxy
    );
    let suffix = capital(subresource.name());
    let operations = subresource.verbs().iter().map(|verb| {
        let (method, action, word, parameters, takes) = match *verb {
            "create" => ("post", "post", "create", WRITE, Some(type_name)),
            "update" => ("put", "put", "replace", WRITE, Some(type_name)),
            "patch" => ("patch", "patch", "patch", PATCHING, Some(PATCH)),
            "delete" => ("delete", "delete", "delete", &[][..], None),
            _ => ("get", "get", "read", &[][..], None),
        };
        Operation {
            method,
            action: if is_stream && subresource != Subresource::Log { "connect" } else { action },
            id: id(resource, word, &suffix),
            gvk: json!({"group": group, "version": version, "kind": kind}),
            parameters: if is_stream { &[] } else { parameters },
            takes: takes.filter(|_| !is_stream).map(str::to_owned),
            gives: (!is_stream).then(|| type_name.to_owned()),
            merges: resource.custom.is_none(),
            tag: tag(resource),
        }
    });
    path_item(resource, resource.namespaced, true, operations.collect())
}

fn path_item(
    resource: &Resource,
    has_namespace: bool,
    has_name: bool,
    operations: Vec<Operation<'_>>,
) -> Value {
    let mut item = Map::new();
    for operation in operations {
        item.insert(operation.method.to_owned(), described(&operation));
    }
    let path_parameter = |name: &str, description: String| {
        json!({
            "name": name, "in": "path", "required": true, "description": description,
            "schema": {"type": "string", "uniqueItems": true},
        })
    };
    let mut parameters = Vec::new();
    if has_name {
        parameters.push(path_parameter("name", format!("name of the {}", resource.kind)));
    }
    if has_namespace {
        let description = "object name and auth scope, such as for teams and projects".to_owned();
        parameters.push(path_parameter("namespace", description));
    }
    if !parameters.is_empty() {
        item.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(item)
}

fn described(operation: &Operation<'_>) -> Value {
    let parameters: Vec<Value> = operation
        .parameters
        .iter()
        .map(|(name, kind, description)| {
            json!({
                "name": name, "in": "query", "description": description,
                "schema": {"type": kind, "uniqueItems": true},
            })
        })
        .collect();
    let ok = match &operation.gives {
        Some(name) => json!({
            "description": "OK",
            "content": {"application/json": {"schema": reference(name)}},
        }),
        None => json!({
            "description": "OK",
            "content": {"*/*": {"schema": {"type": "string"}}},
        }),
    };
    let mut value = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "parameters": parameters,
        "responses": {"200": ok, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.gvk,
    });
    if let Some(body) = &operation.takes {
        let types: &[&str] = if body == PATCH {
            &[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                "application/apply-patch+yaml",
            ]
        } else {
            &["application/json"]
        };
        let content: Map<String, Value> = types
            .iter()
            .filter(|media| operation.merges || !media.contains("strategic"))
            .map(|media| ((*media).to_owned(), json!({ "schema": reference(body) })))
            .collect();
        value["requestBody"] = json!({"required": body != DELETE_OPTIONS, "content": content});
    }
    value
}
