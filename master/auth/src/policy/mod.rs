//! The objects every cluster begins with: namespaces, roles, bindings, priority
//! classes, flow schemas and their levels.
//!
//! Facts, in a notation of their own beside this file; who creates and repairs them is the server.

mod flow;
pub(crate) mod notation;

use master_api::access::Identity;
use serde_json::{Value, json};

const CLUSTER_ROLES: &str = include_str!("cluster_roles.txt");
const CONTROLLER_ROLES: &str = include_str!("controller_roles.txt");
const ROLES: &str = include_str!("roles.txt");
const BINDINGS: &str = include_str!("bindings.txt");

/// The user of the controllers, which run in process on the leader.
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The user of the scheduler, which runs in process on the leader.
pub const SCHEDULER: &str = "system:kube-scheduler";
/// The user of the servers themselves.
pub const API_SERVER: &str = "system:apiserver";

/// Namespaces that exist always, and that nobody may delete.
pub const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Everything, in an order in which it can be created.
pub fn objects() -> Vec<Value> {
    [
        namespaces(),
        priority_classes(),
        flow::objects(),
        cluster_roles(),
        cluster_role_bindings(),
        roles(),
        role_bindings(),
    ]
    .concat()
}

/// The namespaces of every cluster.
pub fn namespaces() -> Vec<Value> {
    let namespace = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
            "spec": { "finalizers": ["kubernetes"] },
            "status": { "phase": "Active" },
        })
    };
    NAMESPACES.into_iter().map(namespace).collect()
}

/// The two priority classes of the system's pods.
pub fn priority_classes() -> Vec<Value> {
    let class = |name: &str, value: i64, use_: &str| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": { "name": name }, "value": value,
            "preemptionPolicy": "PreemptLowerPriority", "description": use_,
        })
    };
    vec![
        class("system-node-critical", 2_000_001_000, "For pods that must not leave their node."),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "For pods that the cluster needs, on whichever node.",
        ),
    ]
}

/// ClusterRoles for users, components and controllers.
pub fn cluster_roles() -> Vec<Value> {
    [notation::objects(CLUSTER_ROLES), notation::objects(CONTROLLER_ROLES)].concat()
}

/// Roles in the system's namespaces.
pub fn roles() -> Vec<Value> {
    notation::objects(ROLES)
}

/// ClusterRoleBindings, those of the controller roles included: to the controller's service account,
/// and to the one user as which all controllers of a master act.
pub fn cluster_role_bindings() -> Vec<Value> {
    let (mut bindings, _) = split_bindings();
    for role in notation::objects(CONTROLLER_ROLES) {
        let name = role["metadata"]["name"].as_str().expect("the notation names every role");
        let account = name.rsplit(':').next().expect("a split has at least one part");
        let line = format!(
            "bind {name} ClusterRole/{name} sa:kube-system/{account} user:{CONTROLLER_MANAGER}"
        );
        bindings.extend(notation::objects(&line));
    }
    bindings
}

/// RoleBindings in the system's namespaces.
pub fn role_bindings() -> Vec<Value> {
    split_bindings().1
}

fn split_bindings() -> (Vec<Value>, Vec<Value>) {
    notation::objects(BINDINGS)
        .into_iter()
        .partition(|binding| binding["kind"] == "ClusterRoleBinding")
}

/// As whom the controllers act.
pub fn controller_manager() -> Identity {
    component(CONTROLLER_MANAGER, &[])
}

/// As whom the scheduler acts.
pub fn scheduler() -> Identity {
    component(SCHEDULER, &[])
}

/// As whom a server acts on its own behalf: without limits.
pub fn api_server() -> Identity {
    component(API_SERVER, &[crate::authz::SUPERUSERS])
}

fn component(user: &str, groups: &[&str]) -> Identity {
    let groups =
        groups.iter().chain(&["system:authenticated"]).map(|group| (*group).to_owned()).collect();
    Identity { user: user.to_owned(), groups, ..Identity::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_binding_names_a_role_that_exists() {
        let name = |object: &Value| {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
            (namespace, object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        };
        let known: BTreeSet<_> = cluster_roles().iter().chain(&roles()).map(name).collect();
        for binding in cluster_role_bindings().iter().chain(&role_bindings()) {
            let (namespace, _) = name(binding);
            let role = binding["roleRef"]["name"].as_str().unwrap_or_default().to_owned();
            assert!(known.contains(&(namespace, role)), "{binding}");
        }
    }

    #[test]
    fn names_are_unique() {
        let objects = objects();
        let key = |object: &Value| {
            format!(
                "{}/{}/{}",
                object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]
            )
        };
        assert_eq!(objects.iter().map(key).collect::<BTreeSet<_>>().len(), objects.len());
    }
}
