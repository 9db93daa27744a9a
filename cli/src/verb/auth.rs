//! `kctl auth`: what one may do, and who one is.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::{Error, Result};
use crate::flags::Global;
use crate::object::{items, text};
use crate::print::Format;
use crate::print::tabs::Tabs;
use crate::{errln, outln, term};

/// Inspect authorization
#[derive(Args, Debug)]
pub struct AuthArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check whether an action is allowed
    #[command(name = "can-i")]
    CanI(CanIArgs),
    /// Show who the masters take you for
    #[command(name = "whoami")]
    WhoAmI {
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<String>,
    },
}

#[derive(Args, Debug)]
struct CanIArgs {
    /// VERB, then TYPE[/NAME] or a path such as /metrics
    #[arg(value_name = "VERB TYPE[/NAME]")]
    words: Vec<String>,
    /// List everything that is allowed
    #[arg(long)]
    list: bool,
    /// Only an exit code
    #[arg(short, long)]
    quiet: bool,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Of this subresource
    #[arg(long, value_name = "NAME")]
    subresource: Option<String>,
    /// With --list: without headers
    #[arg(long)]
    no_headers: bool,
}

/// Runs it.
pub async fn run(args: &AuthArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    match &args.what {
        What::CanI(args) if args.list => list(&api, args).await,
        What::CanI(args) => can_i(&api, args).await,
        What::WhoAmI { output } => who_am_i(&api, output.as_deref()).await,
    }
}

async fn can_i(api: &Api, args: &CanIArgs) -> Result {
    let [verb, what, rest @ ..] = args.words.as_slice() else {
        return Err(Error::Said(
            "you must specify two arguments: verb resource or verb resource/resourceName.".into(),
        ));
    };
    let namespace = if args.all_namespaces { String::new() } else { api.namespace.clone() };
    let spec = if what.starts_with('/') {
        json!({ "nonResourceAttributes": { "verb": verb, "path": what } })
    } else {
        let (kind, name) =
            what.split_once('/').unwrap_or((what, rest.first().map_or("", String::as_str)));
        let (kind, subresource) = match args.subresource.as_deref() {
            Some(subresource) => (kind, subresource),
            None => (kind, ""),
        };
        let resource = api.discovery().await?.find(kind).ok().cloned();
        if resource.is_none() && kind != "*" {
            errln!("Warning: the server doesn't have a resource type '{kind}'\n");
        }
        let is_cluster_wide = resource.as_ref().is_some_and(|one| !one.is_namespaced);
        if is_cluster_wide && !args.all_namespaces {
            let one = resource.as_ref().map(|one| one.qualified()).unwrap_or_default();
            errln!("Warning: resource '{one}' is not namespace scoped\n");
        }
        let (group, plural) =
            resource.map_or((String::new(), kind.to_owned()), |one| (one.group, one.plural));
        let namespace = if is_cluster_wide { String::new() } else { namespace };
        json!({ "resourceAttributes": { "verb": verb, "group": group, "resource": plural,
            "subresource": subresource, "name": name, "namespace": namespace } })
    };
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec });
    let answer =
        api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
    let is_allowed = answer["status"]["allowed"] == true;
    if !args.quiet {
        let reason = text(&answer["status"]["reason"]);
        let reason = if reason.is_empty() || is_allowed {
            String::new()
        } else {
            format!(" - {}", term::safe_line(reason))
        };
        outln!("{}{reason}", if is_allowed { "yes" } else { "no" });
    }
    if is_allowed { Ok(()) } else { Err(Error::Exit(1)) }
}

async fn list(api: &Api, args: &CanIArgs) -> Result {
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": api.namespace } });
    let answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await?;
    let status = &answer["status"];
    let words = |value: &Value| items(value).iter().map(text).collect::<Vec<_>>().join(" ");
    let mut table = String::new();
    if !args.no_headers {
        table.push_str("Resources\tNon-Resource URLs\tResource Names\tVerbs\n");
    }
    for rule in items(&status["resourceRules"]) {
        for resource in items(&rule["resources"]) {
            for group in items(&rule["apiGroups"]) {
                let full = match (text(resource), text(group)) {
                    (resource, "") => resource.to_owned(),
                    (resource, group) => format!("{resource}.{group}"),
                };
                table.push_str(&format!(
                    "{full}\t[]\t[{}]\t[{}]\n",
                    words(&rule["resourceNames"]),
                    words(&rule["verbs"])
                ));
            }
        }
    }
    for rule in items(&status["nonResourceRules"]) {
        for url in items(&rule["nonResourceURLs"]) {
            let line = format!("\t[{}]\t[]\t[{}]\n", text(url), words(&rule["verbs"]));
            // Several roles allow the same paths.
            if !table.contains(&line) {
                table.push_str(&line);
            }
        }
    }
    term::out(&Tabs::of_tables().lay_out(&term::safe(&table)));
    Ok(())
}

async fn who_am_i(api: &Api, output: Option<&str>) -> Result {
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let answer = api.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    if output.is_some() {
        let format = Format::parse(output)?;
        term::out(&format.show(&answer, &crate::api::discovery::Resource::default()));
        return Ok(());
    }
    let user = &answer["status"]["userInfo"];
    let groups: Vec<_> = items(&user["groups"]).iter().map(text).collect();
    let mut table = format!("ATTRIBUTE\tVALUE\nUsername\t{}\n", text(&user["username"]));
    if !groups.is_empty() {
        table.push_str(&format!("Groups\t[{}]\n", groups.join(" ")));
    }
    for (key, values) in user["extra"].as_object().into_iter().flatten() {
        let values: Vec<_> = items(values).iter().map(text).collect();
        table.push_str(&format!("Extra: {key}\t[{}]\n", values.join(" ")));
    }
    term::out(&Tabs::of_tables().lay_out(&term::safe(&table)));
    Ok(())
}
