//! Deployments, jobs and cron jobs from arguments.

use clap::Args;
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::{Result, said};
use crate::object::text;

#[derive(Args, Debug)]
pub(super) struct DeploymentArgs {
    name: String,
    /// The image to run; several make several containers
    #[arg(long, required = true)]
    image: Vec<String>,
    #[arg(short, long, default_value_t = 1)]
    replicas: u32,
    /// The port that the container listens on
    #[arg(long)]
    port: Option<u16>,
    /// The command to run, after --
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct JobArgs {
    name: String,
    #[arg(long, required_unless_present = "from")]
    image: Option<String>,
    /// A cron job to take the template from: cronjob/NAME
    #[arg(long, value_name = "cronjob/NAME")]
    from: Option<String>,
    /// The command to run, after --
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct CronJobArgs {
    name: String,
    #[arg(long)]
    image: String,
    /// Such as '*/5 * * * *'
    #[arg(long)]
    schedule: String,
    #[arg(long, default_value = "OnFailure")]
    restart: String,
    /// The command to run, after --
    #[arg(last = true)]
    command: Vec<String>,
}

pub(super) fn deployment(args: &DeploymentArgs) -> Result<Value> {
    if args.image.len() > 1 && !args.command.is_empty() {
        return Err(said("cannot specify multiple --image options and command"));
    }
    let labels = json!({ "app": args.name });
    let mut containers: Vec<Value> = args
        .image
        .iter()
        .map(|image| json!({ "name": container_name(image), "image": image, "resources": {} }))
        .collect();
    if !args.command.is_empty() {
        containers[0]["command"] = json!(args.command);
    }
    if let Some(port) = args.port {
        containers[0]["ports"] = json!([{ "containerPort": port }]);
    }
    Ok(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": args.name, "labels": labels },
        "spec": {
            "replicas": args.replicas,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } },
        },
    }))
}

pub(super) async fn job(args: &JobArgs, api: &Api) -> Result<Value> {
    if let Some(from) = &args.from {
        let found = api.find_one(std::slice::from_ref(from)).await?;
        if found.resource.kind != "CronJob" {
            return Err(said("from must be an existing cronjob"));
        }
        let template = &found.object["spec"]["jobTemplate"];
        return Ok(json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": args.name,
                "labels": template["metadata"]["labels"],
                "annotations": { "cronjob.kubernetes.io/instantiate": "manual" },
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "CronJob", "name": found.name(), "controller": true,
                    "uid": text(&found.object["metadata"]["uid"]),
                }],
            },
            "spec": template["spec"],
        }));
    }
    let image = args.image.clone().unwrap_or_default();
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": args.name },
        "spec": { "template": { "spec": pod(&args.name, &image, &args.command, "Never") } },
    }))
}

pub(super) fn cron_job(args: &CronJobArgs) -> Result<Value> {
    if !matches!(args.restart.as_str(), "OnFailure" | "Never") {
        return Err(said(format!("invalid restart policy: {}", args.restart)));
    }
    let spec = pod(&args.name, &args.image, &args.command, &args.restart);
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": { "name": args.name },
        "spec": {
            "schedule": args.schedule,
            "jobTemplate": { "metadata": { "name": args.name }, "spec": { "template": { "spec": spec } } },
        },
    }))
}

fn pod(name: &str, image: &str, command: &[String], restart: &str) -> Value {
    let mut container = json!({ "name": name, "image": image, "resources": {} });
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    json!({ "containers": [container], "restartPolicy": restart })
}

/// The last part of an image's path, without tag and digest: the name of its container.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let bare = last.split([':', '@']).next().unwrap_or(last);
    bare.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_called_after_their_images() {
        #[rustfmt::skip]
        let cases = [
            ("nginx", "nginx"), ("reg:5000/a/web:v1", "web"), ("hello-node:v1", "hello-node"), ("x/My_App@sha256:0", "my-app"),
        ];
        for (image, name) in cases {
            assert_eq!(container_name(image), name);
        }
    }
}
