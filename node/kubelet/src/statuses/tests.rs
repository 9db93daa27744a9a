//! Statuses on their way to an API that answers from a script.

use std::convert::Infallible;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use store_env::task::Crew;

use super::*;

/// What the API does with a status.
#[derive(Debug, Default)]
struct Script {
    /// The uid of the object that has the name; empty for none.
    uid: String,
    /// Status of the answer to patches of the right uid; 0 takes them.
    code: u16,
    delay: Duration,
    /// `VERB UID PHASE` of each change that was asked for.
    asked: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Api(Arc<Mutex<Script>>);

impl Api {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let delay = self.0.lock().delay;
        tokio::time::sleep(delay).await;
        let mut script = self.0.lock();
        let sent_uid = body["metadata"]["uid"].as_str().or(body["preconditions"]["uid"].as_str());
        if method != Method::GET {
            let phase = body["status"]["phase"].as_str().unwrap_or("-");
            let uid = sent_uid.unwrap_or("-");
            script.asked.push(format!("{method} {uid} {phase}"));
        }
        let code = match (&method, sent_uid) {
            _ if script.uid.is_empty() => 404,
            (&Method::PATCH, Some(sent)) if sent != script.uid => 422,
            (&Method::DELETE, Some(sent)) if sent != script.uid => 409,
            (&Method::PATCH, _) => script.code,
            _ => 0,
        };
        let meta = json!({"name": "web", "namespace": "ns", "uid": script.uid});
        let (code, answer) = match code {
            0 => (200, json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta})),
            code => {
                let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
                    "reason": "X", "message": "no", "code": code});
                (code, status)
            }
        };
        let bytes = serde_json::to_vec(&answer).unwrap();
        Response::builder().status(code).body(Body::from(bytes)).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().asked)
    }
}

/// Statuses that are sent, an API, and a copy of what it has.
struct Case {
    api: Api,
    statuses: Arc<Statuses>,
    shown: Store<Pod>,
    _crew: Crew,
}

fn case(script: Script) -> Case {
    let api = Api(Arc::new(Mutex::new(script)));
    let wire = api.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let wire = wire.clone();
        async move { Ok::<_, Infallible>(wire.answer(request).await) }
    });
    let objects = Objects::new(Some(kube::Client::new(service, "default")));
    let (statuses, shown) = (Statuses::new(objects), Store::default());
    let (stop, mut crew) = (CancellationToken::new(), Crew::new());
    let run = statuses.clone().run(Some(shown.clone()), stop);
    crew.spawn(async move { run.await.unwrap() });
    Case { api, statuses, shown, _crew: crew }
}

fn status(phase: &str, ready: &str) -> PodStatus {
    let conditions = json!([{"type": "Ready", "status": ready}]);
    serde_json::from_value(json!({"phase": phase, "conditions": conditions})).unwrap()
}

fn pod(uid: &str, annotations: &Value) -> Pod {
    let meta = json!({"name": "web", "namespace": "ns", "uid": uid, "annotations": annotations});
    serde_json::from_value(json!({"metadata": meta})).unwrap()
}

impl Case {
    /// What was asked for in this many seconds.
    async fn within(&self, seconds: u64) -> Vec<String> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.api.asked()
    }

    fn show(&self, status: PodStatus) {
        let mut pod = pod("u", &Value::Null);
        pod.status = Some(status);
        self.shown.replace(vec![pod], "1");
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_said_in_the_kubelets_place_is_said_again_without_hurry() {
    let case = case(Script { uid: "u".to_owned(), ..Script::default() });
    case.statuses.report(&pod("u", &Value::Null), status("Running", "True"));
    assert_eq!(case.within(1).await, ["PATCH u Running"]);
    case.show(status("Running", "True"));
    assert_eq!(case.within(60).await, [""; 0]);
    // The node was away: its pods count as unready.
    case.show(status("Running", "False"));
    assert_eq!(case.within(11).await, ["PATCH u Running"]);
    // Somebody who fights for it.
    let asked = case.within(100).await;
    assert!((9..=11).contains(&asked.len()), "{asked:?}");
    case.show(status("Running", "True"));
    assert_eq!(case.within(60).await, [""; 0]);
    // The masters gave the pod up; it does not rise from the dead.
    case.show(status("Failed", "False"));
    assert_eq!(case.within(60).await, [""; 0]);
    case.statuses.report(&pod("u", &Value::Null), status("Running", "False"));
    assert_eq!(case.within(60).await, [""; 0]);
    case.statuses.report(&pod("u", &Value::Null), status("Failed", "False"));
    assert_eq!(case.within(1).await, ["PATCH u Failed"]);
}

#[tokio::test(start_paused = true)]
async fn mirror_that_somebody_ended_shows_what_goes_on_all_the_same() {
    let case = case(Script { uid: "m".to_owned(), ..Script::default() });
    let own = pod("u", &json!({"kubernetes.io/config.source": "file"}));
    case.statuses.report(&own, status("Running", "True"));
    case.statuses.set_mirror("u", Some("m"));
    assert_eq!(case.within(15).await, ["PATCH m Running"]);
    let mut mirror = pod("m", &json!({"kubernetes.io/config.mirror": "h"}));
    mirror.status = Some(status("Failed", "False"));
    case.shown.replace(vec![mirror], "1");
    assert_eq!(case.within(11).await, ["PATCH m Running"]);
}

#[tokio::test(start_paused = true)]
async fn new_mirror_pod_gets_what_was_on_its_way_to_the_old_one() {
    let delay = Duration::from_secs(3);
    let case = case(Script { uid: "new".to_owned(), delay, ..Script::default() });
    let own = pod("u", &json!({"kubernetes.io/config.source": "file"}));
    case.statuses.report(&own, status("Running", "True"));
    case.statuses.set_mirror("u", Some("old"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    case.statuses.set_mirror("u", Some("new"));
    assert_eq!(case.within(60).await, ["PATCH old Running", "PATCH new Running"]);
}

#[tokio::test(start_paused = true)]
async fn status_for_an_object_that_is_gone_or_another_one_is_dropped() {
    for uid in ["", "other"] {
        let case = case(Script { uid: uid.to_owned(), ..Script::default() });
        case.statuses.report(&pod("u", &Value::Null), status("Failed", "False"));
        case.statuses.release(&pod("u", &Value::Null));
        assert_eq!(case.within(60).await, ["PATCH u Failed"], "{uid:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_status_is_sent_again_at_each_look_and_what_is_lost_to_a_race_at_once() {
    let case = case(Script { uid: "u".to_owned(), code: 422, ..Script::default() });
    case.statuses.report(&pod("u", &Value::Null), status("Running", "True"));
    let asked = case.within(60).await;
    assert!((5..=8).contains(&asked.len()), "{asked:?}");
    // Another one is another matter.
    case.statuses.report(&pod("u", &Value::Null), status("Failed", "False"));
    assert_eq!(case.within(1).await, ["PATCH u Failed"]);
    // A conflict with the right object has not settled anything.
    case.api.0.lock().code = 409;
    assert!(case.within(20).await.len() > 10);
    case.api.0.lock().code = 0;
    assert_eq!(case.within(20).await, ["PATCH u Failed"]);
}
