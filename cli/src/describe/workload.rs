//! Deployments, replica sets and their kin, jobs.

use master_api::jsonpath::shown;
use serde_json::Value;

use super::{Page, controller_of, head, labels, pod};
use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::error::Result;
use crate::object::{items, selector_query, text};
use crate::print::human;

pub(super) async fn deployment(api: &Api, page: &mut Page, object: &Value) -> Result {
    let (spec, status) = (&object["spec"], &object["status"]);
    head(page, object);
    page.line(
        0,
        "CreationTimestamp",
        human::long_time(text(&object["metadata"]["creationTimestamp"])),
    );
    labels(page, object);
    page.line(0, "Selector", selector_query(&spec["selector"]));
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    page.line(
        0,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            spec["replicas"].as_i64().unwrap_or(1),
            count("updatedReplicas"),
            count("replicas"),
            count("availableReplicas"),
            count("unavailableReplicas"),
        ),
    );
    page.line(0, "StrategyType", text(&spec["strategy"]["type"]));
    page.line(0, "MinReadySeconds", spec["minReadySeconds"].as_i64().unwrap_or(0).to_string());
    if let Some(rolling) = spec["strategy"].get("rollingUpdate") {
        page.line(
            0,
            "RollingUpdateStrategy",
            format!(
                "{} max unavailable, {} max surge",
                shown(&rolling["maxUnavailable"]),
                shown(&rolling["maxSurge"])
            ),
        );
    }
    pod::template(page, &spec["template"]);
    page.conditions(
        &status["conditions"],
        &[("Type", "type"), ("Status", "status"), ("Reason", "reason")],
    );
    let (new, old) = replica_sets(api, object).await?;
    let line = |set: &Value| {
        let made = set["status"]["replicas"].as_i64().unwrap_or(0);
        let wanted = set["spec"]["replicas"].as_i64().unwrap_or(0);
        format!("{} ({made}/{wanted} replicas created)", text(&set["metadata"]["name"]))
    };
    let joined = |sets: &[Value]| {
        let lines: Vec<_> = sets.iter().map(line).collect();
        if lines.is_empty() { "<none>".to_owned() } else { lines.join(", ") }
    };
    page.line(0, "OldReplicaSets", joined(&old));
    page.line(0, "NewReplicaSet", joined(&new));
    Ok(())
}

/// The replica set of the current template, and the others.
async fn replica_sets(api: &Api, deployment: &Value) -> Result<(Vec<Value>, Vec<Value>)> {
    let resource = api.resource("replicasets.apps").await?;
    let namespace = text(&deployment["metadata"]["namespace"]);
    let query = selector_query(&deployment["spec"]["selector"]);
    let list = api
        .get(&with_query(&resource.collection(Some(namespace)), &[("labelSelector", query)]))
        .await?;
    let uid = &deployment["metadata"]["uid"];
    let is_ours = |set: &&Value| {
        items(&set["metadata"]["ownerReferences"]).iter().any(|owner| owner["uid"] == *uid)
    };
    let revision = |object: &Value| {
        text(&object["metadata"]["annotations"]["deployment.kubernetes.io/revision"]).to_owned()
    };
    let current = revision(deployment);
    Ok(items(&list["items"])
        .iter()
        .filter(is_ours)
        .cloned()
        .partition(|set| revision(set) == current))
}

pub(super) async fn controller(api: &Api, page: &mut Page, found: &Found) -> Result {
    let object = &found.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    head(page, object);
    page.line(0, "Selector", selector_query(&spec["selector"]));
    labels(page, object);
    if let Some(owner) = controller_of(object) {
        page.line(0, "Controlled By", owner);
    }
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    if found.resource.kind == "DaemonSet" {
        page.line(
            0,
            "Desired Number of Nodes Scheduled",
            count("desiredNumberScheduled").to_string(),
        );
        page.line(
            0,
            "Current Number of Nodes Scheduled",
            count("currentNumberScheduled").to_string(),
        );
        page.line(
            0,
            "Number of Nodes Scheduled with Available Pods",
            count("numberAvailable").to_string(),
        );
    } else {
        page.line(
            0,
            "Replicas",
            format!(
                "{} current / {} desired",
                count("replicas"),
                spec["replicas"].as_i64().unwrap_or(1)
            ),
        );
    }
    pods_status(api, page, object).await?;
    pod::template(page, &spec["template"]);
    page.conditions(
        &status["conditions"],
        &[("Type", "type"), ("Status", "status"), ("Reason", "reason")],
    );
    Ok(())
}

async fn pods_status(api: &Api, page: &mut Page, object: &Value) -> Result {
    let namespace = text(&object["metadata"]["namespace"]);
    let query = selector_query(&object["spec"]["selector"]);
    if query.is_empty() {
        return Ok(());
    }
    let resource = api.resource("pods").await?;
    let list = api
        .get(&with_query(&resource.collection(Some(namespace)), &[("labelSelector", query)]))
        .await?;
    let uid = &object["metadata"]["uid"];
    let ours = items(&list["items"]).iter().filter(|pod| {
        items(&pod["metadata"]["ownerReferences"]).iter().any(|owner| owner["uid"] == *uid)
    });
    let phases: Vec<_> = ours.map(|pod| text(&pod["status"]["phase"]).to_owned()).collect();
    let count = |phase: &str| phases.iter().filter(|one| *one == phase).count();
    page.line(
        0,
        "Pods Status",
        format!(
            "{} Running / {} Waiting / {} Succeeded / {} Failed",
            count("Running"),
            count("Pending"),
            count("Succeeded"),
            count("Failed")
        ),
    );
    Ok(())
}

pub(super) fn job(page: &mut Page, object: &Value) {
    let (spec, status) = (&object["spec"], &object["status"]);
    head(page, object);
    page.line(0, "Selector", selector_query(&spec["selector"]));
    labels(page, object);
    if let Some(owner) = controller_of(object) {
        page.line(0, "Controlled By", owner);
    }
    page.line(0, "Parallelism", spec["parallelism"].as_i64().unwrap_or(1).to_string());
    page.line(
        0,
        "Completions",
        spec["completions"].as_i64().map_or("<unset>".into(), |count| count.to_string()),
    );
    page.line(0, "Completion Mode", spec["completionMode"].as_str().unwrap_or("NonIndexed"));
    page.line(0, "Suspend", (spec["suspend"] == true).to_string());
    page.line(0, "Backoff Limit", spec["backoffLimit"].as_i64().unwrap_or(6).to_string());
    for (key, field) in [("Start Time", "startTime"), ("Completed At", "completionTime")] {
        if let Some(time) = status[field].as_str() {
            page.line(0, key, human::long_time(time));
        }
    }
    let times = status["startTime"]
        .as_str()
        .and_then(human::parse_time)
        .zip(status["completionTime"].as_str().and_then(human::parse_time));
    if let Some((start, end)) = times {
        page.line(0, "Duration", human::duration(end - start));
    }
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    page.line(
        0,
        "Pods Statuses",
        format!(
            "{} Active ({} Ready) / {} Succeeded / {} Failed",
            count("active"),
            count("ready"),
            count("succeeded"),
            count("failed")
        ),
    );
    pod::template(page, &spec["template"]);
}
