//! The served resources, found by the names that paths use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use master_registry::Resource;

/// Every served resource.
#[derive(Debug)]
pub struct Catalog {
    /// In discovery order.
    all: Vec<Arc<Resource>>,
    /// By group, version and plural.
    by_name: BTreeMap<(String, String, String), Arc<Resource>>,
    names: BTreeSet<(String, String)>,
}

impl Catalog {
    /// A catalog of these resources, in discovery order.
    pub fn new(all: Vec<Arc<Resource>>) -> Self {
        let name =
            |r: &Arc<Resource>| (r.group.to_string(), r.version.to_string(), r.plural.to_string());
        let by_name = all.iter().map(|resource| (name(resource), resource.clone())).collect();
        let names = all.iter().map(|r| (r.group.to_string(), r.plural.to_string())).collect();
        Self { all, by_name, names }
    }

    /// All, in discovery order.
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.all
    }

    /// One resource in one version.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// Whether a resource is served in any version.
    pub fn knows(&self, group: &str, plural: &str) -> bool {
        self.names.contains(&(group.to_owned(), plural.to_owned()))
    }

    /// Whether a version of a group is served.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        self.all.iter().any(|r| r.group == group && r.version == version)
    }

    /// Groups with their versions, in discovery order.
    pub fn groups(&self) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for resource in &self.all {
            let (group, version) = (&*resource.group, &*resource.version);
            match groups.iter_mut().find(|(name, _)| *name == group) {
                Some((_, versions)) if versions.contains(&version) => {}
                Some((_, versions)) => versions.push(version),
                None => groups.push((group, vec![version])),
            }
        }
        let place = |group: &str| ORDER.iter().position(|name| *name == group);
        groups.sort_by_key(|(group, _)| place(group).unwrap_or(ORDER.len()));
        groups
    }
}

/// The order of groups in discovery, by which clients choose among kinds of the same name; users' own come after.
const ORDER: [&str; 21] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];
