//! `kctl rolling-update`: one replication controller for another, pod by pod, as in the first releases.
//!
//! The client drives it: the new controller goes up by one when the old one goes down by one. What an
//! interrupted one left is taken up again by the same command, or undone by `--rollback`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::Api;
use crate::error::{Result, said};
use crate::flags::Global;
use crate::object::{items, text};
use crate::print::human;
use crate::verb::delete::wait_until_gone;
use crate::{outln, patch};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many replicas the new one is to have in the end.
const WANTED: &str = "kubectl.kubernetes.io/desired-replicas";
const KEY: &str = "deployment";

/// Replace a replication controller by another, pod by pod
#[derive(Args, Debug)]
pub struct RollingUpdateArgs {
    /// The controller that goes
    old: String,
    /// The controller that comes
    new: Option<String>,
    /// The image of the new one
    #[arg(long)]
    image: Option<String>,
    /// Go back to the old one
    #[arg(long)]
    rollback: bool,
    /// How long to wait between two steps
    #[arg(long, value_name = "DURATION", default_value = "0")]
    update_period: String,
    /// How long a step may take
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    timeout: String,
}

/// Runs it.
pub async fn run(args: &RollingUpdateArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let controllers = api.resource("replicationcontrollers").await?;
    let path = |name: &str| controllers.object(&api.namespace, name);
    let old = api.get(&path(&args.old)).await?;
    let image_tag =
        args.image.as_deref().and_then(|image| image.rsplit(':').next()).unwrap_or_default();
    let new_name = args
        .new
        .clone()
        .unwrap_or_else(|| format!("{}-{image_tag}", args.old).trim_end_matches('-').to_owned());
    if new_name == args.old {
        return Err(said(
            "name a new controller, or an --image: kctl rolling-update OLD NEW --image=IMAGE",
        ));
    }
    let there = api.get_if_there(&path(&new_name)).await?;
    if args.rollback {
        let new = there.ok_or_else(|| said(format!("there is no {new_name} to roll back")))?;
        let wanted = wanted_replicas(&new).max(replicas(&old));
        outln!("Setting {:?} replicas to {wanted}", args.old);
        return roll(&api, args, [&path(&new_name), &path(&args.old)], wanted).await;
    }
    let wanted = there.as_ref().map_or_else(|| replicas(&old), wanted_replicas);
    if there.is_none() {
        let Some(image) = &args.image else {
            return Err(said("must specify --image for a new controller"));
        };
        mark_old(&api, &path(&args.old), &old).await?;
        let new = successor(&old, &new_name, image, wanted);
        api.post(&controllers.collection(Some(&api.namespace)), &new).await?;
        outln!("Created {new_name}");
    }
    roll(&api, args, [&path(&args.old), &path(&new_name)], wanted).await
}

/// Takes `from` down and `to` up, one pod at a time; deletes `from` in the end.
async fn roll(api: &Api, args: &RollingUpdateArgs, paths: [&str; 2], wanted: i64) -> Result {
    let [from, to] = paths;
    let period = human::parse_duration(&args.update_period)?;
    let timeout = human::parse_duration(&args.timeout)?;
    loop {
        let (old, new) = (api.get(from).await?, api.get(to).await?);
        let (down, up) = (replicas(&old), replicas(&new));
        if up < wanted {
            outln!("Scaling {} up to {}", text(&new["metadata"]["name"]), up + 1);
            scale(api, to, up + 1, timeout).await?;
        }
        if down > 0 {
            outln!("Scaling {} down to {}", text(&old["metadata"]["name"]), down - 1);
            scale(api, from, down - 1, timeout).await?;
        }
        if up >= wanted && down == 0 {
            api.delete(from, &json!({ "propagationPolicy": "Background" })).await?;
            wait_until_gone(api, from, &old, None).await?;
            outln!("Update succeeded. Deleting {}", text(&old["metadata"]["name"]));
            outln!(
                "replicationcontroller/{} rolling updated to {:?}",
                text(&old["metadata"]["name"]),
                text(&new["metadata"]["name"])
            );
            return Ok(());
        }
        tokio::time::sleep(period).await;
    }
}

async fn scale(api: &Api, path: &str, replicas: i64, timeout: Duration) -> Result {
    api.patch(&format!("{path}/scale"), patch::MERGE, &json!({ "spec": { "replicas": replicas } }))
        .await?;
    let until = Instant::now() + timeout;
    loop {
        let now = api.get(path).await?;
        let is_seen =
            now["status"]["observedGeneration"].as_i64() >= now["metadata"]["generation"].as_i64();
        let count = |field: &str| now["status"][field].as_i64().unwrap_or(0);
        if is_seen && count("replicas") == replicas && count("readyReplicas") >= replicas {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(said(
                "timed out waiting for the pods; run the same command again to go on, or with --rollback to go back",
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Gives the old controller's pods and selector a label, so that the two do not claim each other's pods.
async fn mark_old(api: &Api, path: &str, old: &Value) -> Result {
    if old["spec"]["selector"].get(KEY).is_some() {
        return Ok(());
    }
    let name = text(&old["metadata"]["name"]);
    let labels = json!({ KEY: name });
    api.patch(
        path,
        patch::STRATEGIC,
        &json!({ "spec": { "template": { "metadata": { "labels": labels } } } }),
    )
    .await?;
    let selector = crate::object::selector_query(&old["spec"]["selector"]);
    let pods = api.resource("pods").await?;
    let list = api
        .get(&crate::api::with_query(
            &pods.collection(Some(&api.namespace)),
            &[("labelSelector", selector)],
        ))
        .await?;
    for pod in items(&list["items"]) {
        let path = pods.object(&api.namespace, text(&pod["metadata"]["name"]));
        api.patch(&path, patch::MERGE, &json!({ "metadata": { "labels": labels } })).await?;
    }
    api.patch(path, patch::STRATEGIC, &json!({ "spec": { "selector": labels } })).await.map(drop)
}

fn successor(old: &Value, name: &str, image: &str, wanted: i64) -> Value {
    let mut template = old["spec"]["template"].clone();
    let mut selector = old["spec"]["selector"].clone();
    template["metadata"]["labels"][KEY] = name.into();
    selector[KEY] = name.into();
    if let Some(container) = template["spec"]["containers"].get_mut(0) {
        container["image"] = image.into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": { "name": name, "labels": old["metadata"]["labels"], "annotations": { WANTED: wanted.to_string() } },
        "spec": { "replicas": 0, "selector": selector, "template": template },
    })
}

fn replicas(controller: &Value) -> i64 {
    controller["spec"]["replicas"].as_i64().unwrap_or(1)
}

fn wanted_replicas(new: &Value) -> i64 {
    text(&new["metadata"]["annotations"][WANTED]).parse().unwrap_or_else(|_| replicas(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successor_selects_its_own_pods() {
        let old = json!({"metadata": {"name": "a"}, "spec": {"replicas": 3, "selector": {"app": "x"},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
        let new = successor(&old, "b", "i:2", 3);
        assert_eq!(new["spec"]["selector"], json!({"app": "x", "deployment": "b"}));
        assert_eq!(
            new["spec"]["template"]["metadata"]["labels"],
            json!({"app": "x", "deployment": "b"})
        );
        assert_eq!(new["spec"]["template"]["spec"]["containers"][0]["image"], "i:2");
        assert_eq!((replicas(&new), wanted_replicas(&new)), (0, 3));
    }
}
