//! Roles, bindings and tokens from arguments.

use clap::Args;
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::{Result, said};
use crate::object::{pairs, text};
use crate::outln;
use crate::print::human;

#[derive(Args, Debug)]
pub(super) struct RoleArgs {
    name: String,
    /// What is allowed, such as get,list,watch
    #[arg(long, value_delimiter = ',', required = true)]
    verb: Vec<String>,
    /// On what, such as pods,deployments.apps,pods/log
    #[arg(long, value_delimiter = ',')]
    resource: Vec<String>,
    /// Only on objects with these names
    #[arg(long)]
    resource_name: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct ClusterRoleArgs {
    name: String,
    /// What is allowed, such as get,list,watch
    #[arg(long, value_delimiter = ',')]
    verb: Vec<String>,
    /// On what, such as nodes,deployments.apps,pods/log
    #[arg(long, value_delimiter = ',')]
    resource: Vec<String>,
    /// Only on objects with these names
    #[arg(long)]
    resource_name: Vec<String>,
    /// Paths that are no resources, such as /metrics
    #[arg(long = "non-resource-url", value_delimiter = ',')]
    non_resource_url: Vec<String>,
    /// Made of the cluster roles with these labels
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    aggregation_rule: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct BindingArgs {
    name: String,
    #[arg(long)]
    clusterrole: Option<String>,
    #[arg(long, conflicts_with = "clusterrole")]
    role: Option<String>,
    #[arg(long)]
    user: Vec<String>,
    #[arg(long)]
    group: Vec<String>,
    #[arg(long, value_name = "NAMESPACE:NAME")]
    serviceaccount: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct TokenArgs {
    /// The service account
    name: String,
    #[arg(long)]
    audience: Vec<String>,
    /// How long it is to be valid
    #[arg(long, value_name = "DURATION")]
    duration: Option<String>,
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

pub(super) async fn role(args: &RoleArgs, api: &Api) -> Result<Value> {
    if args.resource.is_empty() {
        return Err(said("at least one resource must be specified"));
    }
    let rules = rules(api, &args.verb, &args.resource, &args.resource_name).await?;
    Ok(
        json!({ "apiVersion": RBAC, "kind": "Role", "metadata": { "name": args.name }, "rules": rules }),
    )
}

pub(super) async fn cluster_role(args: &ClusterRoleArgs, api: &Api) -> Result<Value> {
    let metadata = json!({ "name": args.name });
    if !args.aggregation_rule.is_empty() {
        let labels = pairs(&args.aggregation_rule, "label")?;
        let rule = json!({ "clusterRoleSelectors": [{ "matchLabels": labels }] });
        return Ok(
            json!({ "apiVersion": RBAC, "kind": "ClusterRole", "metadata": metadata, "aggregationRule": rule, "rules": [] }),
        );
    }
    if args.verb.is_empty() {
        return Err(said("at least one verb must be specified"));
    }
    let mut rules = rules(api, &args.verb, &args.resource, &args.resource_name).await?;
    if !args.non_resource_url.is_empty() {
        rules.push(json!({ "nonResourceURLs": args.non_resource_url, "verbs": args.verb }));
    }
    if rules.is_empty() {
        return Err(said("one of resource or nonResourceURL must be specified"));
    }
    Ok(json!({ "apiVersion": RBAC, "kind": "ClusterRole", "metadata": metadata, "rules": rules }))
}

/// One rule for each API group that the resources belong to.
async fn rules(
    api: &Api,
    verbs: &[String],
    resources: &[String],
    names: &[String],
) -> Result<Vec<Value>> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for word in resources {
        let (name, subresource) = word.split_once('/').unwrap_or((word, ""));
        let (group, plural) = if name == "*" {
            ("*".to_owned(), "*".to_owned())
        } else {
            let found = api.resource(name).await?;
            (found.group, found.plural)
        };
        let full = if subresource.is_empty() { plural } else { format!("{plural}/{subresource}") };
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, list)) => list.push(full),
            None => groups.push((group, vec![full])),
        }
    }
    let rule = |(group, resources): (String, Vec<String>)| {
        let mut rule = json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
        if !names.is_empty() {
            rule["resourceNames"] = json!(names);
        }
        rule
    };
    Ok(groups.into_iter().map(rule).collect())
}

pub(super) fn binding(kind: &str, args: &BindingArgs) -> Result<Value> {
    let (role_kind, role) = match (&args.clusterrole, &args.role) {
        (Some(name), None) => ("ClusterRole", name),
        (None, Some(name)) if kind == "RoleBinding" => ("Role", name),
        (None, _) if kind == "ClusterRoleBinding" => {
            return Err(said("clusterrole must be specified"));
        }
        _ => return Err(said("exactly one of clusterrole or role must be specified")),
    };
    let of = |kind: &'static str| move |name: &String| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    let mut subjects: Vec<Value> = args.user.iter().map(of("User")).collect();
    subjects.extend(args.group.iter().map(of("Group")));
    for account in &args.serviceaccount {
        let Some((namespace, name)) = account.split_once(':') else {
            return Err(said("serviceaccount must be <namespace>:<name>"));
        };
        subjects.push(json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name }));
    }
    let role_ref =
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role });
    Ok(
        json!({ "apiVersion": RBAC, "kind": kind, "metadata": { "name": args.name }, "roleRef": role_ref, "subjects": subjects }),
    )
}

pub(super) async fn token(args: &TokenArgs, api: &Api) -> Result {
    let mut spec = json!({ "audiences": args.audience });
    if let Some(duration) = &args.duration {
        spec["expirationSeconds"] = human::parse_duration(duration)?.as_secs().into();
    }
    let accounts = api.resource("serviceaccounts").await?;
    let path = format!("{}/token", accounts.object(&api.namespace, &args.name));
    let request =
        json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
    let answer = api.post(&path, &request).await?;
    outln!("{}", text(&answer["status"]["token"]));
    Ok(())
}
