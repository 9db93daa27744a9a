//! What the chain completes and refuses, plugin by plugin.

mod classes;
mod limits;
mod policies;
mod security;

use serde_json::json;

use super::*;
use crate::fixture::{Objects, core, identity, node, pod};
use crate::policy;

/// A namespace `a` with a service account `default`, and `b`, which ends.
fn cluster() -> Arc<Objects> {
    let objects = Objects::of_a_new_cluster();
    objects.put(core("Namespace", "a"));
    let mut ending = core("Namespace", "b");
    ending["status"] = json!({ "phase": "Terminating" });
    objects.put(ending);
    objects.put(core("ServiceAccount", "a/default"));
    objects.put(core("ServiceAccount", "a/runner"));
    objects.put(core("Node", "n1"));
    objects
}

struct Case<'a> {
    objects: &'a Arc<Objects>,
    who: Identity,
}

impl Case<'_> {
    /// `create|update|delete core pods[/sub] ns/name`: the warnings, or the refusal.
    fn run(
        &self,
        line: &str,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, String> {
        let asked = crate::fixture::request(&self.who, line);
        let operation = match asked.verb.as_str() {
            "create" => Operation::Create,
            "delete" => Operation::Delete,
            _ => Operation::Update,
        };
        let request = Request {
            operation,
            group: &asked.group,
            resource: &asked.resource,
            subresource: &asked.subresource,
            kind: "",
            namespace: &asked.namespace,
            name: &asked.name,
            old,
            identity: &self.who,
            reader: self.objects.as_ref(),
            dry_run: false,
        };
        let chain = chain(&Arc::new(Authorizer::new(self.objects.clone())));
        chain.admit(&request, object).map_err(|error| error.to_string())
    }

    fn check(&self, line: &str, mut object: Value, old: Option<&Value>, refusal: &str) {
        let found = self.run(line, &mut object, old).err().unwrap_or_default();
        assert_eq!(found, refusal, "{}: {line}", self.who.user);
    }
}

fn as_root(objects: &Arc<Objects>) -> Case<'_> {
    Case { objects, who: identity("root system:masters") }
}

#[test]
fn namespaces_that_are_missing_or_end_take_nothing_new() {
    let objects = cluster();
    let root = as_root(&objects);
    let map = |name: &str| core("ConfigMap", name);
    root.check("create core configmaps a/x", map("a/x"), None, "");
    root.check("create core configmaps c/x", map("c/x"), None, "namespaces \"c\" not found");
    root.check("update core configmaps c/x", map("c/x"), None, "namespaces \"c\" not found");
    root.check("delete core configmaps c/x", Value::Null, None, "");
    root.check(
        "create core configmaps b/x", map("b/x"), None,
        "configmaps \"x\" is forbidden: unable to create new content in namespace b because it is being terminated",
    );
    root.check("update core configmaps b/x", map("b/x"), None, "");
    for (name, refusal) in [
        ("default", "namespaces \"default\" is forbidden: this namespace may not be deleted"),
        (
            "kube-system",
            "namespaces \"kube-system\" is forbidden: this namespace may not be deleted",
        ),
        (
            "kube-public",
            "namespaces \"kube-public\" is forbidden: this namespace may not be deleted",
        ),
        ("a", ""),
    ] {
        root.check(&format!("delete core namespaces {name}"), Value::Null, None, refusal);
    }
}

#[test]
fn a_pod_gets_account_token_tolerations_and_priority() {
    let objects = cluster();
    let root = as_root(&objects);
    let mut made = json!({ "metadata": { "name": "p" }, "spec": {
        "initContainers": [{ "name": "i" }],
        "containers": [{ "name": "c" }, { "name": "own", "volumeMounts": [
            { "name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }] }],
    } });
    root.run("create core pods a/p", &mut made, None).unwrap();
    let spec = &made["spec"];
    assert_eq!(
        (&spec["serviceAccountName"], &spec["serviceAccount"]),
        (&json!("default"), &json!("default"))
    );
    let volume = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-") && volume.len() == 21, "{volume}");
    assert_eq!(
        spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3607
    );
    assert_eq!(spec["initContainers"][0]["volumeMounts"][0]["name"], *volume);
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["readOnly"], true);
    assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&spec["priority"], &spec["preemptionPolicy"]),
        (&json!(0), &json!("PreemptLowerPriority"))
    );

    let once = made.clone();
    root.run("create core pods a/p", &mut made, None).unwrap();
    assert_eq!(made, once, "the chain changes nothing of its own result");
}

#[test]
fn storage_is_made_with_what_holds_it() {
    let objects = cluster();
    let root = as_root(&objects);
    for (line, finalizer) in [
        ("core persistentvolumeclaims a/x", "kubernetes.io/pvc-protection"),
        ("core persistentvolumes x", "kubernetes.io/pv-protection"),
        ("storage.k8s.io volumeattributesclasses x", "kubernetes.io/vac-protection"),
    ] {
        let mut made = json!({ "metadata": { "name": "x", "finalizers": ["own"] } });
        root.run(&format!("create {line}"), &mut made, None).unwrap();
        root.run(&format!("create {line}"), &mut made, None).unwrap();
        assert_eq!(made["metadata"]["finalizers"], json!(["own", finalizer]));
        let mut freed = json!({ "metadata": { "name": "x" } });
        root.run(&format!("update {line}"), &mut freed, Some(&made)).unwrap();
        assert_eq!(freed["metadata"].get("finalizers"), None, "{line}");
    }
}

#[test]
fn automount_is_the_pods_word_then_the_accounts() {
    let table = [
        (None, None, true),
        (None, Some(false), false),
        (Some(true), Some(false), true),
        (Some(false), None, false),
    ];
    for (of_pod, of_account, expected) in table {
        let objects = cluster();
        let mut account = core("ServiceAccount", "a/default");
        account["automountServiceAccountToken"] = json!(of_account);
        account["imagePullSecrets"] = json!([{ "name": "pull" }]);
        objects.put(account);
        let mut made = json!({ "spec": { "automountServiceAccountToken": of_pod, "containers": [{ "name": "c" }] } });
        as_root(&objects).run("create core pods a/p", &mut made, None).unwrap();
        assert_eq!(made["spec"]["volumes"].is_array(), expected, "{of_pod:?} {of_account:?}");
        assert_eq!(made["spec"]["imagePullSecrets"][0]["name"], "pull");
    }
}

#[test]
fn a_pod_needs_its_account() {
    let objects = cluster();
    let mut made = pod("a/p", "");
    made["spec"]["serviceAccountName"] = json!("ghost");
    as_root(&objects).check(
        "create core pods a/p", made, None,
        "pods \"p\" is forbidden: error looking up service account a/ghost: serviceaccount \"ghost\" not found",
    );
    objects.remove(&core("ServiceAccount", "a/default"));
    let asked = Request {
        operation: Operation::Create,
        group: "",
        resource: "pods",
        subresource: "",
        kind: "Pod",
        namespace: "a",
        name: "p",
        old: None,
        identity: &identity("x"),
        reader: objects.as_ref(),
        dry_run: false,
    };
    let chain = chain(&Arc::new(Authorizer::new(objects.clone())));
    let error = chain.mutate(&asked, &mut json!({ "spec": {} })).unwrap_err();
    assert!(waits_for_default_account(&error));
}

#[test]
fn priority_comes_from_its_class() {
    let objects = cluster();
    let root = as_root(&objects);
    let with = |class: &str, priority: Value| {
        let mut pod = pod("a/p", "");
        pod["spec"]["priorityClassName"] = json!(class);
        pod["spec"]["priority"] = priority;
        pod
    };
    let mut made = with("system-node-critical", Value::Null);
    root.run("create core pods a/p", &mut made, None).unwrap();
    assert_eq!(made["spec"]["priority"], 2_000_001_000);
    root.check(
        "create core pods a/p",
        with("ghost", Value::Null),
        None,
        "pods \"p\" is forbidden: no PriorityClass with name ghost was found",
    );
    root.check("create core pods a/p", with("system-node-critical", json!(7)), None,
        "pods \"p\" is forbidden: the integer value of priority (7) must not be provided in pod spec; \
         priority admission controller computed 2000001000 from the given PriorityClass name");
    let class = |name: &str| {
        json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": { "name": name }, "value": 5, "globalDefault": true })
    };
    objects.put(class("usual"));
    let mut made = pod("a/p", "");
    root.run("create core pods a/p", &mut made, None).unwrap();
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["priorityClassName"]),
        (&json!(5), &json!("usual"))
    );
    root.check("create scheduling.k8s.io priorityclasses other", class("other"), None,
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only one default can exist");
    root.check("update scheduling.k8s.io priorityclasses usual", class("usual"), None, "");
}

#[test]
fn a_node_touches_itself_only() {
    let objects = cluster();
    let agent = Case { objects: &objects, who: node("n1") };
    let own = |labels: Value| {
        let mut node = core("Node", "n1");
        node["metadata"]["labels"] = labels;
        node
    };
    let refused =
        |what: &str| format!("nodes \"n1\" is forbidden: node \"n1\" is not allowed to {what}");
    let plain = own(json!({}));
    agent.check("create core nodes n1", own(json!({ "kubernetes.io/hostname": "n1", "example.com/x": "y", "node.kubernetes.io/z": "" })), None, "");
    agent.check(
        "create core nodes n2",
        core("Node", "n2"),
        None,
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"",
    );
    agent.check(
        "create core nodes n1",
        own(json!({ "node-restriction.kubernetes.io/tier": "gold" })),
        None,
        &refused("set the following labels: node-restriction.kubernetes.io/tier"),
    );
    agent.check(
        "update core nodes n1",
        own(json!({ "node-role.kubernetes.io/control-plane": "" })),
        Some(&plain),
        &refused("modify labels: node-role.kubernetes.io/control-plane"),
    );
    agent.check(
        "update core nodes n1",
        own(json!({ "kubernetes.io/arch": "amd64" })),
        Some(&plain),
        "",
    );
    let mut owned = plain.clone();
    owned["metadata"]["ownerReferences"] = json!([{ "kind": "ConfigMap", "name": "x" }]);
    agent.check(
        "update core nodes n1",
        owned.clone(),
        Some(&plain),
        &refused("modify ownerReferences"),
    );
    agent.check(
        "update core nodes/status n1",
        owned,
        Some(&plain),
        &refused("modify ownerReferences"),
    );
    let mut tainted = plain.clone();
    tainted["spec"] = json!({ "taints": [{ "key": "k", "effect": "NoSchedule" }] });
    agent.check("update core nodes n1", plain.clone(), Some(&tainted), &refused("modify taints"));
    agent.check(
        "update core nodes/status n2",
        core("Node", "n2"),
        Some(&core("Node", "n2")),
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"",
    );
    let lease = json!({ "metadata": { "name": "n2" } });
    agent.check("create coordination.k8s.io leases kube-node-lease/", lease, None,
        "leases.coordination.k8s.io is forbidden: can only access node lease with the same name as the requesting node");
}

#[test]
fn a_node_touches_pods_bound_to_it_only() {
    let objects = cluster();
    objects.put(pod("a/mine", "n1"));
    objects.put(pod("a/other", "n2"));
    let agent = Case { objects: &objects, who: node("n1") };
    let (mine, other) = (pod("a/mine", "n1"), pod("a/other", "n2"));
    let refused = |name: &str, what: &str| format!("pods {name:?} is forbidden: {what}");
    agent.check("update core pods/status a/mine", mine.clone(), Some(&mine), "");
    agent.check(
        "update core pods/status a/other",
        other.clone(),
        Some(&other),
        &refused(
            "other",
            "node \"n1\" can only update pod status for pods with spec.nodeName set to itself",
        ),
    );
    let mut labelled = mine.clone();
    labelled["metadata"]["labels"] = json!({ "app": "web" });
    agent.check(
        "update core pods/status a/mine",
        labelled,
        Some(&mine),
        &refused("mine", "node \"n1\" cannot update labels through pod status"),
    );
    agent.check("delete core pods a/mine", Value::Null, Some(&mine), "");
    agent.check(
        "delete core pods a/other",
        Value::Null,
        Some(&other),
        &refused("other", "node \"n1\" can only delete pods with spec.nodeName set to itself"),
    );
    agent.check("create core pods/eviction a/mine", json!({}), None, "");
    agent.check(
        "create core pods/eviction a/other",
        json!({}),
        None,
        &refused("other", "node n1 can only evict pods with spec.nodeName set to itself"),
    );
    agent.check("create core pods a/p", pod("a/p", "n1"), None,
        &refused("p", "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods"));
}

#[test]
fn a_node_makes_mirror_pods_of_itself_that_refer_to_nothing() {
    let objects = cluster();
    let agent = Case { objects: &objects, who: node("n1") };
    let refused = |name: &str, what: &str| format!("pods {name:?} is forbidden: {what}");
    let mirror = |change: Value| {
        let mut pod = core("Pod", "a/p");
        pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "hash" });
        pod["spec"] = json!({ "nodeName": "n1", "containers": [{ "name": "c" }] });
        for (key, value) in change.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    for (change, refusal) in [
        (json!({}), ""),
        (
            json!({ "nodeName": "n2" }),
            "node \"n1\" can only create pods with spec.nodeName set to itself",
        ),
        (
            json!({ "volumes": [{ "name": "v", "secret": { "secretName": "s" } }] }),
            "a mirror pod may not reference secrets",
        ),
        (
            json!({ "volumes": [{ "name": "v", "configMap": { "name": "s" } }] }),
            "node \"n1\" can not create pods that reference configmaps",
        ),
        (
            json!({ "ephemeralContainers": [{ "envFrom": [{ "secretRef": { "name": "s" } }] }] }),
            "a mirror pod may not reference secrets",
        ),
        (
            json!({ "serviceAccountName": "default" }),
            "a mirror pod may not reference service accounts",
        ),
    ] {
        let refusal = if refusal.is_empty() { String::new() } else { refused("p", refusal) };
        agent.check("create core pods a/p", mirror(change), None, &refusal);
    }
}

#[test]
fn a_node_gets_tokens_for_its_pods_only() {
    let objects = cluster();
    objects.put(pod("a/mine", "n1"));
    objects.put(pod("a/other", "n2"));
    let agent = Case { objects: &objects, who: node("n1") };
    let bound = |name: &str, uid: &str| json!({ "spec": { "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid } } });
    let line = "create core serviceaccounts/token a/runner";
    let refused = |what: &str| format!("serviceaccounts \"runner\" is forbidden: {what}");
    agent.check(line, bound("mine", "uid-of-mine"), None, "");
    agent.check(
        line,
        bound("other", "uid-of-other"),
        None,
        &refused("node requested token bound to a pod scheduled on a different node"),
    );
    agent.check(
        line,
        bound("mine", ""),
        None,
        &refused("node requested token with a pod binding without a uid"),
    );
    agent.check(
        line,
        json!({ "spec": {} }),
        None,
        &refused("node requested token not bound to a pod"),
    );
    let mut wide = bound("mine", "uid-of-mine");
    wide["spec"]["audiences"] = json!(["vault"]);
    agent.check(line, wide, None, &refused("audience \"vault\" not found in pod spec volume"));
}

#[test]
fn roles_are_written_within_the_authors_own() {
    let objects = cluster();
    objects.put(json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "jane", "namespace": "a" },
        "roleRef": { "kind": "ClusterRole", "name": "admin" }, "subjects": [{ "kind": "User", "name": "jane" }] }));
    let jane = Case { objects: &objects, who: identity("jane") };
    let role = |rule: &str| json!({ "metadata": { "name": "r", "namespace": "a" }, "rules": [policy::notation::rule(rule).to_value()] });
    jane.check("create rbac.authorization.k8s.io roles a/r", role("get | core | pods"), None, "");
    let refusal = jane
        .run("create rbac.authorization.k8s.io roles a/r", &mut role("get | core | nodes"), None)
        .unwrap_err();
    assert!(
        refusal.starts_with("roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\""),
        "{refusal}"
    );
    let mut binding = json!({ "metadata": { "name": "b", "namespace": "a" }, "roleRef": { "kind": "ClusterRole", "name": "cluster-admin" } });
    assert!(
        jane.run("create rbac.authorization.k8s.io rolebindings a/b", &mut binding, None).is_err()
    );
}

#[test]
fn certificates_are_approved_by_those_who_may_and_never_for_superusers() {
    let objects = cluster();
    let pending = json!({ "metadata": { "name": "c" }, "spec": { "signerName": "kubernetes.io/kubelet-serving" } });
    let line = "update certificates.k8s.io certificatesigningrequests/approval c";
    Case { objects: &objects, who: policy::scheduler() }.check(line, pending.clone(), Some(&pending),
        "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to approve requests with signerName \"kubernetes.io/kubelet-serving\"");
    as_root(&objects).check(line, pending.clone(), Some(&pending), "");
    let csr = |organization: &str, name: &str, signer: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem =
            params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
        json!({ "spec": { "signerName": signer, "request": encoded } })
    };
    let create = "create certificates.k8s.io certificatesigningrequests c";
    let client = "kubernetes.io/kube-apiserver-client";
    as_root(&objects).check(create, csr("devs", "jane", client), None, "");
    as_root(&objects).check(create, csr("system:masters", "jane", client), None,
        "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed");
    let agent = Case { objects: &objects, who: node("n1") };
    let kubelet = "kubernetes.io/kube-apiserver-client-kubelet";
    agent.check(create, csr("system:nodes", "system:node:n1", kubelet), None, "");
    agent.check(create, csr("system:nodes", "system:node:n2", kubelet), None,
        "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: can only create a node CSR with CN=system:node:n1");
}

#[test]
fn new_nodes_are_tainted_and_claims_get_the_default_class() {
    let objects = cluster();
    let root = as_root(&objects);
    let mut made = core("Node", "n9");
    root.run("create core nodes n9", &mut made, None).unwrap();
    assert_eq!(
        made["spec"]["taints"],
        json!([{ "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" }])
    );
    objects.put(json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "fast",
        "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } } }));
    let mut claim = core("PersistentVolumeClaim", "a/c");
    root.run("create core persistentvolumeclaims a/c", &mut claim, None).unwrap();
    assert_eq!(claim["spec"]["storageClassName"], "fast");
}

#[test]
fn pods_are_labelled_with_zone_and_region_of_their_node() {
    let objects = cluster();
    let mut placed = core("Node", "n7");
    placed["metadata"]["labels"] = json!({ "topology.kubernetes.io/zone": "z1", "topology.kubernetes.io/region": "r1",
        "topology.kubernetes.io/rack": "k1" });
    objects.put(placed);
    let root = as_root(&objects);
    let (zone, region) = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region");
    #[rustfmt::skip]
    let cases = [
        ("create core pods a/p",         "n7", json!({ "a": "b" }),     json!({ "a": "b", zone: "z1", region: "r1" })),
        ("create core pods a/p",         "n7", json!({ zone: "mine" }), json!({ zone: "z1", region: "r1" })),
        ("update core pods/binding a/p", "n7", json!({ "a": "b" }),     json!({ "a": "b", zone: "z1", region: "r1" })),
        ("update core pods a/p",         "n7", json!({ "a": "b" }),     json!({ "a": "b" })),
        ("update core pods/binding a/p", "n1", json!({ "a": "b" }),     json!({ "a": "b" })),
        ("create core pods a/p",         "",   json!({ "a": "b" }),     json!({ "a": "b" })),
    ];
    for (line, node, labels, expected) in cases {
        let mut pod = pod("a/p", node);
        pod["metadata"]["labels"] = labels;
        let old = pod.clone();
        root.run(line, &mut pod, line.starts_with("update").then_some(&old)).unwrap();
        assert_eq!(pod["metadata"]["labels"], expected, "{line} {node}");
    }
}
