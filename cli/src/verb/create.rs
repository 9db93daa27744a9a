//! `kctl create`: from files, or an object made up from arguments.

mod access;
mod simple;
mod workload;

use clap::{Args, Subcommand};

use crate::error::{Error, Result, said};
use crate::flags::{Change, Files, Global};
use crate::{manifest, object};

/// Create a resource from a file or from arguments
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl create -f pod.yaml
  kctl create deployment web --image=nginx --replicas=2 --port=80
  kctl create secret generic db --from-literal=password=x
  kctl create configmap app --from-file=app.conf --dry-run=client -o yaml")]
pub struct CreateArgs {
    #[command(flatten)]
    files: Files,
    /// Keep the object in its annotation, for a later apply
    #[arg(long, global = true)]
    save_config: bool,
    #[command(flatten)]
    change: CreateChange,
    #[command(subcommand)]
    kind: Option<Kind>,
}

/// [`Change`], also after the kind.
#[derive(Args, Debug)]
struct CreateChange {
    /// client: only show what would be sent; server: let the server check it without keeping it
    #[arg(long, global = true, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "client", default_value = "none")]
    dry_run: String,
    /// How to print the outcome: name, yaml, json, jsonpath=…
    #[arg(short, long, global = true, value_name = "FORMAT")]
    output: Option<String>,
    /// Name of the owner of the fields
    #[arg(long, global = true, value_name = "NAME", default_value = "kctl-create")]
    field_manager: String,
    /// What to do about unknown or doubled fields: strict, warn or ignore
    #[arg(long, global = true, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "strict", default_value = "strict")]
    validate: String,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Create a deployment
    #[command(visible_alias = "deploy")]
    Deployment(workload::DeploymentArgs),
    /// Create a job
    Job(workload::JobArgs),
    /// Create a cron job
    #[command(name = "cronjob", visible_alias = "cj")]
    CronJob(workload::CronJobArgs),
    /// Create a namespace
    #[command(visible_alias = "ns")]
    Namespace(simple::NameArgs),
    /// Create a service account
    #[command(name = "serviceaccount", visible_alias = "sa")]
    ServiceAccount(simple::NameArgs),
    /// Create a config map from literals and files
    #[command(name = "configmap", visible_alias = "cm")]
    ConfigMap(simple::DataArgs),
    /// Create a secret
    Secret(simple::SecretArgs),
    /// Create a service
    #[command(visible_alias = "svc")]
    Service(simple::ServiceArgs),
    /// Create a resource quota
    Quota(simple::QuotaArgs),
    /// Create a role
    Role(access::RoleArgs),
    /// Create a cluster role
    #[command(name = "clusterrole")]
    ClusterRole(access::ClusterRoleArgs),
    /// Bind a role in a namespace
    #[command(name = "rolebinding")]
    RoleBinding(access::BindingArgs),
    /// Bind a role in the whole cluster
    #[command(name = "clusterrolebinding")]
    ClusterRoleBinding(access::BindingArgs),
    /// Ask for a service account's token and print it
    Token(access::TokenArgs),
}

/// Runs it.
pub async fn run(args: &CreateArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let change = args.change.change();
    if let Some(kind) = &args.kind {
        let object = match kind {
            Kind::Deployment(args) => workload::deployment(args)?,
            Kind::Job(args) => workload::job(args, &api).await?,
            Kind::CronJob(args) => workload::cron_job(args)?,
            Kind::Namespace(args) => simple::named("Namespace", args),
            Kind::ServiceAccount(args) => simple::named("ServiceAccount", args),
            Kind::ConfigMap(args) => simple::config_map(args)?,
            Kind::Secret(args) => simple::secret(args)?,
            Kind::Service(args) => simple::service(args)?,
            Kind::Quota(args) => simple::quota(args)?,
            Kind::Role(args) => access::role(args, &api).await?,
            Kind::ClusterRole(args) => access::cluster_role(args, &api).await?,
            Kind::RoleBinding(args) => access::binding("RoleBinding", args)?,
            Kind::ClusterRoleBinding(args) => access::binding("ClusterRoleBinding", args)?,
            Kind::Token(args) => return access::token(args, &api).await,
        };
        return object::create_made(&api, flags, &change, args.annotated(object)).await;
    }
    if args.files.filename.is_empty() {
        return Err(said(
            "must specify one of -f, or what to create. `kctl create --help` lists the kinds.",
        ));
    }
    let mut errors = Vec::new();
    for manifest in manifest::load(&args.files)? {
        let doing = format!("creating {:?}", manifest.source);
        let mut placed = object::place(&api, flags, manifest).await?;
        placed.object = args.annotated(placed.object);
        let outcome = object::create(&api, &change, &placed).await;
        errors.extend(outcome.err().map(|error| error.while_doing(&doing)));
    }
    Error::all(errors)
}

impl CreateArgs {
    fn annotated(&self, object: serde_json::Value) -> serde_json::Value {
        if self.save_config { super::apply::with_last_applied(&object) } else { object }
    }
}

impl CreateChange {
    fn change(&self) -> Change {
        Change {
            dry_run: self.dry_run.clone(),
            output: self.output.clone(),
            field_manager: self.field_manager.clone(),
            validate: self.validate.clone(),
        }
    }
}
