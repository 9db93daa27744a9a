//! From a name such as `deployment/web` to its pods and containers.

use serde_json::Value;

use crate::api::find::{Found, Target, type_object};
use crate::api::{Api, with_query};
use crate::error::{Result, said};
use crate::object::{items, selector_query, text};

/// The container that is meant when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What words name; a bare name is a pod's.
pub async fn find(api: &Api, words: &[String]) -> Result<Found> {
    match words {
        [name] if !name.contains('/') => {
            let resource = api.resource("pods").await?;
            let targets = [Target { resource, name: Some(name.clone()) }];
            let mut found = api.find(&targets, &crate::flags::Selection::default()).await?;
            found.pop().ok_or_else(|| said("pod not found"))
        }
        words => api.find_one(words).await,
    }
}

/// The pods of a workload or service, the best to talk to first; a pod is its own.
pub async fn pods(api: &Api, found: &Found) -> Result<Vec<Found>> {
    let spec = &found.object["spec"];
    let selector = match found.resource.kind.as_str() {
        "Pod" => return Ok(vec![found.clone()]),
        "Service" | "ReplicationController" => &spec["selector"],
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => &spec["selector"],
        other => return Err(said(format!("cannot get the pods of a {other}"))),
    };
    let query = selector_query(selector);
    if query.is_empty() {
        return Err(said(format!("{} has no selector", found.named())));
    }
    let resource = api.resource("pods").await?;
    let path =
        with_query(&resource.collection(Some(found.namespace())), &[("labelSelector", query)]);
    let list = api.get(&path).await?;
    let mut pods: Vec<Found> = items(&list["items"])
        .iter()
        .map(|pod| {
            let mut object = pod.clone();
            type_object(&mut object, &resource);
            Found { resource: resource.clone(), object }
        })
        .collect();
    pods.sort_by_key(|pod| rank(&pod.object));
    Ok(pods)
}

/// One pod to talk to.
pub async fn pod(api: &Api, found: &Found) -> Result<Found> {
    let pods = pods(api, found).await?;
    let first = pods.into_iter().next();
    first.ok_or_else(|| {
        said(format!(
            "{} has no pods. `kctl describe {}` may say why",
            found.named(),
            found.named()
        ))
    })
}

/// Ready before running before others; those that are being deleted last.
fn rank(pod: &Value) -> u8 {
    let conditions = items(&pod["status"]["conditions"]);
    let is_ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
    let is_leaving = pod["metadata"].get("deletionTimestamp").is_some();
    match (is_leaving, is_ready, text(&pod["status"]["phase"])) {
        (true, ..) => 3,
        (_, true, _) => 0,
        (_, _, "Running") => 1,
        _ => 2,
    }
}

/// The names of a pod's containers, init containers first if wanted.
pub fn container_names(pod: &Value, with_init: bool) -> Vec<String> {
    let fields: &[&str] = if with_init {
        &["initContainers", "containers", "ephemeralContainers"]
    } else {
        &["containers"]
    };
    let names = fields.iter().flat_map(|field| items(&pod["spec"][*field]));
    names.map(|container| text(&container["name"]).to_owned()).collect()
}

/// The container to use: the one asked for, the annotated one, or the first.
/// The second value says whether it was chosen among several.
pub fn container(pod: &Value, wanted: Option<&str>) -> Result<(String, bool)> {
    let all = container_names(pod, true);
    if let Some(wanted) = wanted {
        if all.iter().any(|name| name == wanted) {
            return Ok((wanted.to_owned(), false));
        }
        return Err(said(format!(
            "container {wanted} not found in pod {}; choose one of: {all:?}",
            text(&pod["metadata"]["name"])
        )));
    }
    let annotated = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str();
    if let Some(name) = annotated.filter(|name| all.iter().any(|known| known == name)) {
        return Ok((name.to_owned(), false));
    }
    let main = container_names(pod, false);
    let first = main.first().cloned();
    let first = first
        .ok_or_else(|| said(format!("pod {} has no containers", text(&pod["metadata"]["name"]))))?;
    Ok((first, main.len() > 1))
}
