//! A node: its state, what it can hold and what it holds.

use master_api::jsonpath::shown;
use serde_json::Value;

use super::{Page, labels};
use crate::api::{Api, with_query};
use crate::error::Result;
use crate::object::{items, text};
use crate::print::human;

pub(super) async fn describe(api: &Api, page: &mut Page, object: &Value) -> Result {
    let (spec, status) = (&object["spec"], &object["status"]);
    let metadata = &object["metadata"];
    page.line(0, "Name", text(&metadata["name"]));
    page.line(0, "Roles", roles(&metadata["labels"]));
    labels(page, object);
    page.line(0, "CreationTimestamp", human::long_time(text(&metadata["creationTimestamp"])));
    let taints: Vec<_> = items(&spec["taints"])
        .iter()
        .map(|taint| match text(&taint["value"]) {
            "" => format!("{}:{}", text(&taint["key"]), text(&taint["effect"])),
            value => format!("{}={value}:{}", text(&taint["key"]), text(&taint["effect"])),
        })
        .collect();
    page.list("Taints:", "", &taints);
    page.line(0, "Unschedulable", (spec["unschedulable"] == true).to_string());
    lease(api, page, text(&metadata["name"])).await?;
    page.conditions(
        &status["conditions"],
        &[
            ("Type", "type"),
            ("Status", "status"),
            ("LastHeartbeatTime", "lastHeartbeatTime"),
            ("LastTransitionTime", "lastTransitionTime"),
            ("Reason", "reason"),
            ("Message", "message"),
        ],
    );
    page.raw(0, "Addresses:");
    items(&status["addresses"])
        .iter()
        .for_each(|one| page.line(1, text(&one["type"]), text(&one["address"])));
    for (key, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        page.raw(0, format!("{key}:"));
        for (name, quantity) in status[field].as_object().into_iter().flatten() {
            page.line(1, name, shown(quantity));
        }
    }
    page.raw(0, "System Info:");
    let info = &status["nodeInfo"];
    for (key, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        page.line(1, key, text(&info[field]));
    }
    if let Some(cidr) = spec["podCIDR"].as_str() {
        let all: Vec<_> = items(&spec["podCIDRs"]).iter().map(text).collect();
        page.line(0, "PodCIDR", cidr);
        page.line(0, "PodCIDRs", all.join(","));
    }
    pods(api, page, text(&metadata["name"])).await
}

/// When the node was last heard of.
async fn lease(api: &Api, page: &mut Page, node: &str) -> Result {
    let leases = api.resource("leases.coordination.k8s.io").await?;
    let path = leases.object("kube-node-lease", node);
    let lease = api.get_if_there(&path).await.ok().flatten();
    page.raw(0, "Lease:");
    let Some(lease) = lease else {
        page.raw(1, "Failed to get lease: not found");
        return Ok(());
    };
    let time =
        |field: &str| lease["spec"][field].as_str().map_or("<unset>".to_owned(), human::long_time);
    page.line(1, "HolderIdentity", lease["spec"]["holderIdentity"].as_str().unwrap_or("<unset>"));
    page.line(1, "AcquireTime", time("acquireTime"));
    page.line(1, "RenewTime", time("renewTime"));
    Ok(())
}

fn roles(labels: &Value) -> String {
    let names: Vec<_> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() { "<none>".into() } else { names.join(",") }
}

async fn pods(api: &Api, page: &mut Page, node: &str) -> Result {
    let selector = format!("spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed");
    let list = api.get(&with_query("/api/v1/pods", &[("fieldSelector", selector)])).await?;
    let pods = items(&list["items"]);
    page.line(0, "Non-terminated Pods", format!("({} in total)", pods.len()));
    page.raw(1, "Namespace\tName\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    page.raw(1, "---------\t----\t------------\t----------\t---------------\t-------------\t---");
    for pod in pods {
        let sum = |kind: &str, name: &str| {
            let all: Vec<_> = items(&pod["spec"]["containers"])
                .iter()
                .map(|container| shown(&container["resources"][kind][name]))
                .filter(|quantity| !quantity.is_empty())
                .collect();
            if all.is_empty() { "0".to_owned() } else { all.join("+") }
        };
        page.raw(
            1,
            format!(
                "{}\t{}\t{}\t{}\t{}\t{}\t{}",
                text(&pod["metadata"]["namespace"]),
                text(&pod["metadata"]["name"]),
                sum("requests", "cpu"),
                sum("limits", "cpu"),
                sum("requests", "memory"),
                sum("limits", "memory"),
                human::age(pod["metadata"]["creationTimestamp"].as_str()),
            ),
        );
    }
    Ok(())
}
