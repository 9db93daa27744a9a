//! Discovery of all groups in one document (KEP-3352).

use master_registry::{Resource, Subresource};
use serde_json::{Value, json};

use crate::catalog::Catalog;

/// The core group's document, or that of all others.
pub(super) fn list(catalog: &Catalog, is_core: bool) -> Value {
    let groups = catalog.groups();
    let wanted = groups.iter().filter(|(name, _)| name.is_empty() == is_core);
    let items: Vec<Value> = wanted
        .map(|(name, versions)| {
            let versions: Vec<Value> =
                versions.iter().map(|version| self::version(catalog, name, version)).collect();
            let metadata = if name.is_empty() { json!({}) } else { json!({ "name": name }) };
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items,
    })
}

fn version(catalog: &Catalog, group: &str, version: &str) -> Value {
    let wanted = catalog.all().iter().filter(|r| r.group == group && r.version == version);
    let resources: Vec<Value> = wanted.map(|r| resource(r)).collect();
    json!({ "version": version, "resources": resources, "freshness": "Current" })
}

fn resource(resource: &Resource) -> Value {
    let mut described = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short.is_empty() {
        described["shortNames"] = json!(resource.short);
    }
    if !resource.categories.is_empty() {
        described["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let all = resource.subresources.iter();
        described["subresources"] = all.map(|sub| subresource(resource, *sub)).collect();
    }
    described
}

fn subresource(resource: &Resource, subresource: Subresource) -> Value {
    let (group, version, name) = subresource.body(resource);
    json!({
        "subresource": subresource.name(),
        "responseKind": kind(&group, &version, &name),
        "verbs": subresource.verbs(),
    })
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "version": version, "kind": kind })
}
