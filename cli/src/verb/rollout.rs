//! `kctl rollout`: how an update goes on, what came before it, and back to that.

mod history;
mod status;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::error::{Error, Result, said};
use crate::flags::{Change, Global, Selection};
use crate::object;
use crate::patch;
use crate::print::human;

/// Manage the rollout of a deployment, daemon set or stateful set
#[derive(Args, Debug)]
pub struct RolloutArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show how a rollout goes on, until it is done
    Status {
        #[command(flatten)]
        which: Which,
        /// Wait until it is done
        #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
        watch: bool,
        /// Give up after this long; 0 never
        #[arg(long, value_name = "DURATION", default_value = "0")]
        timeout: String,
    },
    /// Show earlier revisions
    History {
        #[command(flatten)]
        which: Which,
        /// Show this one in full
        #[arg(long, default_value_t = 0)]
        revision: i64,
    },
    /// Go back to an earlier revision
    Undo {
        #[command(flatten)]
        which: Which,
        /// Which one; 0 is the one before
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
        #[command(flatten)]
        change: Change,
    },
    /// Replace all pods, a few at a time
    Restart {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        change: Change,
    },
    /// Hold a deployment's rollouts
    Pause {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        change: Change,
    },
    /// Let a deployment's rollouts go on
    Resume {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Args, Debug)]
struct Which {
    /// deployment/NAME, or TYPE NAME
    #[arg(value_name = "TYPE[/NAME]", required = true)]
    words: Vec<String>,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
}

/// Runs it.
pub async fn run(args: &RolloutArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    match &args.what {
        What::Status { which, watch, timeout } => {
            let timeout = human::parse_duration(timeout)?;
            for found in which.find(&api).await? {
                status::run(&api, &found, *watch, timeout).await?;
            }
            Ok(())
        }
        What::History { which, revision } => {
            for found in which.find(&api).await? {
                history::show(&api, &found, *revision).await?;
            }
            Ok(())
        }
        What::Undo { which, to_revision, change } => {
            for found in which.find(&api).await? {
                history::undo(&api, &found, *to_revision, change).await?;
            }
            Ok(())
        }
        What::Restart { which, change } => restart(&api, which, change).await,
        What::Pause { which, change } => set_paused(&api, which, change, true).await,
        What::Resume { which, change } => set_paused(&api, which, change, false).await,
    }
}

impl Which {
    async fn find(&self, api: &Api) -> Result<Vec<Found>> {
        let selection = Selection { selector: self.selector.clone(), ..Selection::default() };
        api.find_words(&self.words, &selection).await
    }
}

async fn restart(api: &Api, which: &Which, change: &Change) -> Result {
    let now = jiff::Timestamp::from_second(human::now_s())
        .map(|time| time.to_string())
        .unwrap_or_default();
    let body = json!({ "spec": { "template": { "metadata": { "annotations": {
        "kubectl.kubernetes.io/restartedAt": now } } } } });
    let mut errors = Vec::new();
    for found in which.find(api).await? {
        if found.object["spec"]["paused"] == true {
            errors.push(said(format!(
                "can't restart paused deployment (run rollout resume first): {}",
                found.name()
            )));
            continue;
        }
        object::pod_spec_path(&found.resource.kind)?;
        let path = with_query(&found.path(), &change.query());
        match api.patch(&path, patch::STRATEGIC, &body).await {
            Ok(changed) => object::report(change, &found.resource, &changed, "restarted")?,
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)
}

async fn set_paused(api: &Api, which: &Which, change: &Change, is_paused: bool) -> Result {
    let verb = if is_paused { "paused" } else { "resumed" };
    for found in which.find(api).await? {
        if found.resource.kind != "Deployment" {
            return Err(said(format!("{} cannot be {verb}: only deployments can", found.named())));
        }
        if (found.object["spec"]["paused"] == true) == is_paused {
            let state = if is_paused { "already paused" } else { "not paused" };
            return Err(said(format!("{} is {state}", found.named())));
        }
        let path = with_query(&found.path(), &change.query());
        let body = json!({ "spec": { "paused": is_paused } });
        let changed = api.patch(&path, patch::STRATEGIC, &body).await?;
        object::report(change, &found.resource, &changed, verb)?;
    }
    Ok(())
}
