//! What the controller of Jobs asks of an API server.

use std::time::Duration;

use serde_json::{Value, json};
use store_env::task::Group;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::api::{Api, refusal};
use crate::testing::{object, time};

/// What the API's clock shows at the beginning, in seconds.
const NOW_S: i64 = 1_800_000_000;

fn job(version: &str, spec: Value, status: Value) -> Job {
    let mut spec = spec;
    spec["template"] = json!({"spec": {"containers": []}});
    spec["selector"] = json!({"matchLabels": {"job": "j"}});
    object(
        json!({"metadata": {"name": "j", "namespace": "ns", "uid": "u", "resourceVersion": version},
        "spec": spec, "status": status}),
    )
}

/// A job that finished a hundred seconds ago, and is to be there for so many after that.
fn finished(version: &str, ttl_s: i32) -> Job {
    let ended = time(NOW_S - 100);
    let complete = json!({"type": "Complete", "status": "True", "lastTransitionTime": ended});
    let spec = json!({"ttlSecondsAfterFinished": ttl_s});
    job(version, spec, json!({"completionTime": ended, "conditions": [complete]}))
}

#[tokio::test(start_paused = true)]
async fn pods_that_a_slow_watch_does_not_show_are_not_made_again() {
    let api = Api::new(|informers, (method, path, body)| {
        let mut said = body.clone();
        match (&**method, &**path) {
            ("POST", _) => {
                said["metadata"]["name"] = json!("j-1");
                said["metadata"]["resourceVersion"] = json!("100");
            }
            _ => {
                said["metadata"]["resourceVersion"] = json!("101");
                informers.jobs.apply(object(said.clone()));
            }
        }
        (200, said)
    });
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 6});
    api.cx.informers.jobs.apply(job("50", spec, json!({})));
    let stop = CancellationToken::new();
    let mut group = Group::under(&stop);
    start(&api.cx, &mut group);
    let made = || api.asked("POST", "/pods");
    for second in 0..120_u64 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if second == 60 {
            // Somebody writes the job while the watch of pods still lags.
            let mut known = (*api.cx.informers.jobs.get("ns/j").unwrap()).clone();
            known.metadata.resource_version = Some("102".to_owned());
            api.cx.informers.jobs.apply(known);
        }
        assert_eq!(made().len(), 1, "after {second} s");
    }
    let active = api.asked("PUT", "/status").last().map(|job| job["status"]["active"].clone());
    assert_eq!(active, Some(json!(1)));
    // The watch shows it, and that it is gone: now another one is due.
    api.cx.informers.pods.advance("200", false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(made().len(), 2);
    stop.cancel();
    group.run(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn job_whose_time_is_over_is_asked_for_and_goes_after_its_pods() {
    let asked = async |live: Option<Job>| {
        let api = Api::new(move |informers, (method, _, _)| match (&**method, &live) {
            ("GET", Some(live)) => (200, serde_json::to_value(live).unwrap()),
            ("GET", None) => refusal(404, "NotFound"),
            _ => {
                informers.jobs.delete(finished("9", 10));
                (200, json!({"kind": "Status", "status": "Success"}))
            }
        });
        let known = finished("5", 10);
        api.cx.informers.jobs.apply(known.clone());
        let requeue = expire(&api.cx, &known).await.unwrap();
        (requeue, api.asked("DELETE", "/jobs/j"))
    };
    let (_, deleted) = asked(Some(finished("7", 10))).await;
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0]["propagationPolicy"], "Foreground");
    assert_eq!(deleted[0]["preconditions"], json!({"uid": "u", "resourceVersion": "7"}));
    // Somebody gave it more time, which the copy does not show yet.
    let (requeue, deleted) = asked(Some(finished("7", 1_000))).await;
    assert_eq!((requeue, deleted), (Requeue::After(Duration::from_secs(900)), Vec::new()));
    // Another one of its name has not finished.
    let (requeue, deleted) = asked(Some(job("8", json!({}), json!({})))).await;
    assert_eq!((requeue, deleted), (Requeue::OnChange, Vec::new()));
    assert_eq!(asked(None).await, (Requeue::OnChange, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_job_is_said_once_its_status_is_written() {
    let mut api = Api::new(|_, (_, _, body)| {
        let told = &body["metadata"]["resourceVersion"];
        if *told == "1" { refusal(409, "Conflict") } else { (200, body.clone()) }
    });
    let spec = json!({"parallelism": 1, "completions": 1, "suspend": true});
    for (version, expected) in [("1", &[][..]), ("1", &[]), ("2", &["Suspended"])] {
        api.cx.informers.jobs.replace(vec![job(version, spec.clone(), json!({}))], "9");
        let written = reconcile(api.cx.clone(), Records::default(), "ns/j".to_owned()).await;
        assert_eq!(written.is_ok(), version == "2", "{written:?}");
        assert_eq!(api.writer.said(), expected, "{version}");
    }
}
