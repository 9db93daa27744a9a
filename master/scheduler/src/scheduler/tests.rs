//! The loop against an API of the test's own, which does what a server does with a binding.

use std::collections::BTreeMap;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use master_client::pod::PodStatus;
use parking_lot::Mutex;
use serde_json::{Value, json};
use store_env::clock::TokioClock;
use store_env::task::Group;
use tokio::sync::Notify;

use super::*;
use crate::context::Inputs;
use crate::fixture::{node, pod};
use crate::plugin::Strategy;

/// Answers the scheduler's writes, and applies them to its inputs as an informer would.
#[derive(Debug, Default)]
struct Server {
    inputs: Inputs,
    log: Mutex<Vec<String>>,
    /// Bindings refused before one is accepted.
    refusals: Mutex<usize>,
    changed: Notify,
}

impl Server {
    async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let path = head.uri.path().to_owned();
        let parts: Vec<&str> = path.trim_start_matches("/api/v1/namespaces/").split('/').collect();
        let reply = match (&head.method, parts.as_slice()) {
            (&Method::POST, [namespace, "pods", name, "binding"]) => {
                self.bind(&format!("{namespace}/{name}"), &body)
            }
            (&Method::PATCH, [namespace, "pods", name, "status"]) => {
                self.patch(&format!("{namespace}/{name}"), body)
            }
            (&Method::DELETE, [namespace, "pods", name]) => {
                let gone = self.inputs.pods.get(&format!("{namespace}/{name}")).unwrap();
                self.log.lock().push(format!("delete {name}"));
                self.inputs.pods.delete(gone.as_ref().clone());
                (200, json!({ "kind": "Status", "status": "Success" }))
            }
            (&Method::POST, [_, "events"]) => {
                let (reason, message) = (&body["reason"], &body["message"]);
                self.log.lock().push(format!(
                    "{}: {}",
                    reason.as_str().unwrap(),
                    message.as_str().unwrap()
                ));
                (201, body.clone())
            }
            _ => (200, body),
        };
        self.changed.notify_one();
        let (code, body) = reply;
        Response::builder()
            .status(code)
            .body(Body::from(serde_json::to_vec(&body).unwrap()))
            .unwrap()
    }

    fn bind(&self, key: &str, body: &Value) -> (u16, Value) {
        let mut refusals = self.refusals.lock();
        if *refusals > 0 {
            *refusals -= 1;
            return (
                409,
                json!({ "kind": "Status", "status": "Failure", "message": "no", "reason": "Conflict", "code": 409 }),
            );
        }
        let mut pod = self.inputs.pods.get(key).unwrap().as_ref().clone();
        pod.spec.as_mut().unwrap().node_name = body["target"]["name"].as_str().map(str::to_owned);
        self.inputs.pods.apply(pod);
        (201, json!({ "kind": "Status", "status": "Success" }))
    }

    fn patch(&self, key: &str, patch: Value) -> (u16, Value) {
        let mut pod = self.inputs.pods.get(key).unwrap().as_ref().clone();
        let said: PodStatus = serde_json::from_value(patch["status"].clone()).unwrap();
        let status = pod.status.get_or_insert_default();
        status.conditions = said.conditions.or(status.conditions.take());
        if patch["status"].get("nominatedNodeName").is_some() {
            status.nominated_node_name = said.nominated_node_name;
        }
        self.inputs.pods.apply(pod);
        (200, patch)
    }

    /// Waits until the log or the pods satisfy a condition.
    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                self.changed.notified().await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(120), wait).await;
        assert!(ended.is_ok(), "{:?} {:?}", self.log.lock(), self.places());
    }

    fn places(&self) -> BTreeMap<String, String> {
        let pods = self.inputs.pods.list();
        let placed = pods
            .iter()
            .filter_map(|pod| Some((key_of(pod.as_ref()), pod.spec.as_ref()?.node_name.clone()?)));
        placed.collect()
    }

    fn has_logged(&self, line: &str) -> bool {
        self.log.lock().iter().any(|logged| logged == line)
    }
}

/// A scheduler over these nodes, and the server it writes to.
fn started(nodes: Vec<Node>) -> (Arc<Server>, Group, CancellationToken) {
    let server = Arc::new(Server::default());
    let inputs = server.inputs.clone();
    inputs.nodes.replace(nodes, "1");
    inputs.pods.replace(Vec::new(), "1");
    inputs.namespaces.replace(Vec::new(), "1");
    inputs.disruption_budgets.replace(Vec::new(), "1");
    let service = {
        let server = Arc::clone(&server);
        tower::service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
        })
    };
    let stop = CancellationToken::new();
    let mut group = Group::under(&stop);
    let context = Context {
        client: kube::Client::new(service, "default"),
        inputs,
        clock: TokioClock::shared(1_800_000_000_000),
        strategy: Strategy::default(),
    };
    crate::start(context, &mut group);
    (server, group, stop)
}

async fn stopped(group: Group, stop: CancellationToken) {
    stop.cancel();
    group.run(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pods_are_bound_and_told_of() {
    let (server, group, stop) = started(vec![node("n1", json!({})), node("n2", json!({}))]);
    for index in 0..6 {
        server.inputs.pods.apply(pod(&format!("p{index}"), "1", json!({})));
    }
    server.until(|server| server.places().len() == 6).await;
    let on_first = server.places().values().filter(|node| *node == "n1").count();
    assert_eq!(on_first, 3, "{:?}", server.places());
    server
        .until(|server| {
            server.has_logged("Scheduled: Successfully assigned a/p0 to n1")
                || server.has_logged("Scheduled: Successfully assigned a/p0 to n2")
        })
        .await;
    stopped(group, stop).await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_node_preemption_has_nothing_to_say() {
    let (server, group, stop) = started(Vec::new());
    server.inputs.pods.apply(pod("p", "2", json!({})));
    let why = "no nodes available to schedule pods";
    server.until(|server| server.has_logged(&format!("FailedScheduling: {why}"))).await;
    stopped(group, stop).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_why_and_goes_when_a_node_comes() {
    let (server, group, stop) =
        started(vec![node("small", json!({ "status": { "allocatable": { "cpu": "1" } } }))]);
    server.inputs.pods.apply(pod("p", "2", json!({})));
    let why = "0/1 nodes are available: 1 Insufficient cpu. \
               preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    server.until(|server| server.has_logged(&format!("FailedScheduling: {why}"))).await;
    server
        .until(|server| {
            let pod = server.inputs.pods.get("a/p").unwrap();
            let conditions = pod
                .status
                .as_ref()
                .and_then(|status| status.conditions.clone())
                .unwrap_or_default();
            conditions.iter().any(|one| {
                one.type_ == "PodScheduled"
                    && one.status == "False"
                    && one.message.as_deref() == Some(why)
            })
        })
        .await;
    server.inputs.nodes.apply(node("large", json!({})));
    server.until(|server| server.places().get("a/p").is_some_and(|node| node == "large")).await;
    stopped(group, stop).await;
}

#[tokio::test(start_paused = true)]
async fn many_that_fit_nowhere_are_told_of_a_hundred_at_once_then_fifty_a_second() {
    let (server, group, stop) = started(Vec::new());
    for index in 0..300 {
        server.inputs.pods.apply(pod(&format!("p{index}"), "1", json!({})));
    }
    let began = tokio::time::Instant::now();
    let told = |server: &Server| {
        let pods = server.inputs.pods.list();
        pods.iter()
            .filter(|pod| pod.status.as_ref().is_some_and(|s| s.conditions.is_some()))
            .count()
    };
    server.until(|server| told(server) == 100).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    server.until(|server| told(server) == 300).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(3_900) && took < Duration::from_millis(4_100), "{took:?}");
    stopped(group, stop).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_binding_is_tried_again_and_its_room_given_back() {
    let (server, group, stop) = started(vec![node("n", json!({}))]);
    *server.refusals.lock() = 2;
    server.inputs.pods.apply(pod("p", "4", json!({})));
    server.until(|server| server.places().contains_key("a/p")).await;
    stopped(group, stop).await;
}

#[tokio::test(start_paused = true)]
async fn the_important_take_the_place_of_others() {
    let (server, group, stop) = started(vec![node("n", json!({}))]);
    server.inputs.pods.apply(pod("small", "3", json!({ "spec": { "priority": 1 } })));
    server.until(|server| server.places().contains_key("a/small")).await;
    server.inputs.pods.apply(pod("great", "3", json!({ "spec": { "priority": 1000 } })));
    server.until(|server| server.places().contains_key("a/great")).await;
    assert!(server.has_logged("delete small"));
    server
        .until(|server| server.has_logged("Preempted: Preempted by pod uid-great on node n"))
        .await;
    stopped(group, stop).await;
}

#[tokio::test(start_paused = true)]
async fn gated_foreign_and_finished_pods_are_left_alone() {
    let (server, group, stop) = started(vec![node("n", json!({}))]);
    server.inputs.pods.apply(pod(
        "gated",
        "",
        json!({ "spec": { "schedulingGates": [{ "name": "g" }] } }),
    ));
    server.inputs.pods.apply(pod("foreign", "", json!({ "spec": { "schedulerName": "other" } })));
    server.inputs.pods.apply(pod("done", "", json!({ "status": { "phase": "Succeeded" } })));
    server.inputs.pods.apply(pod("ours", "", json!({})));
    server.until(|server| server.places().len() == 1).await;
    server.inputs.pods.apply(pod("gated", "", json!({})));
    server.until(|server| server.places().len() == 2).await;
    assert_eq!(server.places().into_keys().collect::<Vec<_>>(), ["a/gated", "a/ours"]);
    stopped(group, stop).await;
}
