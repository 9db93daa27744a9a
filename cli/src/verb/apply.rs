//! `kctl apply`: makes the cluster's objects agree with those of files.
//!
//! Keeps what was applied last in an annotation, so that a field which disappears from the file
//! disappears from the object, and one that somebody else set stays.

use clap::{Args, Subcommand};
use master_client::yaml;
use serde_json::{Value, json};

use crate::api::{Api, with_query};
use crate::error::{Error, Result, said};
use crate::flags::{Change, Files, Global};
use crate::manifest::{self, Manifest};
use crate::object::{self, Placed, text};
use crate::patch::{self, Style};
use crate::{errln, term};

/// Where the object as it was last applied is kept.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const APPLY: &str = "application/apply-patch+yaml";

/// Apply a configuration to resources by file
#[derive(Args, Debug)]
pub struct ApplyArgs {
    #[command(flatten)]
    files: Files,
    /// Let the server merge, and keep who set which field
    #[arg(long)]
    server_side: bool,
    /// With --server-side: take over fields that others set
    #[arg(long)]
    force_conflicts: bool,
    /// Accepted for compatibility
    #[arg(long, hide = true)]
    overwrite: bool,
    #[command(flatten)]
    change: Change,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the configuration that was applied last
    ViewLastApplied {
        #[arg(value_name = "TYPE/NAME", required = true)]
        words: Vec<String>,
        #[arg(short, long, default_value = "yaml")]
        output: String,
    },
}

/// Runs it.
pub async fn run(args: &ApplyArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    if let Some(Action::ViewLastApplied { words, output }) = &args.action {
        return view_last_applied(&api, words, output).await;
    }
    if args.files.filename.is_empty() {
        return Err(said("must specify -f FILE"));
    }
    let mut errors = Vec::new();
    for manifest in manifest::load(&args.files)? {
        if let Err(error) = apply(&api, flags, args, manifest).await {
            errors.push(error);
        }
    }
    Error::all(errors)
}

async fn apply(api: &Api, flags: &Global, args: &ApplyArgs, manifest: Manifest) -> Result {
    let placed = object::place(api, flags, manifest).await?;
    if placed.name.is_empty() {
        return Err(said(format!(
            "from {}: cannot use generate name with apply",
            text(&placed.object["metadata"]["generateName"])
        )));
    }
    if args.server_side {
        return server_side(api, args, &placed).await;
    }
    let doing = |verb: &str| format!("{verb} {:?}", placed.source);
    let live = api.get_if_there(&placed.path()).await.map_err(|error| {
        error.while_doing(&format!("retrieving current configuration of {:?}", placed.source))
    })?;
    let Some(live) = live else {
        let modified = Placed { object: with_last_applied(&placed.object), ..placed.clone() };
        return object::create(api, &args.change, &modified)
            .await
            .map_err(|error| error.while_doing(&doing("creating")));
    };
    let changed = merge(api, args, &placed, &live)
        .await
        .map_err(|error| error.while_doing(&doing("applying patch to")))?;
    match changed {
        Some(object) => object::report(&args.change, &placed.resource, &object, "configured"),
        None => object::report(&args.change, &placed.resource, &live, "unchanged"),
    }
}

/// The three-way merge; `None` if the object agrees already.
async fn merge(
    api: &Api,
    args: &ApplyArgs,
    placed: &Placed,
    live: &Value,
) -> Result<Option<Value>> {
    let annotation = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    if annotation.is_none() && !args.change.is_client_dry_run()? {
        errln!(
            "Warning: resource {} is missing the {LAST_APPLIED} annotation which is required by kctl apply. kctl apply should only be used on resources created declaratively by either kctl create --save-config or kctl apply. The missing annotation will be patched automatically.",
            placed.resource.named(&placed.name)
        );
    }
    let original =
        annotation.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    let modified = with_last_applied(&placed.object);
    let style = Style::of_group(&placed.resource.group);
    let patch = patch::three_way(&original, live, &modified, style);
    if patch::is_empty(&patch) {
        return Ok(None);
    }
    if args.change.is_client_dry_run()? {
        return Ok(Some(modified));
    }
    let path = with_query(&placed.path(), &args.change.query());
    match api.patch(&path, style.content_type(), &patch).await {
        // A custom resource in a group that looks built in.
        Err(Error::Server { status, .. }) if status.code == 415 && style == Style::Strategic => {
            let patch = patch::three_way(&original, live, &modified, Style::Merge);
            api.patch(&path, patch::MERGE, &patch).await.map(Some)
        }
        outcome => outcome.map(Some),
    }
}

async fn server_side(api: &Api, args: &ApplyArgs, placed: &Placed) -> Result {
    if args.change.is_client_dry_run()? {
        return Err(said(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    let mut query = args.change.query();
    query.push(("force", args.force_conflicts.to_string()));
    let path = with_query(&placed.path(), &query);
    let object = api.patch(&path, APPLY, &placed.object).await.map_err(|error| match &error {
        Error::Server { status, .. } if status.code == 409 => {
            said(format!("{}\n{RESOLUTIONS}", status.message))
        }
        _ => error.while_doing(&format!("applying {:?}", placed.source)),
    })?;
    object::report(&args.change, &placed.resource, &object, "serverside-applied")
}

/// What kubectl tells a user who met fields of others.
const RESOLUTIONS: &str = "\
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stops managing the field (removes it from its configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";

/// The object with itself in its annotation, as kubectl writes it.
pub fn with_last_applied(object: &Value) -> Value {
    let mut plain = object.clone();
    if let Some(annotations) =
        plain["metadata"].get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    if !plain["metadata"]["annotations"].is_object() {
        plain["metadata"]["annotations"] = json!({});
    }
    let mut modified = plain.clone();
    modified["metadata"]["annotations"][LAST_APPLIED] = format!("{plain}\n").into();
    modified
}

async fn view_last_applied(api: &Api, words: &[String], output: &str) -> Result {
    let found = api.find_one(words).await?;
    let Some(text) = found.object["metadata"]["annotations"][LAST_APPLIED].as_str() else {
        return Err(said(format!(
            "no last-applied-configuration annotation found on {}",
            found.named()
        )));
    };
    let value: Value = serde_json::from_str(text).map_err(|error| said(error.to_string()))?;
    term::out(&if output == "json" {
        crate::print::json::to_string(&value)
    } else {
        yaml::to_string(&value)
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_is_kept_without_itself() {
        let object =
            json!({"metadata": {"name": "a", "annotations": {LAST_APPLIED: "old", "x": "y"}}});
        let modified = with_last_applied(&object);
        let kept: Value = serde_json::from_str(
            modified["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap(),
        )
        .unwrap();
        assert_eq!(kept, json!({"metadata": {"name": "a", "annotations": {"x": "y"}}}));
        assert_eq!(with_last_applied(&modified), modified);
    }
}
