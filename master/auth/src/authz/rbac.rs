//! Role-based access: who holds which rules, indexed by subject.
//!
//! The index is rebuilt when an RBAC object changed, seen by comparing the objects' addresses with the
//! ones it was built from (the index keeps them alive, so an address is never reused). A caller that
//! counts changes of the RBAC group saves even that comparison.
//!
//! # Invariants
//! - A binding whose role is missing grants nothing.
//! - An aggregated ClusterRole holds the rules of all it selects, resolved here: no controller's delay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use master_api::access::{Attributes, Identity, Reader};
use parking_lot::RwLock;
use serde_json::Value;

use crate::authz::rule::Rule;
use crate::json::{items, text, text_map};

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
const RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// The RBAC authorizer.
#[derive(Debug)]
pub(crate) struct Rbac {
    reader: Arc<dyn Reader>,
    /// Counts changes of the RBAC group, if the owner of the reader does.
    changes: Option<Arc<AtomicU64>>,
    index: RwLock<Arc<Index>>,
}

/// Rules that a binding grants to a subject.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) rules: Arc<[Rule]>,
    /// For instance `ClusterRoleBinding "a" of ClusterRole "b" to User "c"`.
    pub(crate) origin: Arc<str>,
}

#[derive(Debug, Default)]
struct Index {
    built_at_change: Option<u64>,
    sources: Vec<Arc<Value>>,
    cluster: Subjects,
    namespaces: BTreeMap<String, Subjects>,
}

#[derive(Debug, Default)]
struct Subjects {
    users: BTreeMap<String, Vec<Grant>>,
    groups: BTreeMap<String, Vec<Grant>>,
}

impl Rbac {
    pub(crate) fn new(reader: Arc<dyn Reader>, changes: Option<Arc<AtomicU64>>) -> Self {
        Self { reader, changes, index: RwLock::default() }
    }

    /// The binding that lets the request through.
    pub(crate) fn find(&self, request: &Attributes) -> Option<Arc<str>> {
        let index = self.index();
        let grants = index.grants(&request.identity, &request.namespace);
        let mut grants = grants.filter(|grant| grant.rules.iter().any(|rule| rule.allows(request)));
        grants.next().map(|grant| Arc::clone(&grant.origin))
    }

    /// Every rule that `identity` holds in a namespace, or cluster-wide where that is empty.
    pub(crate) fn rules(&self, identity: &Identity, namespace: &str) -> Vec<Rule> {
        let index = self.index();
        let grants = index.grants(identity, namespace);
        grants.flat_map(|grant| grant.rules.iter().cloned()).collect()
    }

    fn index(&self) -> Arc<Index> {
        let change = self.changes.as_ref().map(|changes| changes.load(Ordering::Acquire));
        let current = Arc::clone(&self.index.read());
        if change.is_some() && current.built_at_change == change {
            return current;
        }
        let lists = RESOURCES.map(|resource| self.reader.list(GROUP, resource, None));
        let objects = || lists.iter().flatten();
        let is_same = current.sources.len() == objects().count()
            && current.sources.iter().zip(objects()).all(|(old, new)| Arc::ptr_eq(old, new));
        if is_same && change.is_none() && !current.sources.is_empty() {
            return current;
        }
        let index = Arc::new(Index::build(lists, change));
        *self.index.write() = Arc::clone(&index);
        index
    }
}

impl Index {
    fn build(lists: [Vec<Arc<Value>>; 4], built_at_change: Option<u64>) -> Self {
        let [cluster_roles, roles, cluster_bindings, bindings] = &lists;
        let roles = Roles::build(cluster_roles, roles);
        let mut cluster = Subjects::default();
        for binding in cluster_bindings {
            cluster.add("ClusterRoleBinding", binding, &roles);
        }
        let mut namespaces: BTreeMap<String, Subjects> = BTreeMap::new();
        for binding in bindings {
            let namespace = text(binding, "/metadata/namespace").to_owned();
            namespaces.entry(namespace).or_default().add("RoleBinding", binding, &roles);
        }
        Self {
            built_at_change,
            sources: lists.into_iter().flatten().collect(),
            cluster,
            namespaces,
        }
    }

    fn grants<'a>(
        &'a self,
        identity: &'a Identity,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Grant> {
        let here = self.namespaces.get(namespace);
        std::iter::once(&self.cluster).chain(here).flat_map(|subjects| subjects.of(identity))
    }
}

impl Subjects {
    fn of<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a Grant> {
        let user = self.users.get(&identity.user).into_iter().flatten();
        user.chain(identity.groups.iter().filter_map(|group| self.groups.get(group)).flatten())
    }

    fn add(&mut self, kind: &str, binding: &Value, roles: &Roles) {
        let namespace = text(binding, "/metadata/namespace");
        let (role_kind, role_name) =
            (text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
        let Some(rules) = roles.rules(role_kind, namespace, role_name) else { return };
        let name = text(binding, "/metadata/name");
        let shown_name =
            if namespace.is_empty() { name.to_owned() } else { format!("{name}/{namespace}") };
        for subject in items(binding, "/subjects") {
            let (subject_kind, subject_name) = (text(subject, "/kind"), text(subject, "/name"));
            let origin = format!(
                "{kind} {shown_name:?} of {role_kind} {role_name:?} to {subject_kind} {:?}",
                shown_subject(subject, namespace)
            );
            let grant = Grant { rules: Arc::clone(&rules), origin: origin.into() };
            let place = match subject_kind {
                "Group" => self.groups.entry(subject_name.to_owned()),
                "User" => self.users.entry(subject_name.to_owned()),
                "ServiceAccount" => self.users.entry(service_account_user(subject, namespace)),
                _ => continue,
            };
            place.or_default().push(grant);
        }
    }
}

fn shown_subject(subject: &Value, namespace: &str) -> String {
    let name = text(subject, "/name");
    if text(subject, "/kind") != "ServiceAccount" {
        return name.to_owned();
    }
    let own = text(subject, "/namespace");
    format!("{name}/{}", if own.is_empty() { namespace } else { own })
}

fn service_account_user(subject: &Value, namespace: &str) -> String {
    let own = text(subject, "/namespace");
    let namespace = if own.is_empty() { namespace } else { own };
    format!("system:serviceaccount:{namespace}:{}", text(subject, "/name"))
}

/// All roles, aggregation resolved.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    cluster: BTreeMap<String, Arc<[Rule]>>,
    /// By namespace and name.
    namespaced: BTreeMap<(String, String), Arc<[Rule]>>,
}

impl Roles {
    pub(crate) fn read(reader: &dyn Reader) -> Self {
        Self::build(&reader.list(GROUP, "clusterroles", None), &reader.list(GROUP, "roles", None))
    }

    fn build(cluster_roles: &[Arc<Value>], roles: &[Arc<Value>]) -> Self {
        let cluster = cluster_roles
            .iter()
            .map(|role| {
                (text(role, "/metadata/name").to_owned(), aggregated(role, cluster_roles).into())
            })
            .collect();
        let key = |role: &Value| {
            (text(role, "/metadata/namespace").to_owned(), text(role, "/metadata/name").to_owned())
        };
        let namespaced = roles.iter().map(|role| (key(role), own_rules(role).into())).collect();
        Self { cluster, namespaced }
    }

    /// The rules of the role that a binding in `namespace` refers to.
    pub(crate) fn rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<[Rule]>> {
        match kind {
            "ClusterRole" => self.cluster.get(name).cloned(),
            _ => self.namespaced.get(&(namespace.to_owned(), name.to_owned())).cloned(),
        }
    }
}

/// The rules that stand in a role itself.
pub(crate) fn own_rules(role: &Value) -> Vec<Rule> {
    items(role, "/rules").iter().map(Rule::from_value).collect()
}

/// The rules of a ClusterRole and of all it aggregates, directly and through others.
fn aggregated(role: &Value, all: &[Arc<Value>]) -> Vec<Rule> {
    let mut seen = BTreeSet::from([text(role, "/metadata/name").to_owned()]);
    let mut waiting: Vec<&Value> = vec![role];
    let mut rules = Vec::new();
    while let Some(role) = waiting.pop() {
        for rule in own_rules(role) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        for selector in items(role, "/aggregationRule/clusterRoleSelectors") {
            for other in all.iter().filter(|other| selects(selector, other)) {
                if seen.insert(text(other, "/metadata/name").to_owned()) {
                    waiting.push(other);
                }
            }
        }
    }
    rules
}

/// Whether a label selector, as aggregation rules and quota scopes carry it, matches an object.
fn selects(selector: &Value, object: &Value) -> bool {
    let labels = text_map(object, "/metadata/labels");
    let wanted = text_map(selector, "/matchLabels");
    let expressions = items(selector, "/matchExpressions");
    if wanted.is_empty() && expressions.is_empty() {
        return false; // an empty selector would make every role part of this one
    }
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.iter().all(|expression| {
            let label = labels.get(text(expression, "/key"));
            let listed = |label: &String| {
                items(expression, "/values").iter().any(|value| value == label.as_str())
            };
            match text(expression, "/operator") {
                "In" => label.is_some_and(listed),
                "NotIn" => !label.is_some_and(listed),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => false,
            }
        })
}
