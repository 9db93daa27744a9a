//! What the cluster is and serves: `cluster-info`, `version`, `api-resources`, `api-versions`.

use clap::Args;
use master_client::yaml;
use serde_json::json;

use crate::error::{Result, said};
use crate::flags::Global;
use crate::object::{items, text};
use crate::print::json;
use crate::print::tabs::Tabs;
use crate::{outln, term};

/// Show where the masters and the cluster's services are
#[derive(Args, Debug)]
pub struct ClusterInfoArgs {}

/// Show the versions of kctl and of the masters
#[derive(Args, Debug)]
pub struct VersionArgs {
    /// Only kctl's own
    #[arg(long)]
    client: bool,
    /// json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// List the kinds that the cluster serves
#[derive(Args, Debug)]
pub struct ApiResourcesArgs {
    /// Only this group
    #[arg(long, value_name = "GROUP")]
    api_group: Option<String>,
    /// Only namespaced ones, or with =false only the others
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    namespaced: Option<bool>,
    /// Only those with all these verbs
    #[arg(long, value_delimiter = ',')]
    verbs: Vec<String>,
    /// Only those in these categories
    #[arg(long, value_delimiter = ',')]
    categories: Vec<String>,
    /// wide or name
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
    /// name or kind
    #[arg(long, value_name = "BY")]
    sort_by: Option<String>,
    #[arg(long)]
    no_headers: bool,
}

/// Runs `kctl cluster-info`.
pub async fn cluster_info(_args: &ClusterInfoArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let services = api.get("/api/v1/namespaces/kube-system/services?labelSelector=kubernetes.io/cluster-service%3Dtrue").await?;
    let masters = api.masters();
    let Some(current) = masters.current() else { return Err(said("no master is connected")) };
    let base = current.to_string();
    let base = base.trim_end_matches('/');
    outln!("{} is running at {}", green("Kubernetes control plane"), yellow(base));
    let others: Vec<_> = masters
        .list()
        .iter()
        .filter(|server| **server != current)
        .map(|server| server.to_string().trim_end_matches('/').to_owned())
        .collect();
    if !others.is_empty() {
        outln!("{} are at {}", green("Other masters"), yellow(&others.join(", ")));
    }
    for service in items(&services["items"]) {
        let name = text(&service["metadata"]["name"]);
        let labels = &service["metadata"]["labels"];
        let title = labels["kubernetes.io/name"].as_str().unwrap_or(name);
        let port = items(&service["spec"]["ports"]).first().map_or("", |port| text(&port["name"]));
        let port = if port.is_empty() { String::new() } else { format!(":{port}") };
        let url = format!("{base}/api/v1/namespaces/kube-system/services/{name}{port}/proxy");
        outln!("{} is running at {}", green(&term::safe_line(title)), yellow(&url));
    }
    outln!("\nTo see how the masters and nodes are, use 'kctl status'.");
    Ok(())
}

/// Runs `kctl version`.
pub async fn version(args: &VersionArgs, flags: &Global) -> Result {
    let client = json!({ "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")), "kubernetesVersion": "v1.36" });
    let server = if args.client { None } else { Some(flags.api()?.get("/version").await) };
    match args.output.as_deref() {
        None => {
            outln!("Client Version: v{}", env!("CARGO_PKG_VERSION"));
            match server {
                Some(Ok(server)) => outln!("Server Version: {}", text(&server["gitVersion"])),
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
        Some(format) => {
            let mut value = json!({ "clientVersion": client });
            if let Some(server) = server {
                value["serverVersion"] = server?;
            }
            match format {
                "json" => term::out(&json::to_string(&value)),
                "yaml" => term::out(&yaml::to_string(&value)),
                _ => return Err(said("--output must be 'yaml' or 'json'")),
            }
        }
    }
    Ok(())
}

/// Runs `kctl api-resources`.
pub async fn api_resources(args: &ApiResourcesArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let known = api.discovery().await?;
    let mut shown: Vec<_> = known
        .resources
        .iter()
        .filter(|one| args.api_group.as_ref().is_none_or(|group| one.group == *group))
        .filter(|one| args.namespaced.is_none_or(|namespaced| one.is_namespaced == namespaced))
        .filter(|one| args.verbs.iter().all(|verb| one.can(verb)))
        .filter(|one| args.categories.iter().all(|category| one.categories.contains(category)))
        .collect();
    match args.sort_by.as_deref() {
        Some("kind") => shown.sort_by(|a, b| a.kind.cmp(&b.kind)),
        Some("name") => shown.sort_by(|a, b| a.plural.cmp(&b.plural)),
        Some(other) => {
            return Err(said(format!("--sort-by accepts only name or kind, not {other:?}")));
        }
        None => shown.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural))),
    }
    if args.output.as_deref() == Some("name") {
        shown.iter().for_each(|one| outln!("{}", one.qualified()));
        return Ok(());
    }
    let is_wide = args.output.as_deref() == Some("wide");
    let mut table = String::new();
    if !args.no_headers {
        table.push_str("NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND");
        table.push_str(if is_wide { "\tVERBS\tCATEGORIES\n" } else { "\n" });
    }
    for one in shown {
        table.push_str(&format!(
            "{}\t{}\t{}\t{}\t{}",
            one.plural,
            one.short.join(","),
            one.api_version(),
            one.is_namespaced,
            one.kind
        ));
        if is_wide {
            table.push_str(&format!("\t{}\t{}", one.verbs.join(","), one.categories.join(",")));
        }
        table.push('\n');
    }
    term::out(&Tabs::of_tables().lay_out(&table));
    Ok(())
}

/// Runs `kctl api-versions`.
pub async fn api_versions(flags: &Global) -> Result {
    let api = flags.api()?;
    let known = api.discovery().await?;
    let versions: std::collections::BTreeSet<_> =
        known.resources.iter().map(|one| one.api_version()).collect();
    versions.iter().for_each(|version| outln!("{version}"));
    Ok(())
}

fn green(text: &str) -> String {
    if term::is_tty() { format!("\u{1b}[0;32m{text}\u{1b}[0m") } else { text.to_owned() }
}

fn yellow(text: &str) -> String {
    if term::is_tty() { format!("\u{1b}[0;33m{text}\u{1b}[0m") } else { text.to_owned() }
}
