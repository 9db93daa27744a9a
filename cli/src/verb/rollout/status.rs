//! How far a rollout is, in kubectl's sentences.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::api::Api;
use crate::api::find::Found;
use crate::error::{Result, said};
use crate::object::{items, text};
use crate::outln;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Prints each new state until the rollout is done (or once, without `watch`).
pub(super) async fn run(api: &Api, found: &Found, watch: bool, timeout: Duration) -> Result {
    let until = (!timeout.is_zero()).then(|| Instant::now() + timeout);
    let mut object = found.object.clone();
    let mut last = String::new();
    loop {
        let (text, is_done) = state(&found.resource.kind, &object)?;
        if text != last {
            outln!("{text}");
            last = text;
        }
        if is_done || !watch {
            return Ok(());
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(said("timed out waiting for the condition"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        object = api.get(&found.path()).await?;
    }
}

/// The state in words, and whether it is the last one.
fn state(kind: &str, object: &Value) -> Result<(String, bool)> {
    let name = text(&object["metadata"]["name"]);
    let (spec, status) = (&object["spec"], &object["status"]);
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let is_seen =
        status["observedGeneration"].as_i64() >= object["metadata"]["generation"].as_i64();
    match kind {
        "Deployment" if !is_seen => {
            Ok(("Waiting for deployment spec update to be observed...".into(), false))
        }
        "Deployment" => deployment(name, wanted, status),
        "DaemonSet" if !is_seen => {
            Ok(("Waiting for daemon set spec update to be observed...".into(), false))
        }
        "DaemonSet" => {
            let (updated, desired, available) = (
                count("updatedNumberScheduled"),
                count("desiredNumberScheduled"),
                count("numberAvailable"),
            );
            Ok(if updated < desired {
                (
                    format!(
                        "Waiting for daemon set {name:?} rollout to finish: {updated} out of {desired} new pods have been updated..."
                    ),
                    false,
                )
            } else if available < desired {
                (
                    format!(
                        "Waiting for daemon set {name:?} rollout to finish: {available} of {desired} updated pods are available..."
                    ),
                    false,
                )
            } else {
                (format!("daemon set {name:?} successfully rolled out"), true)
            })
        }
        "StatefulSet" if !is_seen => {
            Ok(("Waiting for statefulset spec update to be observed...".into(), false))
        }
        "StatefulSet" => {
            let ready = count("readyReplicas");
            Ok(if ready < wanted {
                (format!("Waiting for {} pods to be ready...", wanted - ready), false)
            } else if status["updateRevision"] != status["currentRevision"] {
                (
                    format!(
                        "waiting for statefulset rolling update to complete {} pods at revision {}...",
                        count("updatedReplicas"),
                        text(&status["updateRevision"])
                    ),
                    false,
                )
            } else {
                (
                    format!(
                        "statefulset rolling update complete {} pods at revision {}...",
                        count("currentReplicas"),
                        text(&status["currentRevision"])
                    ),
                    true,
                )
            })
        }
        other => Err(said(format!("no status viewer has been implemented for {other}"))),
    }
}

fn deployment(name: &str, wanted: i64, status: &Value) -> Result<(String, bool)> {
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let late = items(&status["conditions"])
        .iter()
        .any(|one| one["type"] == "Progressing" && one["reason"] == "ProgressDeadlineExceeded");
    if late {
        return Err(said(format!("deployment {name:?} exceeded its progress deadline")));
    }
    let (updated, all, available) =
        (count("updatedReplicas"), count("replicas"), count("availableReplicas"));
    let waiting = format!("Waiting for deployment {name:?} rollout to finish:");
    Ok(if updated < wanted {
        (format!("{waiting} {updated} out of {wanted} new replicas have been updated..."), false)
    } else if all > updated {
        (format!("{waiting} {} old replicas are pending termination...", all - updated), false)
    } else if available < updated {
        (format!("{waiting} {available} of {updated} updated replicas are available..."), false)
    } else {
        (format!("deployment {name:?} successfully rolled out"), true)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deployment_s_state_is_said_as_kubectl_says_it() {
        let check = |observed: i64, updated: i64, all: i64, available: i64, wanted: &str| {
            let object = json!({
                "metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3},
                "status": {"observedGeneration": observed, "updatedReplicas": updated, "replicas": all, "availableReplicas": available},
            });
            assert_eq!(state("Deployment", &object).unwrap().0, wanted);
        };
        let waiting = "Waiting for deployment \"web\" rollout to finish:";
        check(1, 3, 3, 3, "Waiting for deployment spec update to be observed...");
        check(2, 1, 3, 3, &format!("{waiting} 1 out of 3 new replicas have been updated..."));
        check(2, 3, 4, 3, &format!("{waiting} 1 old replicas are pending termination..."));
        check(2, 3, 3, 2, &format!("{waiting} 2 of 3 updated replicas are available..."));
        check(2, 3, 3, 3, "deployment \"web\" successfully rolled out");
    }
}
