//! `kctl top`: what nodes and pods use, from the metrics API.

use clap::{Args, Subcommand};
use master_api::jsonpath::shown;
use serde_json::Value;

use crate::api::with_query;
use crate::error::{Result, said};
use crate::flags::Global;
use crate::object::{items, text};
use crate::print::tabs::Tabs;
use crate::term;

/// Show what nodes or pods use
#[derive(Args, Debug)]
pub struct TopArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Of nodes
    #[command(visible_alias = "nodes")]
    Node(Which),
    /// Of pods
    #[command(visible_alias = "pods")]
    Pod(Which),
}

#[derive(Args, Debug)]
struct Which {
    name: Option<String>,
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[arg(long)]
    no_headers: bool,
}

/// Runs it.
pub async fn run(args: &TopArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let (which, is_node) = match &args.what {
        What::Node(which) => (which, true),
        What::Pod(which) => (which, false),
    };
    let kind = if is_node { "nodes.metrics.k8s.io" } else { "pods.metrics.k8s.io" };
    let resource = api.resource(kind).await.map_err(|_| said("Metrics API not available"))?;
    let scope = if which.all_namespaces { None } else { Some(api.namespace.as_str()) };
    let list = match &which.name {
        Some(name) => Value::Array(vec![api.get(&resource.object(&api.namespace, name)).await?]),
        None => {
            let query = [("labelSelector", which.selector.clone().unwrap_or_default())];
            api.get(&with_query(&resource.collection(scope), &query)).await?["items"].clone()
        }
    };
    let mut table = String::new();
    let place = if which.all_namespaces && !is_node { "NAMESPACE\t" } else { "" };
    if !which.no_headers {
        table.push_str(&format!("{place}NAME\tCPU(cores)\tMEMORY(bytes)\n"));
    }
    for one in items(&list) {
        let metadata = &one["metadata"];
        if !place.is_empty() {
            table.push_str(&format!("{}\t", text(&metadata["namespace"])));
        }
        let sum = |name: &str| -> String {
            let own = shown(&one["usage"][name]);
            let all: Vec<_> = items(&one["containers"])
                .iter()
                .map(|container| shown(&container["usage"][name]))
                .collect();
            if own.is_empty() { all.join("+") } else { own }
        };
        table.push_str(&format!(
            "{}\t{}\t{}\n",
            text(&metadata["name"]),
            sum("cpu"),
            sum("memory")
        ));
    }
    term::out(&Tabs::of_tables().lay_out(&term::safe(&table)));
    Ok(())
}
