//! `kctl scale`: how many replicas.

use clap::Args;
use serde_json::json;

use crate::api::with_query;
use crate::error::{Error, Result, said};
use crate::flags::{Change, Global, Selection};
use crate::{object, patch};

/// Set a new size for a deployment, replica set, stateful set or replication controller
#[derive(Args, Debug)]
pub struct ScaleArgs {
    /// deployment/NAME, or TYPE NAME
    #[arg(value_name = "TYPE[/NAME]", required = true)]
    words: Vec<String>,
    /// The new number of replicas
    #[arg(long)]
    replicas: u32,
    /// Only if this is the number now
    #[arg(long, value_name = "N")]
    current_replicas: Option<u64>,
    /// Only if this is the object's version now
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    /// Every object of the kind
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    change: Change,
}

/// Runs it.
pub async fn run(args: &ScaleArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let targets = api.targets(&args.words, "the type of resource to scale").await?;
    let is_narrow = args.all || args.selection.selector.is_some();
    if targets.iter().any(|target| target.name.is_none()) && !is_narrow {
        return Err(said("resource(s) were provided, but no name was specified"));
    }
    let mut errors = Vec::new();
    for found in api.find(&targets, &args.selection).await? {
        if !found.resource.subresources.is_empty()
            && !found.resource.subresources.iter().any(|sub| sub == "scale")
        {
            errors.push(said(format!("cannot scale {}: its kind has no scale", found.named())));
            continue;
        }
        let now = found.object["spec"]["replicas"].as_u64().unwrap_or(0);
        if let Some(expected) = args.current_replicas
            && expected != now
        {
            errors.push(said(format!("Expected replicas to be {expected}, was {now}")));
            continue;
        }
        let mut body = json!({ "spec": { "replicas": args.replicas } });
        if let Some(version) = &args.resource_version {
            body["metadata"] = json!({ "resourceVersion": version });
        }
        if !args.change.is_client_dry_run()? {
            let path = with_query(&format!("{}/scale", found.path()), &args.change.query());
            if let Err(error) = api.patch(&path, patch::MERGE, &body).await {
                errors.push(error);
                continue;
            }
        }
        object::report(&args.change, &found.resource, &found.object, "scaled")?;
    }
    Error::all(errors)
}
