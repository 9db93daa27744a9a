//! What a node that was taken over tries: other nodes' objects, secrets it does not need, its own labels.

use serde_json::{Value, json};

use crate::attacks::{JSON, MERGE, default_account, made, post};
use crate::world::{World, send};

/// Nodes `a` and `b`, a pod on each; the client is `a`.
async fn two_nodes() -> (World, kube::Client, kube::Client) {
    let world = World::bootstrapped().await;
    let admin = world.admin();
    default_account(&admin).await;
    for node in ["a", "b"] {
        made(&admin, "/api/v1/nodes", json!({"metadata": {"name": node}})).await;
        let secret = json!({"metadata": {"name": format!("of-{node}")}, "stringData": {"k": "v"}});
        made(&admin, "/api/v1/namespaces/default/secrets", secret).await;
        let pod = json!({"metadata": {"name": format!("on-{node}")}, "spec": {"nodeName": node,
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "secret": {"secretName": format!("of-{node}")}}]}});
        made(&admin, "/api/v1/namespaces/default/pods", pod).await;
        let lease = json!({"metadata": {"name": node}, "spec": {"holderIdentity": node}});
        made(&admin, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease).await;
    }
    let node = world.user("system:node:a", "system:nodes");
    (world, admin, node)
}

/// Sends lines that must be refused.
async fn refused(client: &kube::Client, cases: Vec<(String, Value)>) {
    for (line, body) in cases {
        let media = if line.starts_with("PATCH") { MERGE } else { JSON };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = send(client, &line, &[media], text).await;
        assert!(matches!(answer.code, 403 | 404), "{line} {body}: {} {}", answer.code, answer.text);
    }
}

#[tokio::test]
async fn a_node_does_not_touch_what_belongs_to_another() {
    let (world, _, node) = two_nodes().await;
    let pods = "/api/v1/namespaces/default/pods";
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let status = json!({"status": {"phase": "Failed"}});
    refused(
        &node,
        vec![
            ("PATCH /api/v1/nodes/b".into(), json!({"metadata": {"annotations": {"x": "y"}}})),
            ("PATCH /api/v1/nodes/b/status".into(), json!({"status": {"conditions": []}})),
            ("DELETE /api/v1/nodes/b".into(), Value::Null),
            ("DELETE /api/v1/nodes/a".into(), Value::Null),
            (format!("PATCH {pods}/on-b/status"), status.clone()),
            (format!("DELETE {pods}/on-b"), Value::Null),
            (format!("POST {pods}/on-b/eviction"), json!({"metadata": {"name": "on-b"}})),
            (format!("PATCH {pods}/on-a"), json!({"metadata": {"labels": {"x": "y"}}})),
            (
                format!("POST {pods}/on-a/binding"),
                json!({"metadata": {"name": "on-a"}, "target": {"name": "a"}}),
            ),
            (format!("PATCH {pods}/on-a/ephemeralcontainers"), json!({"spec": {}})),
            (format!("PATCH {leases}/b"), json!({"spec": {"holderIdentity": "a"}})),
            (format!("POST {leases}"), json!({"metadata": {"name": "c"}})),
            ("GET /api/v1/namespaces/default/secrets/of-b".into(), Value::Null),
            ("GET /api/v1/namespaces/default/secrets".into(), Value::Null),
            ("GET /api/v1/secrets".into(), Value::Null),
            (format!("GET {pods}/on-b/exec?command=ls"), Value::Null),
            ("GET /api/v1/nodes/b/proxy/pods".into(), Value::Null),
        ],
    )
    .await;
    let own = send(&node, &format!("PATCH {pods}/on-a/status"), &[MERGE], status.to_string()).await;
    assert_eq!(own.code, 200, "{}", own.text);
    let secret = send(&node, "GET /api/v1/namespaces/default/secrets/of-a", &[], "").await;
    assert_eq!(secret.code, 200, "{}", secret.text);
    world.end().await;
}

#[tokio::test]
async fn a_node_does_not_make_itself_what_it_is_not() {
    let (world, admin, node) = two_nodes().await;
    let own = || "PATCH /api/v1/nodes/a".to_owned();
    let label = |name: &str| json!({"metadata": {"labels": {name: "true"}}});
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1-2-3"}]);
    refused(
        &node,
        vec![
            (own(), label("node-role.kubernetes.io/control-plane")),
            (own(), label("node-restriction.kubernetes.io/trusted")),
            (own(), label("scheduling.k8s.io/x")),
            (own(), json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})),
            // The garbage collector would delete the node (CVE-2025-5187).
            (own(), json!({"metadata": {"ownerReferences": owner}})),
        ],
    )
    .await;
    // Through the status no label and no owner comes in.
    let sneaky = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}, "ownerReferences": owner}, "status": {"conditions": []}});
    send(&node, "PATCH /api/v1/nodes/a/status", &[MERGE], sneaky.to_string()).await;
    let kept = send(&admin, "GET /api/v1/nodes/a", &[], "").await.json;
    assert_eq!(kept["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(kept["metadata"]["labels"]["node-restriction.kubernetes.io/x"], Value::Null);
    let fine = send(&node, &own(), &[MERGE], label("kubelet.kubernetes.io/mine").to_string()).await;
    assert_eq!(fine.code, 200, "{}", fine.text);
    world.end().await;
}

#[tokio::test]
async fn a_node_starts_no_pod_that_reads_secrets_or_belongs_to_others() {
    let (world, _, node) = two_nodes().await;
    let pods = "/api/v1/namespaces/default/pods";
    let mirror = json!({"kubernetes.io/config.mirror": "x"});
    let pod = |annotations: &Value, spec: Value| {
        let mut full = json!({"nodeName": "a", "containers": [{"name": "c", "image": "i"}]});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({"metadata": {"name": "m", "annotations": annotations}, "spec": full})
    };
    let mut claims = pod(&mirror, json!({}));
    claims["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "c"}]);
    for body in [
        pod(&json!({}), json!({})),
        pod(&mirror, json!({"nodeName": "b"})),
        pod(&mirror, json!({"serviceAccountName": "default"})),
        pod(&mirror, json!({"volumes": [{"name": "v", "secret": {"secretName": "of-b"}}]})),
        pod(&mirror, json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]})),
        pod(
            &mirror,
            json!({"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "of-b"}}]}]}),
        ),
        claims,
    ] {
        let answer = post(&node, pods, body.clone()).await;
        assert_eq!(answer.code, 403, "{body}: {}", answer.text);
    }
    world.end().await;
}

#[tokio::test]
async fn a_node_gets_tokens_for_its_own_pods_only() {
    let (world, admin, node) = two_nodes().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let uid = |name: &str| {
        let (admin, line) = (admin.clone(), format!("GET /api/v1/namespaces/default/pods/{name}"));
        async move { send(&admin, &line, &[], "").await.json["metadata"]["uid"].clone() }
    };
    let bound = |name: &str, uid: Value| json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}}});
    let (on_a, on_b) = (uid("on-a").await, uid("on-b").await);
    for asked in [
        json!({"spec": {}}),
        bound("on-b", on_b.clone()),
        bound("on-a", on_b),
        json!({"spec": {"audiences": ["vault"], "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "on-a", "uid": on_a}}}),
    ] {
        let answer = post(&node, path, asked.clone()).await;
        assert!(answer.code >= 400, "{asked}: {}", answer.text);
    }
    let own = post(&node, path, bound("on-a", on_a)).await;
    assert_eq!(own.code, 201, "{}", own.text);
    world.end().await;
}
