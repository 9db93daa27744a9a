//! Who owns whom, and what that means for an object. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, PropagationPolicy};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{FOREGROUND, ORPHAN};

/// What matters of one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) uid: Arc<str>,
    /// Shared by all objects of the kind.
    pub(super) resource: Arc<ApiResource>,
    pub(super) namespace: Option<Box<str>>,
    pub(super) name: Box<str>,
    pub(super) owners: Box<[OwnerReference]>,
    pub(super) is_deleting: bool,
    /// It has the finalizer [`FOREGROUND`].
    pub(super) is_foreground: bool,
    /// It has the finalizer [`ORPHAN`].
    pub(super) is_orphaning: bool,
}

/// What is read off an object's text.
#[derive(Debug, Deserialize)]
pub(super) struct Outline {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<Box<str>>,
    namespace: Option<Box<str>>,
    uid: Option<Arc<str>>,
    resource_version: Option<String>,
    owner_references: Option<Box<[OwnerReference]>>,
    finalizers: Option<Vec<String>>,
    deletion_timestamp: Option<IgnoredAny>,
}

impl Outline {
    pub(super) fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn resource_version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

impl Node {
    pub(super) fn of(resource: &Arc<ApiResource>, outline: Outline) -> Self {
        let Metadata {
            name, namespace, uid, owner_references, finalizers, deletion_timestamp, ..
        } = outline.metadata;
        let has = |one| finalizers.iter().flatten().any(|known| known == one);
        Self {
            uid: uid.unwrap_or_default(),
            resource: resource.clone(),
            namespace: namespace.filter(|namespace| !namespace.is_empty()),
            name: name.unwrap_or_default(),
            owners: owner_references.unwrap_or_default(),
            is_deleting: deletion_timestamp.is_some(),
            is_foreground: has(FOREGROUND),
            is_orphaning: has(ORPHAN),
        }
    }

    fn is_blocking(&self, owner: &str) -> bool {
        let blocks = |o: &OwnerReference| o.uid == owner && o.block_owner_deletion == Some(true);
        self.owners.iter().any(blocks)
    }
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<Arc<str>, Node>,
    /// By the owner's uid, whether the owner is known or not.
    dependents: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Every monitor has listed its kind.
    pub(super) is_synced: bool,
}

impl Graph {
    /// An object and those that name it as owner.
    pub(super) fn look_up(&self, uid: &str) -> Option<(Node, Vec<Node>)> {
        let node = self.nodes.get(uid)?.clone();
        let dependents = self.dependents.get(uid).into_iter().flatten();
        Some((node, dependents.filter_map(|uid| self.nodes.get(uid).cloned()).collect()))
    }

    /// Takes an object over; returns the uids that have to be looked at for it.
    pub(super) fn apply(&mut self, node: Node) -> Vec<String> {
        let before = self.unlink(&node.uid);
        if before.as_ref() == Some(&node) {
            self.link(node);
            return Vec::new();
        }
        let mut affected = Vec::new();
        if node.is_deleting {
            affected.push(node.uid.to_string());
            let dependents = self.dependents.get(&*node.uid).into_iter().flatten();
            affected.extend(dependents.map(ToString::to_string));
        } else if !node.owners.is_empty() {
            affected.push(node.uid.to_string());
        }
        // An owner that waits for this one may wait no longer.
        let owners = before.iter().flat_map(|before| &before.owners).chain(&node.owners);
        let waiting =
            |uid: &&String| self.nodes.get(uid.as_str()).is_some_and(|node| node.is_deleting);
        affected.extend(owners.map(|owner| &owner.uid).filter(waiting).cloned());
        affected.dedup();
        self.link(node);
        affected
    }

    /// Forgets an object; returns the uids that have to be looked at for it.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.unlink(uid) else { return Vec::new() };
        let dependents = self.dependents.get(uid).into_iter().flatten().map(ToString::to_string);
        dependents.chain(node.owners.into_iter().map(|owner| owner.uid)).collect()
    }

    /// The uids of all objects of a kind.
    pub(super) fn of_kind(&self, resource: &ApiResource) -> BTreeSet<Arc<str>> {
        let same = |node: &&Node| *node.resource == *resource;
        self.nodes.values().filter(same).map(|node| node.uid.clone()).collect()
    }

    fn link(&mut self, node: Node) {
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(node.uid.clone());
        }
        self.nodes.insert(node.uid.clone(), node);
    }

    fn unlink(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in &node.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        Some(node)
    }
}

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Solid,
    Gone,
    /// Being deleted in the foreground: it waits for its dependents, so it keeps nobody.
    WaitsForDependents,
}

/// What is to be done about an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    Nothing,
    Delete(PropagationPolicy),
    /// These dependents have to go before it.
    DeleteFirst(Vec<String>),
    DropOwners(Vec<String>),
    DropFinalizer(&'static str),
    Orphan,
}

/// `standings` are those of the node's owners, in order (not asked for if it is being deleted).
pub(super) fn plan(node: &Node, dependents: &[Node], standings: &[Standing]) -> Plan {
    if node.is_deleting {
        return leave(node, dependents);
    }
    let with = |standing: Standing| {
        let owners = node.owners.iter().zip(standings);
        owners.filter(|(_, s)| **s == standing).map(|(owner, _)| owner.uid.clone()).collect()
    };
    let solid: Vec<String> = with(Standing::Solid);
    let gone: Vec<String> = with(Standing::Gone);
    let waiting: Vec<String> = with(Standing::WaitsForDependents);
    if node.owners.is_empty() || (gone.is_empty() && waiting.is_empty()) {
        return Plan::Nothing;
    }
    if !solid.is_empty() {
        return Plan::DropOwners([gone, waiting].concat());
    }
    if !waiting.is_empty() && !dependents.is_empty() {
        // A dependent that is on its way out in the foreground too may wait for us in turn.
        let is_cycle = |d: &Node| d.is_deleting && d.is_foreground;
        if !dependents.iter().any(is_cycle) {
            return Plan::Delete(PropagationPolicy::Foreground);
        }
    }
    Plan::Delete(if node.is_orphaning {
        PropagationPolicy::Orphan
    } else if node.is_foreground {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    })
}

/// An object on its way out: the finalizers that are ours.
fn leave(node: &Node, dependents: &[Node]) -> Plan {
    if node.is_orphaning {
        return Plan::Orphan;
    }
    if !node.is_foreground {
        return Plan::Nothing;
    }
    let blocking = dependents.iter().filter(|dependent| dependent.is_blocking(&node.uid));
    let blocking: Vec<String> = blocking.map(|dependent| dependent.uid.to_string()).collect();
    if blocking.is_empty() {
        return Plan::DropFinalizer(FOREGROUND);
    }
    Plan::DeleteFirst(blocking)
}

#[cfg(test)]
mod tests {
    use kube::api::PropagationPolicy::{Background, Foreground, Orphan};

    use super::*;

    /// `uid<owner,owner!`: `!` blocks the owner; `-` is being deleted, with `F` foreground, `O`
    /// orphan.
    fn node(sketch: &str) -> Node {
        let (head, owners) = sketch.split_once('<').unwrap_or((sketch, ""));
        let uid = head.trim_end_matches(['-', 'F', 'O']);
        let owner = |word: &str| OwnerReference {
            uid: word.trim_end_matches('!').to_owned(),
            block_owner_deletion: Some(word.ends_with('!')),
            ..OwnerReference::default()
        };
        Node {
            uid: uid.into(),
            resource: ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()).into(),
            namespace: None,
            name: uid.into(),
            owners: owners.split(',').filter(|word| !word.is_empty()).map(owner).collect(),
            is_deleting: head.contains('-'),
            is_foreground: head.ends_with('F'),
            is_orphaning: head.ends_with('O'),
        }
    }

    /// Standings: `s` solid, `g` gone, `w` waits.
    fn check(sketch: &str, dependents: &str, standings: &str, expected: Plan) {
        let dependents: Vec<Node> = dependents.split_whitespace().map(node).collect();
        let standing = |mark| match mark {
            's' => Standing::Solid,
            'g' => Standing::Gone,
            _ => Standing::WaitsForDependents,
        };
        let standings: Vec<Standing> = standings.chars().map(standing).collect();
        assert_eq!(
            plan(&node(sketch), &dependents, &standings),
            expected,
            "{sketch}, {standings:?}"
        );
    }

    fn uids(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn object_goes_when_its_last_owner_is_gone() {
        check("a", "", "", Plan::Nothing);
        check("a<o", "", "s", Plan::Nothing);
        check("a<o", "", "g", Plan::Delete(Background));
        check("a<o,p", "", "gg", Plan::Delete(Background));
        check("a<o,p", "", "gs", Plan::DropOwners(uids("o")));
        check("a<o,p", "", "ws", Plan::DropOwners(uids("o")));
    }

    #[test]
    fn foreground_deletion_goes_down_the_tree_and_up_again() {
        check("a-F", "b<a!", "", Plan::DeleteFirst(uids("b")));
        check("b<a!", "", "w", Plan::Delete(Background));
        check("b<a!", "c<b!", "w", Plan::Delete(Foreground));
        check("a-F", "b<a", "", Plan::DropFinalizer(FOREGROUND));
        check("a-F", "", "", Plan::DropFinalizer(FOREGROUND));
        check("b<c!", "c-F<b!", "w", Plan::Delete(Background));
    }

    #[test]
    fn orphans_stay() {
        check("a-O", "b<a!", "", Plan::Orphan);
        check("aO<o", "", "g", Plan::Delete(Orphan));
        check("a-", "b<a!", "", Plan::Nothing);
    }

    #[test]
    fn node_is_what_matters_of_an_objects_text() {
        let resource = node("a").resource;
        let of = |text: &str| Node::of(&resource, serde_json::from_str(text).unwrap());
        let owner = r#"{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "o", "blockOwnerDeletion": true}"#;
        let text = format!(
            r#"{{"spec": {{}}, "metadata": {{"name": "a", "namespace": "n", "uid": "a", "ownerReferences": [{owner}],
                "finalizers": ["x/y", "orphan"], "deletionTimestamp": "2026-01-01T00:00:00Z", "managedFields": []}}}}"#
        );
        let mut expected = node("a-O<o!");
        expected.namespace = Some("n".into());
        (expected.owners[0].api_version, expected.owners[0].kind) = ("v1".into(), "Pod".into());
        expected.owners[0].name = "o".into();
        assert_eq!(of(&text), expected);
        let bare = r#"{"metadata": {"name": "a", "namespace": "", "uid": "a", "ownerReferences": null,
            "finalizers": null, "deletionTimestamp": null}}"#;
        assert_eq!(of(bare), node("a"));
    }

    #[test]
    fn graph_tells_whom_a_change_concerns() {
        let mut graph = Graph::default();
        assert_eq!(graph.apply(node("a")), uids(""));
        assert_eq!(graph.apply(node("b<a!")), uids("b"));
        assert_eq!(graph.apply(node("b<a!")), uids(""), "nothing new");
        assert_eq!(graph.apply(node("a-F")), uids("a b"));
        assert_eq!(graph.apply(node("b-<a!")), uids("b a"));
        assert_eq!(graph.remove("b"), uids("a"));
        assert_eq!(graph.remove("a"), uids(""));
        assert_eq!(graph.apply(node("c<gone")), uids("c"));
        assert_eq!(graph.look_up("gone"), None);
    }
}
