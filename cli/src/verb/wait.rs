//! `kctl wait`: until objects are in a certain state.

use std::time::Duration;

use clap::Args;
use master_api::jsonpath::{Template, shown};
use serde_json::Value;
use tokio::time::Instant;

use crate::api::Api;
use crate::api::find::Found;
use crate::error::{Error, Result, said};
use crate::flags::{Files, Global, Selection};
use crate::manifest;
use crate::object::{self, items, text};
use crate::outln;
use crate::print::human;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Wait for a condition of resources
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl wait --for=condition=Available deployment/web
  kctl wait --for=jsonpath='{.status.phase}'=Running pod/web --timeout=1m
  kctl wait --for=delete pod/web")]
pub struct WaitArgs {
    /// Kinds and names
    #[arg(value_name = "TYPE/NAME")]
    words: Vec<String>,
    /// delete, create, condition=TYPE[=STATUS] or jsonpath='{PATH}'[=VALUE]
    #[arg(long = "for", value_name = "WHAT", required = true)]
    what: String,
    /// How long to wait for each; 0 looks once, negative waits for a week
    #[arg(long, value_name = "DURATION", default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
    /// Every object of the kind
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, PartialEq)]
enum Goal {
    Delete,
    Create,
    Condition { kind: String, status: String },
    Path { path: Template, value: Option<String> },
}

/// Runs it.
pub async fn run(args: &WaitArgs, flags: &Global) -> Result {
    let goal = Goal::parse(&args.what)?;
    let timeout = match args.timeout.strip_prefix('-') {
        Some(_) => Duration::from_secs(7 * 24 * 3600),
        None => human::parse_duration(&args.timeout)?,
    };
    let api = flags.api()?;
    let until = Instant::now() + timeout;
    let found = match find(&api, args, flags, &goal, until).await {
        Err(error) if goal == Goal::Delete && error.is_not_found() => return Ok(()),
        outcome => outcome?,
    };
    if found.is_empty() {
        return if goal == Goal::Delete {
            Ok(())
        } else {
            Err(said("no matching resources found"))
        };
    }
    let mut errors = Vec::new();
    for one in &found {
        errors.extend(wait(&api, one, &goal, until).await.err());
    }
    Error::all(errors)
}

async fn find(
    api: &Api,
    args: &WaitArgs,
    flags: &Global,
    goal: &Goal,
    until: Instant,
) -> Result<Vec<Found>> {
    loop {
        match find_once(api, args, flags).await {
            Ok(found) if *goal == Goal::Create && found.is_empty() => {}
            Err(error) if *goal == Goal::Create && error.is_not_found() => {
                if Instant::now() >= until {
                    return Err(said("timed out waiting for the condition: it was not created"));
                }
            }
            outcome => return outcome,
        }
        if Instant::now() >= until {
            return Err(said("timed out waiting for the condition: it was not created"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn find_once(api: &Api, args: &WaitArgs, flags: &Global) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for manifest in manifest::load(&args.files)? {
        let placed = object::place(api, flags, manifest).await?;
        found.push(Found { object: api.get(&placed.path()).await?, resource: placed.resource });
    }
    if args.words.is_empty() && !args.files.filename.is_empty() {
        return Ok(found);
    }
    let targets = api.targets(&args.words, "a resource, such as pod/web").await?;
    let is_narrow =
        args.all || args.selection.selector.is_some() || args.selection.field_selector.is_some();
    if targets.iter().any(|target| target.name.is_none()) && !is_narrow {
        return Err(said("resource(s) were provided, but no name was specified"));
    }
    found.extend(api.find(&targets, &args.selection).await?);
    Ok(found)
}

async fn wait(api: &Api, one: &Found, goal: &Goal, until: Instant) -> Result {
    let uid = &one.object["metadata"]["uid"];
    let mut object = Some(one.object.clone());
    loop {
        let now = object.filter(|object| object["metadata"]["uid"] == *uid);
        match (goal, &now) {
            (Goal::Delete, None) => {
                outln!("{} condition met", one.named());
                return Ok(());
            }
            (goal, Some(object)) if goal.is_met(object) => {
                outln!("{} condition met", one.named());
                return Ok(());
            }
            (_, None) => return Err(said(format!("{} was deleted while we waited", one.named()))),
            _ => {}
        }
        if Instant::now() >= until {
            return Err(said(format!(
                "timed out waiting for the condition on {}",
                one.resource.qualified() + "/" + one.name()
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        object = api.get_if_there(&one.path()).await?;
    }
}

impl Goal {
    fn parse(word: &str) -> Result<Self> {
        if word.eq_ignore_ascii_case("delete") {
            return Ok(Self::Delete);
        }
        if word.eq_ignore_ascii_case("create") {
            return Ok(Self::Create);
        }
        if let Some(rest) = word.strip_prefix("condition=") {
            let (kind, status) = rest.split_once('=').unwrap_or((rest, "True"));
            return Ok(Self::Condition { kind: kind.into(), status: status.into() });
        }
        if let Some(rest) = word.strip_prefix("jsonpath=") {
            // The path may hold `==` of a filter: the value begins after its closing brace.
            let end = rest.rfind('}').map_or(0, |end| end + 1);
            let (path, value) = match rest[end..].split_once('=') {
                Some((before, value)) => (
                    format!("{}{before}", &rest[..end]),
                    Some(value.trim_matches(['\'', '"']).to_owned()),
                ),
                None => (rest.to_owned(), None),
            };
            return Ok(Self::Path { path: Template::parse_relaxed(&path).map_err(said)?, value });
        }
        Err(said(format!(
            "unrecognized condition: {word:?}: delete, create, condition=TYPE[=STATUS] or jsonpath='{{PATH}}'[=VALUE]"
        )))
    }

    fn is_met(&self, object: &Value) -> bool {
        match self {
            Self::Delete => false,
            Self::Create => true,
            Self::Condition { kind, status } => {
                // A condition of an older generation says nothing of this one.
                let generation = object["metadata"]["generation"].as_i64();
                items(&object["status"]["conditions"]).iter().any(|condition| {
                    let seen = condition["observedGeneration"]
                        .as_i64()
                        .or(object["status"]["observedGeneration"].as_i64());
                    let is_fresh = seen.is_none() || seen >= generation;
                    is_fresh
                        && text(&condition["type"]).eq_ignore_ascii_case(kind)
                        && text(&condition["status"]).eq_ignore_ascii_case(status)
                })
            }
            Self::Path { path, value } => {
                let found = path.values(object);
                match value {
                    None => !found.is_empty(),
                    Some(value) => {
                        !found.is_empty() && found.iter().all(|one| shown(one) == *value)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn goals_are_met_or_not() {
        let object = json!({
            "metadata": {"generation": 2},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 1}, {"type": "Bad", "status": "False"}]},
        });
        #[rustfmt::skip]
        let cases = [
            // --for                                                       met?
            ("condition=Ready",                                            true),
            ("condition=ready=true",                                       true),
            ("condition=Old",                                              false),
            ("condition=Bad",                                              false),
            ("condition=Bad=False",                                        true),
            ("jsonpath={.status.phase}=Running",                           true),
            ("jsonpath='{.status.phase}'=Running",                         true),
            ("jsonpath=.status.phase=Failed",                              false),
            ("jsonpath={.status.phase}",                                   true),
            ("jsonpath={.status.x}",                                       false),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true),
            ("create",                                                     true),
        ];
        for (word, met) in cases {
            let word = word.replace('\'', "");
            assert_eq!(Goal::parse(&word).unwrap().is_met(&object), met, "{word}");
        }
        assert!(Goal::parse("ready").is_err());
    }
}
