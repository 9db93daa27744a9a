//! `kctl patch`: a patch from the command line.

use clap::Args;
use serde_json::Value;

use crate::api::with_query;
use crate::error::{Result, said};
use crate::flags::{Change, Global, Selection};
use crate::{manifest, object, patch};

/// Update fields of a resource
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl patch deployment web -p '{\"spec\":{\"replicas\":3}}'
  kctl patch pod web --type=json -p '[{\"op\":\"remove\",\"path\":\"/metadata/labels/x\"}]'")]
pub struct PatchArgs {
    /// TYPE/NAME or TYPE NAME
    #[arg(value_name = "TYPE NAME", required = true)]
    words: Vec<String>,
    /// The patch, in JSON or YAML
    #[arg(short, long, value_name = "PATCH", required_unless_present = "patch_file")]
    patch: Option<String>,
    /// A file with the patch
    #[arg(long, value_name = "FILE")]
    patch_file: Option<std::path::PathBuf>,
    /// json, merge or strategic
    #[arg(long = "type", value_name = "TYPE", default_value = "strategic", value_parser = ["json", "merge", "strategic"])]
    kind: String,
    /// Patch this subresource
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Runs it.
pub async fn run(args: &PatchArgs, flags: &Global) -> Result {
    let text = match (&args.patch, &args.patch_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => {
            std::fs::read_to_string(path).map_err(|e| said(format!("{}: {e}", path.display())))?
        }
        (None, None) => {
            return Err(said(
                "must specify --patch or --patch-file containing the contents of the patch",
            ));
        }
    };
    let body: Value = manifest::document_value(&text, 1)
        .map_err(|reason| said(format!("unable to parse {text:?}: {reason}")))?;
    let content_type = match args.kind.as_str() {
        "json" => patch::JSON_PATCH,
        "merge" => patch::MERGE,
        _ => patch::STRATEGIC,
    };
    let api = flags.api()?;
    let mut errors = Vec::new();
    for found in api.find_words(&args.words, &Selection::default()).await? {
        let mut path = found.path();
        if let Some(subresource) = &args.subresource {
            path = format!("{path}/{subresource}");
        }
        match api.patch(&with_query(&path, &args.change.query()), content_type, &body).await {
            Ok(patched) => {
                let is_same = patched["metadata"]["resourceVersion"]
                    == found.object["metadata"]["resourceVersion"];
                let verb = if is_same && args.change.dry_run == "none" {
                    "patched (no change)"
                } else {
                    "patched"
                };
                object::report(&args.change, &found.resource, &patched, verb)?;
            }
            Err(error) => errors.push(error),
        }
    }
    crate::error::Error::all(errors)
}
