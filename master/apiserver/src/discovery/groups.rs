//! Discovery document by document, as clients before v1.26 read it.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master_api::meta::join_api_version;
use master_registry::{Resource, Subresource};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::catalog::Catalog;

/// `/`: the paths there are.
pub(super) fn root(catalog: &Catalog) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
    for (group, versions) in catalog.groups().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    let more = ["/healthz", "/livez", "/metrics", "/openapi/v3", "/readyz", "/version"];
    paths.extend(more.map(str::to_owned));
    json!({ "paths": paths })
}

/// `/api`.
pub(super) fn core_versions(advertise: SocketAddr) -> Value {
    let address = json!({ "clientCIDR": "0.0.0.0/0", "serverAddress": advertise.to_string() });
    json!({
        "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address],
    })
}

/// `/apis`.
pub(super) fn group_list(catalog: &Catalog) -> Value {
    let groups: Vec<Value> = catalog
        .groups()
        .into_iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, versions)| describe(name, &versions))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/<group>`.
pub(super) fn group(catalog: &Catalog, wanted: &str) -> Option<Value> {
    let groups = catalog.groups();
    let (name, versions) = groups.iter().find(|(name, _)| *name == wanted && !name.is_empty())?;
    let mut group = describe(name, versions);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

fn describe(name: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({ "groupVersion": join_api_version(name, version), "version": version });
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({ "name": name, "preferredVersion": all[0], "versions": all })
}

/// `/api/v1`, `/apis/<group>/<version>`.
pub(super) fn resources(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    if !catalog.serves(group, version) {
        return None;
    }
    let mut list = Vec::new();
    for resource in catalog.all().iter().filter(|r| r.group == group && r.version == version) {
        list.push(top(catalog, resource));
        list.extend(resource.subresources.iter().map(|sub| below(resource, *sub)));
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": join_api_version(group, version), "resources": list,
    }))
}

fn top(catalog: &Catalog, resource: &Resource) -> Value {
    let mut described = json!({
        "name": resource.plural, "singularName": resource.singular,
        "namespaced": resource.namespaced, "kind": resource.kind, "verbs": resource.verbs,
    });
    if !resource.short.is_empty() {
        described["shortNames"] = json!(resource.short);
    }
    if !resource.categories.is_empty() {
        described["categories"] = json!(resource.categories);
    }
    if resource.is_stored() {
        described["storageVersionHash"] = storage_version_hash(catalog, resource).into();
    }
    described
}

/// By which clients notice that a kind is stored otherwise than before.
fn storage_version_hash(catalog: &Catalog, resource: &Resource) -> String {
    let (group, plural) = resource.storage();
    let is_stored = |it: &&Arc<Resource>| {
        it.group == group && it.plural == plural && it.storage() == (&*it.group, &*it.plural)
    };
    let stored = catalog.all().iter().find(|it| is_stored(it) && it.stores_as_served());
    let version = stored.map_or(&*resource.version, |stored| &*stored.version);
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.kind));
    STANDARD.encode(&digest[..8])
}

fn below(resource: &Resource, subresource: Subresource) -> Value {
    let (group, version, kind) = subresource.body(resource);
    let mut described = json!({
        "name": format!("{}/{}", resource.plural, subresource.name()), "singularName": "",
        "namespaced": resource.namespaced, "kind": kind, "verbs": subresource.verbs(),
    });
    if group != resource.group || version != resource.version {
        described["group"] = json!(group);
        described["version"] = json!(version);
    }
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kube-apiserver 1.36.3 has them.
    #[test]
    fn storage_versions_are_told_apart_as_upstream_does() {
        let catalog = Catalog::new(master_registry::builtin());
        let of = |group: &str, version: &str, plural: &str| {
            storage_version_hash(&catalog, catalog.find(group, version, plural).unwrap())
        };
        assert_eq!(of("", "v1", "pods"), "xPOwRZ+Yhw8=");
        assert_eq!(of("apps", "v1", "deployments"), "8aSe+NMegvE=");
        for version in ["v1", "v2"] {
            let of = of("autoscaling", version, "horizontalpodautoscalers");
            assert_eq!(of, "qwQve8ut294=", "{version}");
        }
        for group in ["", "events.k8s.io"] {
            assert_eq!(of(group, "v1", "events"), "r2yiGXH7wu8=", "{group}");
        }
    }
}
