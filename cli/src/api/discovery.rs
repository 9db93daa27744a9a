//! Which kinds the cluster serves, and which of them a name means.

use serde_json::Value;

use super::{Api, escape};
use crate::error::{Result, said};

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// A served kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
    pub is_namespaced: bool,
    pub subresources: Vec<String>,
}

/// All of them, in the server's order of preference.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    pub resources: Vec<Resource>,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `pods`, `deployments.apps`.
    pub fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// `pod/x`, `deployment.apps/x`: how an object is called in messages and by `-o name`.
    pub fn named(&self, name: &str) -> String {
        match self.group.as_str() {
            "" => format!("{}/{name}", self.singular_name()),
            group => format!("{}.{group}/{name}", self.singular_name()),
        }
    }

    /// `pod`, `deployment.apps`.
    pub fn singular_qualified(&self) -> String {
        self.named("").trim_end_matches('/').to_owned()
    }

    fn singular_name(&self) -> String {
        if self.singular.is_empty() { self.kind.to_lowercase() } else { self.singular.clone() }
    }

    /// The path of the collection (`namespace` is ignored for cluster-scoped kinds; `None`: all).
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match namespace.filter(|_| self.is_namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{}", escape(namespace), self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// The path of one object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), escape(name))
    }

    /// Whether a verb is offered.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|offered| offered == verb)
    }
}

impl Discovery {
    /// The kind that a user's word means.
    pub fn find(&self, word: &str) -> Result<&Resource> {
        let lower = word.to_lowercase();
        let (name, rest) = lower.split_once('.').unwrap_or((&lower, ""));
        let by = |test: &dyn Fn(&Resource) -> bool| {
            self.resources.iter().find(|resource| fits(resource, rest) && test(resource))
        };
        by(&|resource| resource.plural == name)
            .or_else(|| by(&|resource| resource.singular == name))
            .or_else(|| by(&|resource| resource.short.iter().any(|short| short == name)))
            .or_else(|| by(&|resource| resource.kind.to_lowercase() == name))
            .ok_or_else(|| said(format!("the server doesn't have a resource type {word:?}")))
    }

    /// The kinds of a category such as `all`.
    pub fn category(&self, name: &str) -> Vec<&Resource> {
        let in_it = |resource: &&Resource| resource.categories.iter().any(|known| known == name);
        self.resources.iter().filter(in_it).collect()
    }

    /// The kind of an object that names its `apiVersion` and `kind`.
    pub fn of_object(&self, object: &Value) -> Result<&Resource> {
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        let found = self
            .resources
            .iter()
            .find(|resource| resource.kind == kind && resource.api_version() == api_version);
        found.ok_or_else(|| {
            said(format!(
                "no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first, or see `kctl api-resources` for what the server knows"
            ))
        })
    }
}

/// Whether `rest` of `deployments.apps` or `deployments.v1.apps` means this resource's group.
fn fits(resource: &Resource, rest: &str) -> bool {
    let with_version = format!("{}.{}", resource.version, resource.group);
    rest.is_empty()
        || rest == resource.group
        || resource.group.starts_with(&format!("{rest}."))
        || rest == with_version.trim_end_matches('.')
}

/// Asks the server, in one request per root.
pub(super) async fn discover(api: &Api) -> Result<Discovery> {
    let (core, groups) =
        futures::try_join!(api.get_as("/api", AGGREGATED), api.get_as("/apis", AGGREGATED))?;
    if core["kind"] == "APIGroupDiscoveryList" {
        let mut resources = aggregated(&core);
        resources.extend(aggregated(&groups));
        return Ok(Discovery { resources });
    }
    legacy(api, &core, &groups).await
}

fn aggregated(list: &Value) -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    for group in items(&list["items"]) {
        for version in items(&group["versions"]) {
            for entry in items(&version["resources"]) {
                let resource = Resource {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    kind: text(&entry["responseKind"]["kind"]),
                    plural: text(&entry["resource"]),
                    singular: text(&entry["singularResource"]),
                    short: texts(&entry["shortNames"]),
                    categories: texts(&entry["categories"]),
                    verbs: texts(&entry["verbs"]),
                    is_namespaced: entry["scope"] == "Namespaced",
                    subresources: items(&entry["subresources"])
                        .map(|sub| text(&sub["subresource"]))
                        .collect(),
                };
                resources.push(resource);
            }
        }
    }
    resources
}

async fn legacy(api: &Api, core: &Value, groups: &Value) -> Result<Discovery> {
    let mut roots: Vec<(String, String)> =
        texts(&core["versions"]).into_iter().map(|version| (String::new(), version)).collect();
    for group in items(&groups["groups"]) {
        for version in items(&group["versions"]) {
            roots.push((text(&group["name"]), text(&version["version"])));
        }
    }
    let mut discovery = Discovery::default();
    for (group, version) in roots {
        let path = match group.as_str() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        let list = api.get(&path).await?;
        discovery.resources.extend(legacy_resources(&list, &group, &version));
    }
    Ok(discovery)
}

fn legacy_resources(list: &Value, group: &str, version: &str) -> Vec<Resource> {
    let mut resources: Vec<Resource> = Vec::new();
    for entry in items(&list["resources"]) {
        let name = text(&entry["name"]);
        if let Some((plural, sub)) = name.split_once('/') {
            if let Some(parent) = resources.iter_mut().find(|resource| resource.plural == plural) {
                parent.subresources.push(sub.to_owned());
            }
            continue;
        }
        resources.push(Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text(&entry["kind"]),
            plural: name,
            singular: text(&entry["singularName"]),
            short: texts(&entry["shortNames"]),
            categories: texts(&entry["categories"]),
            verbs: texts(&entry["verbs"]),
            is_namespaced: entry["namespaced"] == true,
            subresources: Vec::new(),
        });
    }
    resources
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    items(value).map(text).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Discovery {
        let row = |group: &str,
                   version: &str,
                   kind: &str,
                   plural: &str,
                   short: &[&str],
                   namespaced: bool| Resource {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short: short.iter().map(|&short| short.to_owned()).collect(),
            categories: if namespaced { vec!["all".into()] } else { Vec::new() },
            verbs: vec!["get".into(), "list".into()],
            is_namespaced: namespaced,
            subresources: Vec::new(),
        };
        Discovery {
            resources: vec![
                row("", "v1", "Pod", "pods", &["po"], true),
                row("", "v1", "Node", "nodes", &["no"], false),
                row("", "v1", "Event", "events", &["ev"], true),
                row("apps", "v1", "Deployment", "deployments", &["deploy"], true),
                row("events.k8s.io", "v1", "Event", "events", &["ev"], true),
            ],
        }
    }

    #[test]
    fn words_find_their_kind() {
        let known = sample();
        #[rustfmt::skip]
        let cases = [
            // word                    found
            ("po",                     "pods"),
            ("Pod",                    "pods"),
            ("pods",                   "pods"),
            ("deploy",                 "deployments.apps"),
            ("deployments.apps",       "deployments.apps"),
            ("deployment.v1.apps",     "deployments.apps"),
            ("ev",                     "events"),
            ("events.events.k8s.io",   "events.events.k8s.io"),
            ("events.events",          "events.events.k8s.io"),
        ];
        for (word, found) in cases {
            assert_eq!(known.find(word).unwrap().qualified(), found, "{word}");
        }
        let error = known.find("gizmos").unwrap_err().to_string();
        assert_eq!(error, "error: the server doesn't have a resource type \"gizmos\"");
    }

    #[test]
    fn paths_carry_the_namespace_only_where_there_is_one() {
        let known = sample();
        let path = |word: &str| known.find(word).unwrap().object("ns", "x");
        assert_eq!(path("pods"), "/api/v1/namespaces/ns/pods/x");
        assert_eq!(path("nodes"), "/api/v1/nodes/x");
        assert_eq!(path("deploy"), "/apis/apps/v1/namespaces/ns/deployments/x");
        assert_eq!(known.find("deploy").unwrap().named("x"), "deployment.apps/x");
    }
}
