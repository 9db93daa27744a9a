//! `kctl replace`: objects as a file has them, whole.

use clap::Args;
use serde_json::{Value, json};

use crate::api::with_query;
use crate::error::{Result, said};
use crate::flags::{Change, Files, Global};
use crate::manifest;
use crate::object::{self, Placed};
use crate::verb::delete::wait_until_gone;

/// Replace objects by those of a file
#[derive(Args, Debug)]
pub struct ReplaceArgs {
    #[command(flatten)]
    files: Files,
    /// Delete and create again
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    change: Change,
}

/// Runs it.
pub async fn run(args: &ReplaceArgs, flags: &Global) -> Result {
    if args.files.filename.is_empty() {
        return Err(said("must specify -f FILE"));
    }
    let api = flags.api()?;
    for manifest in manifest::load(&args.files)? {
        let placed = object::place(&api, flags, manifest).await?;
        let doing = format!("replacing {:?}", placed.source);
        if args.force {
            recreate(&api, args, &placed).await.map_err(|error| error.while_doing(&doing))?;
            continue;
        }
        let replaced = if args.change.is_client_dry_run()? {
            placed.object.clone()
        } else {
            let path = with_query(&placed.path(), &args.change.query());
            let object =
                versioned(&api, &placed).await.map_err(|error| error.while_doing(&doing))?;
            api.put(&path, &object).await.map_err(|error| error.while_doing(&doing))?
        };
        object::report(&args.change, &placed.resource, &replaced, "replaced")?;
    }
    Ok(())
}

/// The object, which replaces the version that is there unless the file names one: some kinds must be told.
async fn versioned(api: &crate::api::Api, placed: &Placed) -> Result<Value> {
    let mut object = placed.object.clone();
    if object["metadata"].get("resourceVersion").is_none()
        && let Some(there) = api.get_if_there(&placed.path()).await?
    {
        object["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"].clone();
    }
    Ok(object)
}

async fn recreate(api: &crate::api::Api, args: &ReplaceArgs, placed: &Placed) -> Result {
    if let Some(there) = api.get_if_there(&placed.path()).await? {
        api.delete(&placed.path(), &json!({ "propagationPolicy": "Background" })).await?;
        wait_until_gone(api, &placed.path(), &there, None).await?;
    }
    let path =
        with_query(&placed.resource.collection(Some(&placed.namespace)), &args.change.query());
    let created = api.post(&path, &placed.object).await?;
    object::report(&args.change, &placed.resource, &created, "replaced")
}
