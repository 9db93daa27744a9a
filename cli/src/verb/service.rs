//! `kctl service NAME --url`: where a service can be reached from outside.

use clap::Args;
use serde_json::Value;

use crate::error::{Result, said};
use crate::flags::Global;
use crate::object::{items, text};
use crate::outln;

/// Print the URLs at which a service is reached from outside the cluster
#[derive(Args, Debug)]
pub struct ServiceArgs {
    name: String,
    /// Print URLs only
    #[arg(long)]
    url: bool,
}

/// Runs it.
pub async fn run(args: &ServiceArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let service =
        api.get(&api.resource("services").await?.object(&api.namespace, &args.name)).await?;
    let nodes = api.get(&api.resource("nodes").await?.collection(None)).await?;
    let urls = urls(&service, &nodes);
    if urls.is_empty() {
        return Err(said(format!(
            "service {:?} has no node port: `kctl expose … --type=NodePort` makes one; `kctl port-forward service/{} LOCAL:PORT` works without",
            args.name, args.name
        )));
    }
    for (port, url) in urls {
        if args.url {
            outln!("{url}");
        } else {
            outln!("{}/{} {port}: {url}", api.namespace, args.name);
        }
    }
    Ok(())
}

/// Each port's name or number, and its URL on the first ready node.
fn urls(service: &Value, nodes: &Value) -> Vec<(String, String)> {
    let is_ready = |node: &&Value| {
        let conditions = items(&node["status"]["conditions"]);
        conditions
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let address = |node: &Value| {
        let addresses = items(&node["status"]["addresses"]);
        let of_type = |kind: &str| addresses.iter().find(|address| address["type"] == kind);
        let found = of_type("ExternalIP").or_else(|| of_type("InternalIP"))?;
        found["address"].as_str().map(str::to_owned)
    };
    let nodes = items(&nodes["items"]);
    let Some(ip) = nodes.iter().find(is_ready).or(nodes.first()).and_then(address) else {
        return Vec::new();
    };
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip };
    let url = |port: &Value| {
        let number = port["nodePort"].as_u64().filter(|&number| number > 0)?;
        let label = match text(&port["name"]) {
            "" => port["port"].to_string(),
            name => name.to_owned(),
        };
        Some((label, format!("http://{host}:{number}")))
    };
    items(&service["spec"]["ports"]).iter().filter_map(url).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn url_is_that_of_a_ready_node() {
        let node = |ip: &str, ready: &str| {
            json!({"status": {
            "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": ip}],
            "conditions": [{"type": "Ready", "status": ready}]}})
        };
        let nodes = json!({"items": [node("10.88.0.1", "False"), node("10.88.0.2", "True")]});
        let service = json!({"spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 81}]}});
        assert_eq!(
            urls(&service, &nodes),
            [("80".to_owned(), "http://10.88.0.2:30080".to_owned())]
        );
    }
}
