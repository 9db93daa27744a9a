//! One RBAC policy rule: what it allows, and which other rules it covers.
//!
//! Knows neither roles nor bindings, so that the same matching serves RBAC, the node authorizer and
//! the escalation check.

use master_api::access::Attributes;
use serde_json::{Value, json};

use crate::json::texts;

/// A rule of a Role or ClusterRole (`rbac.authorization.k8s.io/v1`, PolicyRule).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Verbs, or `*`.
    pub verbs: Vec<String>,
    /// API groups; "" is the core group.
    pub groups: Vec<String>,
    /// `pods`, `pods/log`, `*`, `*/scale`.
    pub resources: Vec<String>,
    /// Empty means every name.
    pub names: Vec<String>,
    /// `/healthz`, `/apis/*`, `*`.
    pub urls: Vec<String>,
}

impl Rule {
    /// Reads a rule of an object.
    pub fn from_value(value: &Value) -> Self {
        Self {
            verbs: texts(value, "/verbs"),
            groups: texts(value, "/apiGroups"),
            resources: texts(value, "/resources"),
            names: texts(value, "/resourceNames"),
            urls: texts(value, "/nonResourceURLs"),
        }
    }

    /// The rule as it stands in an object; empty lists are left out.
    pub fn to_value(&self) -> Value {
        let mut rule = json!({ "verbs": self.verbs });
        let lists = [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ];
        for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            rule[field] = json!(list);
        }
        rule
    }

    /// Whether this rule alone lets the request through.
    pub fn allows(&self, request: &Attributes) -> bool {
        if !has_or_star(&self.verbs, &request.verb) {
            return false;
        }
        if request.resource.is_empty() {
            return self.allows_url(&request.path);
        }
        has_or_star(&self.groups, &request.group)
            && self.allows_resource(&request.resource, &request.subresource)
            && (self.names.is_empty() || self.names.contains(&request.name))
    }

    fn allows_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|rule| match rule.split_once('/') {
            None => rule == "*" || (subresource.is_empty() && rule == resource),
            Some(("*", of)) => !subresource.is_empty() && of == subresource,
            Some((on, of)) => on == resource && of == subresource,
        })
    }

    fn allows_url(&self, path: &str) -> bool {
        self.urls.iter().any(|rule| match rule.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => rule == path,
        })
    }

    /// Rules with one verb, group, resource, name or URL each, that together say the same.
    pub fn atoms(&self) -> Vec<Rule> {
        let mut atoms = Vec::new();
        for verb in &self.verbs {
            let verbs = vec![verb.clone()];
            for url in &self.urls {
                atoms.push(Rule {
                    verbs: verbs.clone(),
                    urls: vec![url.clone()],
                    ..Rule::default()
                });
            }
            for (group, resource) in
                self.groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r)))
            {
                let atom = Rule {
                    verbs: verbs.clone(),
                    groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if self.names.is_empty() {
                    atoms.push(atom);
                } else {
                    let named = |name: &String| Rule { names: vec![name.clone()], ..atom.clone() };
                    atoms.extend(self.names.iter().map(named));
                }
            }
        }
        atoms
    }

    /// Whether everything that `atom` allows is allowed by this rule.
    pub fn covers(&self, atom: &Rule) -> bool {
        let within =
            |held: &[String], asked: &[String]| asked.iter().all(|one| has_or_star(held, one));
        if !within(&self.verbs, &atom.verbs) {
            return false;
        }
        if !atom.urls.is_empty() {
            return atom.urls.iter().all(|url| self.urls.contains(url) || self.allows_url(url));
        }
        within(&self.groups, &atom.groups)
            && atom.resources.iter().all(|resource| self.covers_resource(resource))
            && (self.names.is_empty()
                || (!atom.names.is_empty()
                    && atom.names.iter().all(|name| self.names.contains(name))))
    }

    fn covers_resource(&self, asked: &str) -> bool {
        self.resources.iter().any(|held| {
            let of_every = |rule: &str| rule.strip_prefix("*/").map(str::to_owned);
            held == "*"
                || held == asked
                || of_every(held)
                    .is_some_and(|of| asked.split_once('/').is_some_and(|(_, s)| s == of))
        })
    }

    /// The rule on one line, as upstream's messages show it.
    pub fn describe(&self) -> String {
        let lists = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.names),
            ("NonResourceURLs", &self.urls),
        ];
        let shown = lists.into_iter().filter(|(_, list)| !list.is_empty());
        let mut parts: Vec<String> =
            shown.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
        parts.push(format!("Verbs:{}", quoted(&self.verbs)));
        format!("{{{}}}", parts.join(", "))
    }
}

fn has_or_star(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

pub(crate) fn quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|one| format!("{one:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::notation::rule;

    /// `verb group resource[/sub] [name]` or `verb /path`, with `core` for the core group.
    fn request(line: &str) -> Attributes {
        let words: Vec<&str> = line.split(' ').collect();
        if words[1].starts_with('/') {
            return Attributes {
                verb: words[0].into(),
                path: words[1].into(),
                ..Attributes::default()
            };
        }
        let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2], ""));
        Attributes {
            verb: words[0].into(),
            group: if words[1] == "core" { "" } else { words[1] }.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: words.get(3).copied().unwrap_or_default().into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn a_rule_allows_what_it_names_and_no_more() {
        let table = [
            ("get | core | pods", "get core pods a", true),
            ("get | core | pods", "list core pods", false),
            ("get | core | pods", "get core pods/log a", false),
            ("get | core | pods/log", "get core pods/log a", true),
            ("get | core | pods/log", "get core pods a", false),
            ("get | core | *", "get core pods/log a", true),
            ("update | * | */scale", "update apps deployments/scale a", true),
            ("update | * | */scale", "update apps deployments a", false),
            ("* | apps | deployments", "delete apps deployments a", true),
            ("* | apps | deployments", "delete extensions deployments a", false),
            ("get | core | secrets | a,b", "get core secrets b", true),
            ("get | core | secrets | a,b", "get core secrets c", false),
            ("list | core | secrets | a,b", "list core secrets", false),
            ("get | core | podsx", "get core pods a", false),
            ("get | /healthz", "get /healthz", true),
            ("get | /healthz", "get /healthz/etcd", false),
            ("get | /healthz/*", "get /healthz/etcd", true),
            ("get | *", "get /anything", true),
            ("get | /healthz", "post /healthz", false),
            ("* | * | *", "get /healthz", false),
        ];
        for (held, asked, expected) in table {
            assert_eq!(rule(held).allows(&request(asked)), expected, "{held} <- {asked}");
        }
    }

    #[test]
    fn a_rule_covers_only_what_it_holds_itself() {
        let table = [
            ("* | * | *", "get | core | pods", true),
            ("get | core | pods", "* | core | pods", false),
            ("get | core | pods", "get | * | pods", false),
            ("get | core | pods | a", "get | core | pods", false),
            ("get | core | pods", "get | core | pods | a", true),
            ("get | core | */log", "get | core | pods/log", true),
            ("get | core | pods", "get | core | pods/log", false),
            ("get | /api/*", "get | /api/v1", true),
            ("get | /api", "get | /api/*", false),
        ];
        for (held, asked, expected) in table {
            let covered = rule(asked).atoms().iter().all(|atom| rule(held).covers(atom));
            assert_eq!(covered, expected, "{held} <- {asked}");
        }
    }
}
