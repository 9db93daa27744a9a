//! `kctl diff`: what `apply` would change, by the server's own word.

use std::process::Command;

use clap::Args;
use master_client::yaml;
use serde_json::Value;

use crate::api::with_query;
use crate::error::{Error, Result, said};
use crate::flags::{Files, Global};
use crate::patch::{self, Style};
use crate::print::without_managed_fields;
use crate::verb::apply::{LAST_APPLIED, with_last_applied};
use crate::{manifest, object, term};

/// Compare files with what the cluster has
#[derive(Args, Debug)]
pub struct DiffArgs {
    #[command(flatten)]
    files: Files,
}

/// Runs it; exit code 1 says that something differs.
pub async fn run(args: &DiffArgs, flags: &Global) -> Result {
    if args.files.filename.is_empty() {
        return Err(said("must specify -f FILE"));
    }
    let api = flags.api()?;
    let folder = tempfile::tempdir().map_err(|error| said(error.to_string()))?;
    let sides = ["LIVE", "MERGED"].map(|side| folder.path().join(side));
    for side in &sides {
        std::fs::create_dir(side).map_err(|error| said(error.to_string()))?;
    }
    for manifest in manifest::load(&args.files)? {
        let placed = object::place(&api, flags, manifest).await?;
        let live = api.get_if_there(&placed.path()).await?;
        let merged = match &live {
            None => {
                let path = with_query(
                    &placed.resource.collection(Some(&placed.namespace)),
                    &[("dryRun", "All".into())],
                );
                api.post(&path, &placed.object).await?
            }
            Some(live) => {
                let last = live["metadata"]["annotations"][LAST_APPLIED].as_str();
                let original =
                    last.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
                let style = Style::of_group(&placed.resource.group);
                let patch =
                    patch::three_way(&original, live, &with_last_applied(&placed.object), style);
                let path = with_query(&placed.path(), &[("dryRun", "All".into())]);
                api.patch(&path, style.content_type(), &patch).await?
            }
        };
        let name = format!("{}.{}.{}", placed.resource.qualified(), placed.namespace, placed.name);
        for (side, value) in sides.iter().zip([live, Some(merged)]) {
            let text = value.map(shown).unwrap_or_default();
            std::fs::write(side.join(&name), text).map_err(|error| said(error.to_string()))?;
        }
    }
    let output = Command::new("diff")
        .args(["-u", "-N", "-r", "LIVE", "MERGED"])
        .current_dir(folder.path())
        .output()
        .map_err(|error| said(format!("failed to run \"diff\": {error}")))?;
    term::out(&term::safe(&String::from_utf8_lossy(&output.stdout)));
    if output.stdout.is_empty() { Ok(()) } else { Err(Error::Exit(1)) }
}

fn shown(mut value: Value) -> String {
    without_managed_fields(&mut value);
    if let Some(annotations) =
        value["metadata"].get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    yaml::to_string(&value)
}
