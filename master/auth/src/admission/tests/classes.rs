//! Classes of ingresses and claims: filled in where none is named, and obeyed when a claim grows.

use serde_json::json;

use super::*;

fn class(group: &str, kind: &str, name: &str, mark: &str, made_at: &str) -> Value {
    json!({ "apiVersion": format!("{group}/v1"), "kind": kind,
        "metadata": { "name": name, "creationTimestamp": made_at, "annotations": { mark: "true" } } })
}

#[test]
fn what_names_no_class_gets_the_newest_default() {
    let objects = cluster();
    let root = as_root(&objects);
    let ingress = || {
        json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "i", "namespace": "a" }, "spec": {} })
    };
    let chosen = |mut ingress: Value| {
        root.run("create networking.k8s.io ingresses a/i", &mut ingress, None).unwrap();
        ingress["spec"]["ingressClassName"].clone()
    };
    assert_eq!(chosen(ingress()), Value::Null, "there is no default");
    let mark = "ingressclass.kubernetes.io/is-default-class";
    for (name, made_at) in [
        ("old", "2026-11-01T00:00:00Z"),
        ("new-a", "2026-11-02T00:00:00Z"),
        ("new-b", "2026-11-02T00:00:00Z"),
    ] {
        objects.put(class("networking.k8s.io", "IngressClass", name, mark, made_at));
        let mark = "storageclass.kubernetes.io/is-default-class";
        objects.put(class("storage.k8s.io", "StorageClass", name, mark, made_at));
    }
    assert_eq!(chosen(ingress()), "new-a");
    let mut named = ingress();
    named["spec"]["ingressClassName"] = json!("own");
    assert_eq!(chosen(named), "own");
    let mut annotated = ingress();
    annotated["metadata"]["annotations"] = json!({ "kubernetes.io/ingress.class": "own" });
    assert_eq!(chosen(annotated), Value::Null);

    let mut claim = core("PersistentVolumeClaim", "a/c");
    root.run("create core persistentvolumeclaims a/c", &mut claim, None).unwrap();
    assert_eq!(claim["spec"]["storageClassName"], "new-a");
}

#[test]
fn a_claim_grows_only_where_its_class_lets_it() {
    let objects = cluster();
    let root = as_root(&objects);
    for (name, grows) in [("soft", true), ("hard", false)] {
        objects.put(json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": { "name": name }, "allowVolumeExpansion": grows }));
    }
    let claim = |class: &str, size: &str, phase: &str| {
        let mut claim = core("PersistentVolumeClaim", "a/c");
        claim["spec"] =
            json!({ "storageClassName": class, "resources": { "requests": { "storage": size } } });
        claim["status"] = json!({ "phase": phase });
        claim
    };
    let check = |old: Value, new: Value, refusal: &str| {
        let refusal = match refusal {
            "" => String::new(),
            why => format!("persistentvolumeclaims \"c\" is forbidden: {why}"),
        };
        root.check("update core persistentvolumeclaims a/c", new, Some(&old), &refusal);
    };
    let hard = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    let unbound = "Only bound persistent volume claims can be expanded";
    check(claim("soft", "1Gi", "Bound"), claim("soft", "2Gi", "Bound"), "");
    check(claim("soft", "1Gi", "Pending"), claim("soft", "2Gi", "Pending"), unbound);
    check(claim("hard", "1Gi", "Bound"), claim("hard", "2Gi", "Bound"), hard);
    check(claim("hard", "1Gi", "Bound"), claim("hard", "1024Mi", "Bound"), "");
    check(claim("nowhere", "1Gi", "Bound"), claim("nowhere", "2Gi", "Bound"), hard);
    check(claim("", "1Gi", "Bound"), claim("", "2Gi", "Bound"), hard);
}
