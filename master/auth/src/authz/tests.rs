//! Who may do what in a new cluster, as tables; and that the refusals read as upstream's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::fixture::{Objects, core, identity, node, pod, request};
use crate::policy;

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn bind(namespace: &str, name: &str, role: &str, user: &str) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let (role_kind, role) = role.split_once('/').expect("a role has a kind");
    let mut binding = json!({
        "apiVersion": RBAC, "kind": kind, "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role },
        "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user }],
    });
    if !namespace.is_empty() {
        binding["metadata"]["namespace"] = json!(namespace);
    }
    binding
}

fn check(objects: &Arc<Objects>, who: &Identity, table: &[(&str, bool)]) {
    let authorizer = Authorizer::new(objects.clone());
    for (line, expected) in table {
        let decision = authorizer.authorize(&request(who, line));
        assert_eq!(decision.allowed, *expected, "{}: {line}: {}", who.user, decision.reason);
    }
}

#[test]
fn components_and_strangers_may_do_what_policy_says() {
    let objects = Objects::of_a_new_cluster();
    check(
        &objects,
        &identity("root system:masters"),
        &[("delete core nodes n", true), ("post /anything", true)],
    );
    check(
        &objects,
        &crate::authn::anonymous(),
        &[
            ("get /healthz", true),
            ("get /livez", true),
            ("get /version", true),
            ("get /api", false),
            ("get /metrics", false),
            ("list core pods default/", false),
            ("create authorization.k8s.io selfsubjectaccessreviews", false),
        ],
    );
    check(
        &objects,
        &identity("jane system:authenticated"),
        &[
            ("get /apis/apps/v1", true),
            ("create authorization.k8s.io selfsubjectaccessreviews", true),
            ("list core pods default/", false),
            ("get core secrets default/s", false),
        ],
    );
}

#[test]
fn the_masters_own_components_may_do_their_work() {
    let objects = Objects::of_a_new_cluster();
    check(
        &objects,
        &policy::scheduler(),
        &[
            ("list core pods", true),
            ("create core pods/binding default/p", true),
            ("patch core pods/status default/p", true),
            ("delete core pods default/p", true),
            ("create events.k8s.io events default/", true),
            ("get core secrets default/s", false),
            ("create core pods default/", false),
        ],
    );
    check(
        &objects,
        &policy::controller_manager(),
        &[
            ("create apps replicasets default/", true),
            ("update apps deployments/status default/d", true),
            ("create core pods default/", true),
            ("delete core pods default/p", true),
            ("update core endpoints default/e", true),
            ("create discovery.k8s.io endpointslices default/", true),
            ("deletecollection example.com widgets ns/", true),
            ("update core namespaces/finalize ns/ns", true),
            ("delete example.com widgets ns/w", true),
            ("create core serviceaccounts default/", true),
            ("create core configmaps default/", true),
            ("patch core nodes n", true),
            ("delete core nodes n", true),
            ("update certificates.k8s.io certificatesigningrequests/approval c", true),
            ("update core replicationcontrollers/status default/r", true),
            ("create batch jobs default/", true),
            ("create core events default/", true),
            ("approve certificates.k8s.io signers kubernetes.io/kubelet-serving", true),
            ("create rbac.authorization.k8s.io clusterroles", false),
        ],
    );
    check(
        &objects,
        &identity("system:bootstrap:abcdef system:bootstrappers system:authenticated"),
        &[
            ("create certificates.k8s.io certificatesigningrequests", true),
            ("create certificates.k8s.io certificatesigningrequests/nodeclient", true),
            ("create certificates.k8s.io certificatesigningrequests/selfnodeclient", false),
            ("list core nodes", false),
        ],
    );
}

#[test]
fn bindings_grant_in_their_namespace_only() {
    let objects = Objects::of_a_new_cluster();
    objects.put(bind("a", "edit", "ClusterRole/edit", "jane"));
    objects.put(bind("", "view", "ClusterRole/view", "joe"));
    objects.put(bind("a", "dangling", "Role/nowhere", "mallory"));
    check(
        &objects,
        &identity("jane system:authenticated"),
        &[
            ("create core pods a/", true),
            ("get core pods a/p", true), // edit aggregates view
            ("get core secrets a/s", true),
            ("create core pods b/", false),
            ("list core pods", false),
            ("create rbac.authorization.k8s.io roles a/", false),
        ],
    );
    check(
        &objects,
        &identity("joe"),
        &[
            ("list core pods", true),
            ("get core pods/log b/p", true),
            ("get core secrets b/s", false),
            ("create core pods b/", false),
        ],
    );
    check(&objects, &identity("mallory"), &[("get core pods a/p", false)]);
}

#[test]
fn service_accounts_are_subjects_by_name_and_by_group() {
    let objects = Objects::of_a_new_cluster();
    let mut binding = bind("a", "view", "ClusterRole/view", "");
    binding["subjects"] = json!([{ "kind": "ServiceAccount", "name": "robot", "namespace": "b" }]);
    objects.put(binding);
    let mut grouped = bind("c", "view", "ClusterRole/view", "");
    grouped["subjects"] = json!([{ "kind": "Group", "name": "system:serviceaccounts:b" }]);
    objects.put(grouped);
    let robot =
        identity("system:serviceaccount:b:robot system:serviceaccounts system:serviceaccounts:b");
    check(
        &objects,
        &robot,
        &[("get core pods a/p", true), ("get core pods c/p", true), ("get core pods b/p", false)],
    );
}

#[test]
fn changes_of_bindings_are_seen_at_once() {
    for changes in [None, Some(Arc::new(AtomicU64::new(1)))] {
        let objects = Objects::of_a_new_cluster();
        let authorizer = match &changes {
            None => Authorizer::new(objects.clone()),
            Some(changes) => Authorizer::with_changes(objects.clone(), changes.clone()),
        };
        let moved = || {
            changes.iter().for_each(|changes| {
                changes.fetch_add(1, Ordering::AcqRel);
            })
        };
        let asked = request(&identity("jane"), "get core pods a/p");
        assert!(!authorizer.authorize(&asked).allowed);
        let binding = bind("a", "view", "ClusterRole/view", "jane");
        objects.put(binding.clone());
        moved();
        let decision = authorizer.authorize(&asked);
        assert_eq!(
            decision.reason,
            r#"RBAC: allowed by RoleBinding "view/a" of ClusterRole "view" to User "jane""#
        );
        objects.remove(&binding);
        moved();
        assert!(!authorizer.authorize(&asked).allowed);
    }
}

#[test]
fn nodes_reach_what_their_pods_refer_to_and_nothing_else() {
    let objects = Objects::of_a_new_cluster();
    let mut mine = pod("a/mine", "n1");
    mine["spec"]["volumes"] = json!([
        { "name": "s", "secret": { "secretName": "in-volume" } },
        { "name": "c", "persistentVolumeClaim": { "claimName": "claim" } },
        { "name": "p", "projected": { "sources": [{ "configMap": { "name": "projected" } }] } },
    ]);
    mine["spec"]["containers"][0]["envFrom"] = json!([{ "secretRef": { "name": "env-from" } }]);
    mine["spec"]["initContainers"] = json!([{ "name": "i", "env": [
        { "name": "E", "valueFrom": { "secretKeyRef": { "name": "env", "key": "k" } } }] }]);
    mine["spec"]["imagePullSecrets"] = json!([{ "name": "pull" }]);
    objects.put(mine);
    let mut other = pod("a/other", "n2");
    other["spec"]["serviceAccountName"] = json!("other");
    other["spec"]["volumes"] = json!([{ "name": "s", "secret": { "secretName": "others" } }]);
    objects.put(other);
    let mut volume = core("PersistentVolume", "volume");
    volume["spec"] = json!({ "claimRef": { "namespace": "a", "name": "claim" } });
    objects.put(volume);
    check(
        &objects,
        &node("n1"),
        &[
            ("get core secrets a/in-volume", true),
            ("watch core secrets a/env-from", true),
            ("get core secrets a/env", true),
            ("get core secrets a/pull", true),
            ("get core secrets a/others", false),
            ("get core secrets b/in-volume", false),
            ("list core secrets a/", false),
            ("list core secrets", false),
            ("update core secrets a/in-volume", false),
            ("get core configmaps a/projected", true),
            ("get core configmaps a/in-volume", false),
            ("get core persistentvolumeclaims a/claim", true),
            ("get core persistentvolumes volume", true),
            ("create core serviceaccounts/token a/runner", true),
            ("create core serviceaccounts/token a/other", false),
            ("get core pods a/mine", true),
            ("get core pods a/other", false),
            ("list core pods", false),
            ("update core nodes/status n1", true),
            ("get core nodes n1", true),
            ("delete core nodes n1", false),
            ("update coordination.k8s.io leases kube-node-lease/n1", true),
            ("update coordination.k8s.io leases kube-node-lease/n2", false),
            ("update coordination.k8s.io leases kube-system/n1", false),
            ("list core services", true),
            ("list core nodes", true), // kube-proxy and the pod network act with the node's certificate
            ("watch discovery.k8s.io endpointslices", true),
            ("create certificates.k8s.io certificatesigningrequests", true),
            ("create certificates.k8s.io certificatesigningrequests/selfnodeclient", true),
            ("create core pods/exec a/mine", false),
            ("create rbac.authorization.k8s.io clusterrolebindings", false),
        ],
    );
    let authorizer = Authorizer::new(objects);
    let list = request(&node("n1"), "list core pods");
    for (selector, expected) in [
        ("spec.nodeName=n1", true),
        ("spec.nodeName==n1", true),
        ("spec.nodeName!=n1", false),
        ("spec.nodeName=n2", false),
    ] {
        assert_eq!(authorizer.authorize_selected(&list, selector).allowed, expected, "{selector}");
    }
}

#[test]
fn a_node_without_its_group_or_name_is_no_node() {
    let objects = Objects::of_a_new_cluster();
    check(
        &objects,
        &identity("system:node:n1 system:authenticated"),
        &[("update core nodes/status n1", false)],
    );
    check(&objects, &identity("n1 system:nodes"), &[("update core nodes/status n1", false)]);
    check(
        &objects,
        &identity("system:node: system:nodes"),
        &[("update core nodes/status n1", false)],
    );
}

#[test]
fn refusals_read_as_upstream_words_them() {
    let table = [
        (
            "list core pods y/",
            r#"pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y""#,
        ),
        (
            "get core pods/log y/p",
            r#"pods "p" is forbidden: User "x" cannot get resource "pods/log" in API group "" in the namespace "y""#,
        ),
        (
            "get apps deployments y/d",
            r#"deployments.apps "d" is forbidden: User "x" cannot get resource "deployments" in API group "apps" in the namespace "y""#,
        ),
        (
            "list core nodes",
            r#"nodes is forbidden: User "x" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
        ("get /metrics", r#"forbidden: User "x" cannot get path "/metrics""#),
    ];
    for (line, expected) in table {
        assert_eq!(forbidden(&request(&identity("x"), line), "").to_string(), expected);
    }
    let asked = request(&identity("x"), "get core nodes n");
    assert!(forbidden_message(&asked, "why").ends_with("at the cluster scope: why"));
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let objects = Objects::of_a_new_cluster();
    objects.put(bind("a", "admin", "ClusterRole/admin", "jane"));
    let authorizer = Authorizer::new(objects.clone());
    let jane = identity("jane system:authenticated");
    let role = |rule: &str| json!({ "kind": "Role", "metadata": { "name": "r", "namespace": "a" }, "rules": [policy::notation::rule(rule).to_value()] });
    let may = |role: &Value| authorizer.check_role(&jane, "roles", role, None);
    assert_eq!(may(&role("read | core | pods")), Ok(()));
    let error = may(&role("get,list | core | nodes")).unwrap_err();
    assert_eq!(
        error,
        "user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\" \"list\"]}"
    );
    assert!(may(&role("* | * | *")).is_err());
    assert!(may(&role("get | /metrics")).is_err());
    let old = role("* | * | *");
    assert_eq!(
        authorizer.check_role(&jane, "roles", &old, Some(&old)),
        Ok(()),
        "nothing new is granted"
    );
    let aggregated =
        json!({ "metadata": { "name": "c" }, "aggregationRule": { "clusterRoleSelectors": [] } });
    assert!(authorizer.check_role(&jane, "clusterroles", &aggregated, None).is_err());

    assert_eq!(
        authorizer.check_binding(&jane, &bind("a", "b", "ClusterRole/view", "joe"), None),
        Ok(())
    );
    assert!(
        authorizer
            .check_binding(&jane, &bind("a", "b", "ClusterRole/cluster-admin", "joe"), None)
            .is_err()
    );
    assert!(
        authorizer.check_binding(&jane, &bind("b", "b", "ClusterRole/view", "joe"), None).is_err()
    );
    assert!(
        authorizer.check_binding(&jane, &bind("", "b", "ClusterRole/view", "joe"), None).is_err()
    );
    let no_role = Refused::NoRole { role: "role".into(), name: "nowhere".into() };
    assert_eq!(
        authorizer.check_binding(&jane, &bind("a", "b", "Role/nowhere", "joe"), None),
        Err(no_role)
    );

    objects.put(json!({ "apiVersion": RBAC, "kind": "ClusterRole", "metadata": { "name": "binder" },
        "rules": [policy::notation::rule("bind,escalate | rbac.authorization.k8s.io | clusterroles,roles").to_value()] }));
    objects.put(bind("a", "binder", "ClusterRole/binder", "jane"));
    assert_eq!(
        authorizer.check_binding(&jane, &bind("a", "b", "ClusterRole/cluster-admin", "joe"), None),
        Ok(())
    );
    assert_eq!(may(&role("* | * | *")), Ok(()));
}

#[test]
fn an_aggregate_is_not_widened_by_itself_or_an_empty_selector() {
    let objects = Objects::of_a_new_cluster();
    objects
        .put(json!({ "apiVersion": RBAC, "kind": "ClusterRole", "metadata": { "name": "hollow" },
        "aggregationRule": { "clusterRoleSelectors": [{}] }, "rules": [] }));
    objects.put(bind("", "hollow", "ClusterRole/hollow", "jane"));
    check(
        &objects,
        &identity("jane"),
        &[("get core pods a/p", false), ("get core secrets a/s", false)],
    );
}

#[test]
fn reviews_answer_for_others_and_for_oneself() {
    let objects = Objects::of_a_new_cluster();
    objects.put(bind("a", "view", "ClusterRole/view", "jane"));
    let authorizer = Authorizer::new(objects);
    let spec = json!({ "spec": { "user": "jane", "resourceAttributes": { "verb": "get", "resource": "pods", "namespace": "a" } } });
    assert_eq!(review::subject_access(&authorizer, &spec).unwrap()["status"]["allowed"], true);
    let answer = review::self_subject_access(&authorizer, &spec, &identity("joe")).unwrap();
    assert_eq!(answer["status"]["allowed"], false);
    assert!(review::subject_access(&authorizer, &json!({ "spec": { "user": "jane" } })).is_err());
    assert!(review::subject_access(&authorizer, &json!({ "spec": {} })).is_err());
    let rules = review::self_subject_rules(
        &authorizer,
        &json!({ "spec": { "namespace": "a" } }),
        &identity("jane"),
    )
    .unwrap();
    assert!(
        rules["status"]["resourceRules"]
            .as_array()
            .unwrap()
            .iter()
            .any(|rule| { rule["resources"].as_array().unwrap().contains(&json!("pods")) })
    );
}
