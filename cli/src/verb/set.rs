//! `kctl set`: images, resources, environment and service account of a workload's pods.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::find::Found;
use crate::error::{Error, Result, said};
use crate::flags::{Change, Global, Selection};
use crate::object::{self, at_mut, items, pairs, pod_spec_path, text};
use crate::outln;

/// Set fields of workloads
#[derive(Args, Debug)]
pub struct SetArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set containers' images: kctl set image deployment/web web=nginx:1.27
    Image(SetImage),
    /// Set requests and limits: kctl set resources deployment/web --limits=cpu=1
    Resources(SetResources),
    /// Set environment variables: kctl set env deployment/web KEY=VALUE OTHER-
    Env(SetEnv),
    /// Set the service account: kctl set serviceaccount deployment/web robot
    #[command(visible_alias = "sa", name = "serviceaccount")]
    ServiceAccount(SetServiceAccount),
}

/// Which objects.
#[derive(Args, Debug)]
struct Which {
    /// Every object of the kind
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    change: Change,
}

#[derive(Args, Debug)]
struct SetImage {
    /// Objects, then CONTAINER=IMAGE (* for every container)
    #[arg(required = true)]
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
}

#[derive(Args, Debug)]
struct SetResources {
    #[arg(required = true)]
    words: Vec<String>,
    #[arg(short, long, value_name = "NAME", default_value = "*")]
    containers: String,
    #[arg(long, value_name = "RESOURCE=QUANTITY", value_delimiter = ',')]
    limits: Vec<String>,
    #[arg(long, value_name = "RESOURCE=QUANTITY", value_delimiter = ',')]
    requests: Vec<String>,
    #[command(flatten)]
    which: Which,
}

#[derive(Args, Debug)]
struct SetEnv {
    #[arg(required = true)]
    words: Vec<String>,
    #[arg(short, long, value_name = "NAME", default_value = "*")]
    containers: String,
    /// Show the variables
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Args, Debug)]
struct SetServiceAccount {
    #[arg(required = true, num_args = 2..)]
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
}

/// Runs it.
pub async fn run(args: &SetArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    match &args.what {
        What::Image(args) => image(&api, args).await,
        What::Resources(args) => resources(&api, args).await,
        What::Env(args) => env(&api, args).await,
        What::ServiceAccount(args) => service_account(&api, args).await,
    }
}

async fn image(api: &Api, args: &SetImage) -> Result {
    let (words, changes) = split(&args.words);
    if changes.is_empty() {
        return Err(said("at least one image update is required: CONTAINER=IMAGE"));
    }
    let changes = pairs(&changes, "image")?;
    each(api, &args.which, &words, "image updated", |spec| {
        for (name, image) in &changes {
            on_containers(spec, name, |container| container["image"] = image.clone())?;
        }
        Ok(())
    })
    .await
}

async fn resources(api: &Api, args: &SetResources) -> Result {
    let limits = pairs(&args.limits, "limit")?;
    let requests = pairs(&args.requests, "request")?;
    if limits.is_empty() && requests.is_empty() {
        return Err(said(
            "you must specify an update to requests or limits (in the form of --requests/--limits)",
        ));
    }
    each(api, &args.which, &args.words, "resource requirements updated", |spec| {
        on_containers(spec, &args.containers, |container| {
            for (field, quantities) in [("limits", &limits), ("requests", &requests)] {
                for (name, quantity) in quantities {
                    // A quantity of 0 takes the bound away.
                    let place = at_mut(container, &["resources", field]);
                    match (place.as_object_mut(), quantity == "0") {
                        (Some(map), true) => drop(map.remove(name)),
                        _ => *at_mut(place, &[name]) = quantity.clone(),
                    }
                }
            }
        })
    })
    .await
}

async fn env(api: &Api, args: &SetEnv) -> Result {
    let (words, changes) = split(&args.words);
    if args.list {
        return list_env(api, &words, &args.which).await;
    }
    if changes.is_empty() {
        return Err(said("at least one environment variable must be provided: KEY=VALUE or KEY-"));
    }
    each(api, &args.which, &words, "env updated", |spec| {
        on_containers(spec, &args.containers, |container| {
            changes.iter().for_each(|change| change_variable(container, change));
        })
    })
    .await
}

fn change_variable(container: &mut Value, change: &str) {
    if !container["env"].is_array() {
        container["env"] = json!([]);
    }
    let Some(list) = container["env"].as_array_mut() else { return };
    match change.split_once('=') {
        None => list.retain(|entry| entry["name"] != change.trim_end_matches('-')),
        Some((name, value)) => match list.iter_mut().find(|entry| entry["name"] == name) {
            Some(entry) => *entry = json!({ "name": name, "value": value }),
            None => list.push(json!({ "name": name, "value": value })),
        },
    }
}

async fn list_env(api: &Api, words: &[String], which: &Which) -> Result {
    for found in api.find_words(words, &which.selection).await? {
        let spec = object::at(&found.object, pod_spec_path(&found.resource.kind)?);
        for container in items(&spec["containers"]) {
            outln!("# {}, container {}", found.named(), text(&container["name"]));
            for entry in items(&container["env"]) {
                match entry.get("valueFrom") {
                    Some(source) => outln!("# {} from {source}", text(&entry["name"])),
                    None => outln!(
                        "{}={}",
                        text(&entry["name"]),
                        crate::term::safe_line(text(&entry["value"]))
                    ),
                }
            }
        }
    }
    Ok(())
}

async fn service_account(api: &Api, args: &SetServiceAccount) -> Result {
    let Some((account, words)) = args.words.split_last() else {
        return Err(said("serviceaccount is required"));
    };
    each(api, &args.which, words, "serviceaccount updated", |spec| {
        spec["serviceAccountName"] = account.clone().into();
        spec["serviceAccount"] = account.clone().into();
        Ok(())
    })
    .await
}

/// Changes the pod specification of each object and says so; unchanged ones are passed over silently.
async fn each(
    api: &Api,
    which: &Which,
    words: &[String],
    verb: &str,
    change: impl Fn(&mut Value) -> Result,
) -> Result {
    let targets = api.targets(words, "one or more resources, such as deployment/web").await?;
    let is_narrow = which.all || which.selection.selector.is_some();
    if targets.iter().any(|target| target.name.is_none()) && !is_narrow {
        return Err(said(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    let mut errors = Vec::new();
    for found in api.find(&targets, &which.selection).await? {
        errors.extend(one(api, which, &found, verb, &change).await.err());
    }
    Error::all(errors)
}

async fn one(
    api: &Api,
    which: &Which,
    found: &Found,
    verb: &str,
    change: &impl Fn(&mut Value) -> Result,
) -> Result {
    let mut modified = found.object.clone();
    change(at_mut(&mut modified, pod_spec_path(&found.resource.kind)?))?;
    match object::change_to(api, &which.change, found, &modified).await? {
        Some(changed) => object::report(&which.change, &found.resource, &changed, verb),
        None => Ok(()),
    }
}

/// Words that name objects, then those that are changes (`A=b`, `A-`).
fn split(words: &[String]) -> (Vec<String>, Vec<String>) {
    let is_change =
        |word: &&String| word.contains('=') || (word.ends_with('-') && !word.contains('/'));
    words.iter().cloned().partition(|word| !is_change(&word))
}

/// Applies a change to the container called `name`, or to all of them for `*`.
fn on_containers(spec: &mut Value, name: &str, mut change: impl FnMut(&mut Value)) -> Result {
    let mut is_found = false;
    for field in ["initContainers", "containers"] {
        // `*` means the containers that the workload is about.
        if name == "*" && field == "initContainers" {
            continue;
        }
        for container in spec[field].as_array_mut().into_iter().flatten() {
            if name == "*" || container["name"] == name {
                is_found = true;
                change(container);
            }
        }
    }
    if is_found { Ok(()) } else { Err(said(format!("unable to find container named {name:?}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_changed_and_removed() {
        let mut container =
            json!({"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]});
        for change in ["A=x=y", "B-", "C="] {
            change_variable(&mut container, change);
        }
        assert_eq!(
            container["env"],
            json!([{"name": "A", "value": "x=y"}, {"name": "C", "value": ""}])
        );
    }

    #[test]
    fn unknown_container_is_named() {
        let mut spec = json!({"containers": [{"name": "a"}]});
        let error = on_containers(&mut spec, "b", |_| {}).unwrap_err().to_string();
        assert_eq!(error, "error: unable to find container named \"b\"");
        on_containers(&mut spec, "*", |container| container["image"] = "i".into()).unwrap();
        assert_eq!(spec["containers"][0]["image"], "i");
    }
}
