//! Machines that come, fall silent, and ask for certificates.

use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::world::{World, until};

/// A node that is ready.
pub(crate) async fn add(world: &World, name: &str) {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    beat(world, name).await;
}

/// The kubelet says that it is well.
async fn beat(world: &World, name: &str) {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let now = k8s_openapi::jiff::Timestamp::from_second(i64::try_from(now).unwrap()).unwrap();
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
        "reason": "KubeletReady", "lastHeartbeatTime": now.to_string()}]}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(status)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_get_pod_addresses_of_their_own() {
    let world = World::start().await;
    for name in ["node-1", "node-2", "node-3"] {
        add(&world, name).await;
    }
    let nodes: Api<Node> = Api::all(world.client.clone());
    let ranges = async || {
        let nodes = nodes.list(&Default::default()).await.unwrap().items;
        let ranges = nodes.into_iter().filter_map(|node| node.spec?.pod_cidr);
        let mut ranges: Vec<String> = ranges.collect();
        ranges.sort();
        ranges
    };
    let expected = ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"].map(str::to_owned);
    until(expected.to_vec(), ranges).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_node_is_unknown_tainted_and_loses_its_pods() {
    let world = World::with(|config| config.node_grace = Duration::from_secs(2)).await;
    add(&world, "node-1").await;
    add(&world, "node-2").await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "node-1",
        "containers": [{"name": "c", "image": "web:1"}], "tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 1},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 1}]}});
    world.create::<Pod>(pod).await;
    world.make_ready("web:1").await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    let pods: Api<Pod> = world.api();
    let state = async || {
        beat(&world, "node-2").await;
        let node = nodes.get("node-1").await.unwrap();
        let conditions = node.status.unwrap().conditions.unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        let taints = node.spec.unwrap_or_default().taints.unwrap_or_default();
        let mut effects: Vec<String> = taints
            .iter()
            .filter(|taint| taint.key == "node.kubernetes.io/unreachable")
            .map(|taint| taint.effect.clone())
            .collect();
        effects.sort();
        let is_going = pods
            .get_opt("p")
            .await
            .unwrap()
            .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
        (ready.status.clone(), effects.join(" "), is_going)
    };
    until(("Unknown".to_owned(), "NoExecute NoSchedule".to_owned(), true), state).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_gets_the_certificate_it_asks_for() {
    let world = World::start().await;
    let (csr, _key) = master_pki::ca::request("system:node:node-1", Some("system:nodes")).unwrap();
    let requests: Api<CertificateSigningRequest> = Api::all(world.client.clone());
    // The server notes who asks; a superuser is no node, so this one is approved by hand.
    let request = json!({"metadata": {"name": "r"}, "spec": {
        "request": k8s_openapi::ByteString(csr.into_bytes()),
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "usages": ["digital signature", "client auth"]}});
    let request = serde_json::from_value(request).unwrap();
    requests.create(&PostParams::default(), &request).await.unwrap();
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True",
        "reason": "ByHand", "message": "a test"}]}});
    let params = PatchParams::default();
    requests
        .patch_subresource("approval", "r", &params, &Patch::Strategic(approval))
        .await
        .unwrap();
    let certificate = async || {
        let status = requests.get("r").await.unwrap().status.unwrap_or_default();
        let pem = status.certificate.map(|bytes| String::from_utf8(bytes.0).unwrap());
        pem.is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----"))
    };
    until(true, certificate).await;
    world.end().await;
}
