//! `kctl drain`: cordons a node and evicts its pods.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{nodes, set};
use crate::api::{Api, with_query};
use crate::error::{Error, Result, said};
use crate::flags::{Change, Global};
use crate::object::{items, text};
use crate::print::human;
use crate::verb::delete::wait_until_gone;
use crate::{errln, outln};

/// What marks a pod that a node started from a file.
const MIRROR: &str = "kubernetes.io/config.mirror";
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// Take all pods off a node, in preparation for maintenance
#[derive(Args, Debug)]
pub struct DrainArgs {
    /// Names of nodes
    #[arg(value_name = "NODE")]
    names: Vec<String>,
    /// Nodes with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Leave the pods of daemon sets alone
    #[arg(long)]
    ignore_daemonsets: bool,
    /// Also pods with local data, which is lost
    #[arg(long)]
    delete_emptydir_data: bool,
    /// Also pods that nothing starts again
    #[arg(long)]
    force: bool,
    /// Seconds that a pod gets to end; -1 is its own
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// How long to go on trying; 0 for ever
    #[arg(long, value_name = "DURATION", default_value = "0")]
    timeout: String,
    /// Delete instead of evicting, past every disruption budget
    #[arg(long)]
    disable_eviction: bool,
    /// Only pods with these labels
    #[arg(long, value_name = "LABELS")]
    pod_selector: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// What is done with a pod.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Evict,
    Leave(&'static str),
    Refuse(&'static str),
}

/// Runs it.
pub async fn run(args: &DrainArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let timeout = human::parse_duration(&args.timeout)?;
    let until = (!timeout.is_zero()).then(|| Instant::now() + timeout);
    for node in nodes(&api, &args.names, args.selector.as_deref()).await? {
        set(&api, &node, &args.change, true).await?;
        let pods = pods_on(&api, args, node.name()).await?;
        let leaving = choose(args, &pods, node.name())?;
        if !args.change.is_client_dry_run()? {
            for pod in leaving {
                evict(&api, args, pod, until).await?;
            }
        }
        outln!("{} drained{}", node.named(), args.change.suffix());
    }
    Ok(())
}

async fn pods_on(api: &Api, args: &DrainArgs, node: &str) -> Result<Vec<Value>> {
    let query = [
        ("fieldSelector", format!("spec.nodeName={node}")),
        ("labelSelector", args.pod_selector.clone().unwrap_or_default()),
    ];
    let list = api.get(&with_query("/api/v1/pods", &query)).await?;
    Ok(items(&list["items"]).to_vec())
}

fn choose<'p>(args: &DrainArgs, pods: &'p [Value], node: &str) -> Result<Vec<&'p Value>> {
    let mut leaving = Vec::new();
    let mut refused: Vec<(&str, String)> = Vec::new();
    for pod in pods {
        let name =
            format!("{}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        match fate(args, pod) {
            Fate::Evict => leaving.push(pod),
            Fate::Leave("") => {}
            Fate::Leave(why) => errln!("Warning: {why}: {name}"),
            Fate::Refuse(why) => refused.push((why, name)),
        }
    }
    if refused.is_empty() {
        return Ok(leaving);
    }
    let lines: Vec<_> =
        refused.iter().map(|(why, name)| format!("cannot delete {why}: {name}")).collect();
    Err(said(format!("unable to drain node {node:?} due to error: {}", lines.join(", "))))
}

fn fate(args: &DrainArgs, pod: &Value) -> Fate {
    let metadata = &pod["metadata"];
    let owner =
        items(&metadata["ownerReferences"]).iter().find(|owner| owner["controller"] == true);
    let has_local_data =
        items(&pod["spec"]["volumes"]).iter().any(|volume| volume.get("emptyDir").is_some());
    let has_ended = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
    if metadata["annotations"].get(MIRROR).is_some() {
        return Fate::Leave("");
    }
    if has_ended {
        return Fate::Evict;
    }
    match owner {
        Some(owner) if owner["kind"] == "DaemonSet" && args.ignore_daemonsets => {
            Fate::Leave("ignoring DaemonSet-managed Pods")
        }
        Some(owner) if owner["kind"] == "DaemonSet" => {
            Fate::Refuse("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
        }
        None if !args.force => {
            Fate::Refuse("Pods that declare no controller (use --force to override)")
        }
        _ if has_local_data && !args.delete_emptydir_data => {
            Fate::Refuse("Pods with local storage (use --delete-emptydir-data to override)")
        }
        _ => Fate::Evict,
    }
}

async fn evict(api: &Api, args: &DrainArgs, pod: &Value, until: Option<Instant>) -> Result {
    let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let mut options = json!({});
    if args.grace_period >= 0 {
        options["gracePeriodSeconds"] = args.grace_period.into();
    }
    outln!("evicting pod {namespace}/{name}");
    loop {
        let outcome = if args.disable_eviction {
            api.delete(&path, &options).await
        } else {
            let eviction = json!({
                "apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": { "name": name, "namespace": namespace }, "deleteOptions": options,
            });
            api.post(&with_query(&format!("{path}/eviction"), &args.change.query()), &eviction)
                .await
        };
        match outcome {
            Ok(_) => break,
            Err(error) if error.is_not_found() => return Ok(()),
            // A disruption budget says: not now.
            Err(Error::Server { status, doing }) if status.code == 429 => {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Err(Error::Server { status, doing });
                }
                errln!(
                    "error when evicting pods/{name:?} -n {namespace:?} (will retry): {}",
                    status.message
                );
                tokio::time::sleep(RETRY_EVERY).await;
            }
            Err(error) => return Err(error),
        }
    }
    if args.change.dry_run == "none" {
        wait_until_gone(api, &path, pod, until).await?;
        outln!("pod/{name} evicted");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::tree::{Cli, Command};

    fn check(flags: &str, pod: Value, wanted: &str) {
        let line = format!("kctl drain n {flags}");
        let Command::Drain(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command
        else {
            panic!()
        };
        let shown = match fate(&args, &pod) {
            Fate::Evict => "evict",
            Fate::Leave(_) => "leave",
            Fate::Refuse(_) => "refuse",
        };
        assert_eq!(shown, wanted, "{flags} {pod}");
    }

    #[test]
    fn only_pods_that_come_back_leave_unasked() {
        let owned = |kind: &str| json!({"metadata": {"ownerReferences": [{"kind": kind, "controller": true}]}});
        check("", owned("ReplicaSet"), "evict");
        check("", owned("DaemonSet"), "refuse");
        check("--ignore-daemonsets", owned("DaemonSet"), "leave");
        check("", json!({"metadata": {}}), "refuse");
        check("--force", json!({"metadata": {}}), "evict");
        check("", json!({"metadata": {}, "status": {"phase": "Succeeded"}}), "evict");
        check("--force", json!({"spec": {"volumes": [{"emptyDir": {}}]}}), "refuse");
        check("", json!({"metadata": {"annotations": {MIRROR: "x"}}}), "leave");
    }
}
