//! `kctl delete`: by name, selector or file, and (unless told otherwise) waiting until they are gone.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::Api;
use crate::api::find::{Found, Target};
use crate::error::{Error, Result, said};
use crate::flags::{Files, Global, Selection};
use crate::object::{self, text};
use crate::print::human;
use crate::{errln, manifest, outln};

/// Delete resources
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl delete pod web                      # with its grace period
  kctl delete service,deployment web       # two kinds, one name
  kctl delete pods -l app=web
  kctl delete -f app.yaml
  kctl delete pod stuck --grace-period=0 --force")]
pub struct DeleteArgs {
    /// Kinds and names: pod NAME, pod/NAME, pods,services NAME
    #[arg(value_name = "TYPE[/NAME] [NAME]")]
    words: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    files: Files,
    /// Every object of the kind
    #[arg(long)]
    all: bool,
    /// Seconds that a pod gets to end; -1 is its own
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// With --grace-period=0: do not wait for the node's word that a pod has ended
    #[arg(long)]
    force: bool,
    /// End pods within a second
    #[arg(long)]
    now: bool,
    /// What happens to what the object owns: background, foreground or orphan
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "background", default_value = "background")]
    cascade: String,
    /// Wait until the objects are gone
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true)]
    wait: bool,
    /// How long to wait; 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = "0")]
    timeout: String,
    /// Do not fail for objects that do not exist
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ignore_not_found: Option<bool>,
    /// name: only print what was deleted as TYPE/NAME
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// client or server: say what would be deleted
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "client", default_value = "none")]
    dry_run: String,
}

/// Runs it.
pub async fn run(args: &DeleteArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let mut errors = Vec::new();
    let found = args.find(&api, flags, &mut errors).await?;
    if args.force && args.grace_period <= 0 && !found.is_empty() {
        errln!(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
        );
    }
    let mut deleted = Vec::new();
    for one in found {
        match args.delete(&api, &one).await {
            Ok(true) => deleted.push(one),
            Ok(false) => {}
            Err(error) if error.is_not_found() && args.forgives() => {}
            Err(error) => errors.push(error),
        }
    }
    if deleted.is_empty() && errors.is_empty() && args.dry_run == "none" {
        outln!("No resources found");
    }
    if args.wait && args.dry_run == "none" && !(args.force && args.grace_period == 0) {
        let limit = human::parse_duration(&args.timeout)?;
        let until = (!limit.is_zero()).then(|| Instant::now() + limit);
        for one in &deleted {
            wait_until_gone(&api, &one.path(), &one.object, until).await?;
        }
    }
    Error::all(errors)
}

impl DeleteArgs {
    async fn find(&self, api: &Api, flags: &Global, errors: &mut Vec<Error>) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        if !self.files.filename.is_empty() {
            for manifest in manifest::load(&self.files)? {
                let doing = format!("deleting {:?}", manifest.source);
                let placed = object::place(api, flags, manifest).await?;
                match api.get(&placed.path()).await {
                    Ok(object) => found.push(Found { resource: placed.resource, object }),
                    Err(error) if error.is_not_found() && self.forgives() => {}
                    Err(error) => errors.push(error.while_doing(&doing)),
                }
            }
            return Ok(found);
        }
        let targets = api.targets(&self.words, "the type of resource to delete").await?;
        for target in &targets {
            let is_narrow = self.all
                || self.selection.selector.is_some()
                || self.selection.field_selector.is_some();
            if target.name.is_none() && !is_narrow {
                return Err(said("resource(s) were provided, but no name was specified"));
            }
            match self.find_target(api, target).await {
                Ok(some) => found.extend(some),
                Err(error) if error.is_not_found() && self.forgives() => {}
                Err(error) => errors.push(error),
            }
        }
        Ok(found)
    }

    async fn find_target(&self, api: &Api, target: &Target) -> Result<Vec<Found>> {
        api.find(std::slice::from_ref(target), &self.selection).await
    }

    fn forgives(&self) -> bool {
        self.ignore_not_found.unwrap_or(self.all)
    }

    /// Whether it was really deleted.
    async fn delete(&self, api: &Api, one: &Found) -> Result<bool> {
        let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions" });
        options["propagationPolicy"] = match self.cascade.as_str() {
            "background" | "true" => "Background".into(),
            "foreground" => "Foreground".into(),
            "orphan" | "false" => "Orphan".into(),
            other => {
                return Err(said(format!(
                    "Invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\"."
                )));
            }
        };
        let grace = match (self.now, self.force, self.grace_period) {
            (true, _, _) => 1,
            (_, true, -1) => 0,
            // Without --force nothing is torn out of a node's hands.
            (_, false, 0) => 1,
            (_, _, seconds) => seconds,
        };
        if grace >= 0 {
            options["gracePeriodSeconds"] = grace.into();
        }
        if self.dry_run == "server" {
            options["dryRun"] = json!(["All"]);
        }
        if self.dry_run != "client" {
            api.delete(&one.path(), &options).await?;
        }
        let word = if self.force && grace == 0 { "force deleted" } else { "deleted" };
        let suffix = match self.dry_run.as_str() {
            "client" => " (dry run)",
            "server" => " (server dry run)",
            _ => "",
        };
        if self.output.as_deref() == Some("name") {
            outln!("{}", one.named());
        } else {
            let place = match one.namespace() {
                "" => String::new(),
                namespace => format!(" from {namespace} namespace"),
            };
            outln!("{} {:?} {word}{place}{suffix}", one.resource.singular_qualified(), one.name());
        }
        Ok(self.dry_run == "none")
    }
}

/// Waits until the object is gone, or another one has its name.
pub async fn wait_until_gone(
    api: &Api,
    path: &str,
    object: &Value,
    until: Option<Instant>,
) -> Result {
    let uid = text(&object["metadata"]["uid"]);
    let mut pause = Duration::from_millis(20);
    loop {
        match api.get_if_there(path).await? {
            None => return Ok(()),
            Some(there) if text(&there["metadata"]["uid"]) != uid => return Ok(()),
            Some(_) => {}
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let name = text(&object["metadata"]["name"]);
            return Err(said(format!(
                "timed out waiting for the condition on {name}: it is still being deleted"
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
