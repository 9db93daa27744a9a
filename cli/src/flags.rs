//! Flags that many commands share, with kubectl's names.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use master_client::kubeconfig::Overrides;

use crate::api::Api;
use crate::error::{Result, said};
use crate::print::human;

/// The flags of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Global {
    /// The kubeconfig to use [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub cluster: Option<String>,
    /// The user of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub user: Option<String>,
    /// The namespace to work in
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub namespace: Option<String>,
    /// A master's URL, instead of those of the kubeconfig
    #[arg(short, long, global = true, value_name = "URL", help_heading = "Global options")]
    pub server: Option<String>,
    /// A bearer token to show
    #[arg(long, global = true, help_heading = "Global options")]
    pub token: Option<String>,
    /// A file with the cluster's CA
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub certificate_authority: Option<PathBuf>,
    /// A file with a client certificate
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub client_certificate: Option<PathBuf>,
    /// A file with the client certificate's key
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub client_key: Option<PathBuf>,
    /// The name that the server's certificate must carry
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub tls_server_name: Option<String>,
    /// Believe any server certificate
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, help_heading = "Global options")]
    pub insecure_skip_tls_verify: bool,
    /// Act as this user
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Global options")]
    pub impersonate: Option<String>,
    /// Act as a member of this group
    #[arg(long = "as-group", global = true, value_name = "GROUP", help_heading = "Global options")]
    pub impersonate_groups: Vec<String>,
    /// Give up a request after this long, such as 5s or 1m; 0 waits for ever
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "0",
        help_heading = "Global options"
    )]
    pub request_timeout: String,
    /// How much to log to standard error, 0 to 9
    #[arg(
        short,
        long = "v",
        global = true,
        value_name = "LEVEL",
        default_value_t = 0,
        help_heading = "Global options"
    )]
    pub verbosity: u8,
}

impl Global {
    /// The part that concerns the kubeconfig.
    pub fn overrides(&self) -> Overrides {
        let Self { context, cluster, user, namespace, server, token, .. } = self.clone();
        Overrides {
            context,
            cluster,
            user,
            namespace,
            server,
            token,
            certificate_authority: self.certificate_authority.clone(),
            client_certificate: self.client_certificate.clone(),
            client_key: self.client_key.clone(),
            tls_server_name: self.tls_server_name.clone(),
            insecure_skip_tls_verify: self.insecure_skip_tls_verify,
            impersonate: self.impersonate.clone(),
            impersonate_groups: self.impersonate_groups.clone(),
        }
    }

    /// The bound of a request, if one was asked for.
    pub fn timeout(&self) -> Result<Option<Duration>> {
        match self.request_timeout.as_str() {
            "0" | "0s" => Ok(None),
            text => human::parse_duration(text).map(Some),
        }
    }

    /// Connects as the flags and the kubeconfig say.
    pub fn api(&self) -> Result<Api> {
        Api::connect(self)
    }
}

/// Which objects of a kind.
#[derive(Args, Clone, Debug, Default)]
pub struct Selection {
    /// Only objects with these labels, such as app=web,tier!=cache or 'env in (a,b)'
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only objects with these field values, such as status.phase=Running
    #[arg(long, value_name = "FIELDS")]
    pub field_selector: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// Files with objects.
#[derive(Args, Clone, Debug, Default)]
pub struct Files {
    /// A file or directory with objects in YAML or JSON; - is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub filename: Vec<String>,
    /// Look into directories below as well
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// Whether a change is really made, and how its outcome is printed.
#[derive(Args, Clone, Debug, Default)]
pub struct Change {
    /// client: only show what would be sent; server: let the server check it without keeping it
    #[arg(long, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "client", default_value = "none")]
    pub dry_run: String,
    /// How to print the outcome: name, yaml, json, jsonpath=…
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Name of the owner of the changed fields
    #[arg(long, value_name = "NAME", default_value = "kctl")]
    pub field_manager: String,
    /// What to do about unknown or doubled fields: strict, warn or ignore
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "strict", default_value = "strict")]
    pub validate: String,
}

impl Change {
    /// Whether nothing is to be sent at all.
    pub fn is_client_dry_run(&self) -> Result<bool> {
        match self.dry_run.as_str() {
            "client" => Ok(true),
            "none" | "server" => Ok(false),
            other => Err(said(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// The query parameters of a writing request.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let validation = match self.validate.as_str() {
            "ignore" | "false" => "Ignore",
            "warn" => "Warn",
            _ => "Strict",
        };
        let mut query = vec![
            ("fieldManager", self.field_manager.clone()),
            ("fieldValidation", validation.to_owned()),
        ];
        if self.dry_run == "server" {
            query.push(("dryRun", "All".to_owned()));
        }
        query
    }

    /// What follows the verb in the outcome's line.
    pub fn suffix(&self) -> &'static str {
        match self.dry_run.as_str() {
            "client" => " (dry run)",
            "server" => " (server dry run)",
            _ => "",
        }
    }
}
