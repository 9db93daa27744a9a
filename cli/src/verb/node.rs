//! `kctl cordon`, `uncordon`, `drain`, `taint`: what happens on nodes.

mod drain;
mod taint;

use clap::Args;
use serde_json::json;

use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::error::{Result, said};
use crate::flags::{Change, Global, Selection};
use crate::patch;

pub use drain::{DrainArgs, run as drain};
pub use taint::{TaintArgs, run as taint};

/// Which nodes.
#[derive(Args, Debug)]
pub struct CordonArgs {
    /// Names of nodes
    #[arg(value_name = "NODE")]
    names: Vec<String>,
    /// Nodes with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Runs `cordon` (`true`) or `uncordon`.
pub async fn cordon(args: &CordonArgs, flags: &Global, is_cordoned: bool) -> Result {
    let api = flags.api()?;
    for node in nodes(&api, &args.names, args.selector.as_deref()).await? {
        set(&api, &node, &args.change, is_cordoned).await?;
    }
    Ok(())
}

async fn nodes(api: &Api, names: &[String], selector: Option<&str>) -> Result<Vec<Found>> {
    if names.is_empty() && selector.is_none() {
        return Err(said("no node name was specified"));
    }
    let mut words = vec!["nodes".to_owned()];
    words.extend(names.iter().map(|name| name.trim_start_matches("node/").to_owned()));
    let selection = Selection { selector: selector.map(str::to_owned), ..Selection::default() };
    api.find_words(&words, &selection).await
}

async fn set(api: &Api, node: &Found, change: &Change, is_cordoned: bool) -> Result {
    let word = if is_cordoned { "cordoned" } else { "uncordoned" };
    if (node.object["spec"]["unschedulable"] == true) == is_cordoned {
        crate::outln!("{} already {word}{}", node.named(), change.suffix());
        return Ok(());
    }
    if !change.is_client_dry_run()? {
        let value = if is_cordoned { json!(true) } else { json!(null) };
        let path = with_query(&node.path(), &change.query());
        api.patch(&path, patch::STRATEGIC, &json!({ "spec": { "unschedulable": value } })).await?;
    }
    crate::outln!("{} {word}{}", node.named(), change.suffix());
    Ok(())
}
