//! `kctl label` and `kctl annotate`: `KEY=VALUE` sets, `KEY-` removes.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::error::{Error, Result, said};
use crate::flags::{Change, Files, Global, Selection};
use crate::object::{self, text};
use crate::{errln, manifest, outln, patch};

/// Update the labels of a resource
#[derive(Args, Debug)]
pub struct LabelArgs {
    /// Objects, then changes: pod web app=shop tier-
    #[arg(value_name = "TYPE NAME KEY=VALUE", required = true)]
    words: Vec<String>,
    /// Change values that exist
    #[arg(long)]
    overwrite: bool,
    /// Every object of the kind
    #[arg(long)]
    all: bool,
    /// Show them
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    change: Change,
}

/// Which of the two maps is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Labels,
    Annotations,
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    set: Map<String, Value>,
    removed: Vec<String>,
}

/// Runs it.
pub async fn run(args: &LabelArgs, flags: &Global, what: What) -> Result {
    let (words, changes) = split(&args.words);
    if changes == Changes::default() && !args.list {
        return Err(said(match what {
            What::Labels => "at least one label update is required",
            What::Annotations => "at least one annotation update is required",
        }));
    }
    let api = flags.api()?;
    let mut found = Vec::new();
    for manifest in manifest::load(&args.files)? {
        let placed = object::place(&api, flags, manifest).await?;
        found.push(Found { object: api.get(&placed.path()).await?, resource: placed.resource });
    }
    if !words.is_empty() {
        let targets = api.targets(&words, "the type of resource").await?;
        let is_narrow = args.all || args.selection.selector.is_some() || args.list;
        if targets.iter().any(|target| target.name.is_none()) && !is_narrow {
            return Err(said("resource(s) were provided, but no name was specified"));
        }
        found.extend(api.find(&targets, &args.selection).await?);
    }
    let mut errors = Vec::new();
    for one in &found {
        let outcome =
            if args.list { list(one, what) } else { update(&api, args, what, one, &changes).await };
        errors.extend(outcome.err());
    }
    Error::all(errors)
}

fn split(words: &[String]) -> (Vec<String>, Changes) {
    let mut objects = Vec::new();
    let mut changes = Changes::default();
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => {
                changes.set.insert(key.to_owned(), json!(value));
            }
            (None, Some(key)) if !objects.is_empty() => changes.removed.push(key.to_owned()),
            _ => objects.push(word.clone()),
        }
    }
    (objects, changes)
}

async fn update(api: &Api, args: &LabelArgs, what: What, one: &Found, changes: &Changes) -> Result {
    let field = what.field();
    let current = &one.object["metadata"][field];
    for (key, value) in &changes.set {
        if let Some(there) = current[key.as_str()].as_str()
            && !args.overwrite
            && value != there
        {
            return Err(said(format!(
                "'{key}' already has a value ({there}), and --overwrite is false"
            )));
        }
    }
    for key in &changes.removed {
        if current.get(key).is_none() {
            errln!("{} {key:?} not found.", what.singular());
        }
    }
    let is_new = |(key, value): &(&String, &Value)| current[key.as_str()] != **value;
    let has_set = changes.set.iter().any(|pair| is_new(&pair));
    let has_removed = changes.removed.iter().any(|key| current.get(key).is_some());
    let verb = match (has_set, has_removed) {
        (false, false) if what == What::Labels => "not labeled",
        (false, true) if what == What::Labels => "unlabeled",
        _ if what == What::Labels => "labeled",
        _ => "annotated",
    };
    let mut map = changes.set.clone();
    map.extend(changes.removed.iter().map(|key| (key.clone(), Value::Null)));
    let object = if (has_set || has_removed) && !args.change.is_client_dry_run()? {
        let path = with_query(&one.path(), &args.change.query());
        api.patch(&path, patch::MERGE, &json!({ "metadata": { field: map } })).await?
    } else {
        one.object.clone()
    };
    object::report(&args.change, &one.resource, &object, verb)
}

fn list(one: &Found, what: What) -> Result {
    outln!("Listing {} for {}:", what.field(), one.named());
    for (key, value) in one.object["metadata"][what.field()].as_object().into_iter().flatten() {
        outln!(" {key}={}", crate::term::safe_line(text(value)));
    }
    Ok(())
}

impl What {
    fn field(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Annotations => "annotations",
        }
    }

    fn singular(self) -> &'static str {
        match self {
            Self::Labels => "label",
            Self::Annotations => "annotation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_objects_then_changes() {
        let words: Vec<String> = ["pods", "web-", "a=b", "c-", "d="].map(str::to_owned).into();
        let (objects, changes) = split(&words);
        assert_eq!(objects, ["pods"]);
        assert_eq!(changes.removed, ["web", "c"]);
        assert_eq!(Value::Object(changes.set), json!({"a": "b", "d": ""}));
    }
}
