//! `kctl taint`: what keeps pods off nodes.

use clap::Args;
use serde_json::{Value, json};

use super::nodes;
use crate::api::with_query;
use crate::error::{Error, Result, said};
use crate::flags::{Change, Global};
use crate::object::{self, items, text};
use crate::patch;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Update the taints of nodes
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl taint nodes node-1 dedicated=db:NoSchedule
  kctl taint nodes node-1 dedicated-              # removes it")]
pub struct TaintArgs {
    /// nodes NAME, then KEY=VALUE:EFFECT, or KEY- and KEY:EFFECT- to remove
    #[arg(value_name = "nodes NAME TAINT", required = true)]
    words: Vec<String>,
    /// Every node
    #[arg(long)]
    all: bool,
    /// Nodes with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// Change taints that exist
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Put { key: String, value: String, effect: String },
    Remove { key: String, effect: Option<String> },
}

/// Runs it.
pub async fn run(args: &TaintArgs, flags: &Global) -> Result {
    let words: Vec<String> = match args.words.split_first() {
        Some((kind, rest)) if matches!(kind.as_str(), "nodes" | "node" | "no") => rest.to_vec(),
        _ => {
            return Err(said(
                "invalid resource type, only node types are supported: kctl taint nodes NAME KEY=VALUE:EFFECT",
            ));
        }
    };
    let is_taint = |word: &&String| word.contains([':', '=']) || word.ends_with('-');
    let (taints, names): (Vec<String>, Vec<String>) =
        words.iter().cloned().partition(|word| is_taint(&word));
    let steps = taints.iter().map(|word| parse(word)).collect::<Result<Vec<_>>>()?;
    if steps.is_empty() {
        return Err(said("at least one taint update is required"));
    }
    let api = flags.api()?;
    let selector = if args.all { Some("") } else { args.selector.as_deref() };
    let mut errors = Vec::new();
    for node in nodes(&api, &names, selector).await? {
        match apply(&node.object["spec"]["taints"], &steps, args.overwrite) {
            Ok((taints, word)) => {
                let object = if args.change.is_client_dry_run()? {
                    node.object.clone()
                } else {
                    let path = with_query(&node.path(), &args.change.query());
                    api.patch(&path, patch::MERGE, &json!({ "spec": { "taints": taints } })).await?
                };
                object::report(&args.change, &node.resource, &object, word)?;
            }
            Err(reason) => errors.push(said(format!("node {}: {reason}", node.name()))),
        }
    }
    Error::all(errors)
}

fn parse(word: &str) -> Result<Step> {
    let bad = || {
        said(format!(
            "invalid taint spec: {word}, write KEY=VALUE:EFFECT with one of {}",
            EFFECTS.join(", ")
        ))
    };
    if let Some(bare) = word.strip_suffix('-') {
        let (key, effect) =
            bare.split_once(':').map_or((bare, None), |(key, effect)| (key, Some(effect)));
        let key = key.split('=').next().unwrap_or(key);
        return Ok(Step::Remove { key: key.into(), effect: effect.map(str::to_owned) });
    }
    let (pair, effect) = word.split_once(':').ok_or_else(bad)?;
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if key.is_empty() || !EFFECTS.contains(&effect) {
        return Err(bad());
    }
    Ok(Step::Put { key: key.into(), value: value.into(), effect: effect.into() })
}

/// The taints after the steps, and what was done in a word.
fn apply(
    taints: &Value,
    steps: &[Step],
    overwrite: bool,
) -> std::result::Result<(Vec<Value>, &'static str), String> {
    let mut taints = items(taints).to_vec();
    let mut word = "untainted";
    for step in steps {
        match step {
            Step::Remove { key, effect } => {
                let is_meant = |taint: &Value| {
                    text(&taint["key"]) == key
                        && effect.as_ref().is_none_or(|effect| text(&taint["effect"]) == effect)
                };
                if !taints.iter().any(is_meant) {
                    return Err(format!("taint {key:?} not found"));
                }
                taints.retain(|taint| !is_meant(taint));
            }
            Step::Put { key, value, effect } => {
                let is_same =
                    |taint: &Value| text(&taint["key"]) == key && text(&taint["effect"]) == effect;
                if taints.iter().any(is_same) && !overwrite {
                    return Err(format!(
                        "already has {key} taint(s) with same effect(s) and --overwrite is false"
                    ));
                }
                taints.retain(|taint| !is_same(taint));
                let mut taint = json!({ "key": key, "effect": effect });
                if !value.is_empty() {
                    taint["value"] = value.clone().into();
                }
                taints.push(taint);
                word = "tainted";
            }
        }
    }
    Ok((taints, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_put_and_removed() {
        let check = |words: &[&str], wanted: std::result::Result<Value, &str>| {
            let steps: Vec<_> = words.iter().map(|word| parse(word).unwrap()).collect();
            let there =
                json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}]);
            let done = apply(&there, &steps, false).map(|(taints, _)| json!(taints));
            assert_eq!(done, wanted.map_err(str::to_owned), "{words:?}");
        };
        check(
            &["a-", "b=c:NoSchedule"],
            Ok(json!([{"key": "b", "value": "c", "effect": "NoSchedule"}])),
        );
        check(&["a:NoExecute-"], Ok(json!([{"key": "a", "effect": "NoSchedule"}])));
        check(&["x-"], Err("taint \"x\" not found"));
        check(
            &["a=1:NoSchedule"],
            Err("already has a taint(s) with same effect(s) and --overwrite is false"),
        );
        assert!(parse("a=b:Never").is_err());
    }
}
