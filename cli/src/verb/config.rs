//! `kctl config`: the kubeconfig, shown and changed.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use master_api::jsonpath::Template;
use master_client::kubeconfig::{self, Context, Kubeconfig, NamedContext};
use master_client::yaml;
use serde_json::Value;

use crate::error::{Error, Result, said};
use crate::flags::Global;
use crate::print::json;
use crate::print::tabs::Tabs;
use crate::{outln, term};

/// Show and change kubeconfig files
#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the merged kubeconfig, without secrets
    View {
        #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
        output: String,
        /// With keys, tokens and certificates
        #[arg(long)]
        raw: bool,
        /// Only what the current context needs
        #[arg(long)]
        minify: bool,
    },
    /// List the contexts
    GetContexts {
        name: Option<String>,
        #[arg(short, long)]
        output: Option<String>,
        #[arg(long)]
        no_headers: bool,
    },
    /// Show the current context
    CurrentContext,
    /// Make another context the current one
    #[command(visible_alias = "use")]
    UseContext { name: String },
    /// Make or change a context
    SetContext {
        name: Option<String>,
        /// Change the current one
        #[arg(long)]
        current: bool,
    },
    /// Remove a context
    DeleteContext { name: String },
    /// Rename a context
    RenameContext { old: String, new: String },
    /// List the clusters
    GetClusters,
    /// List the users
    GetUsers,
}

/// Runs it.
pub fn run(args: &ConfigArgs, flags: &Global) -> Result {
    let config = kubeconfig::load(flags.kubeconfig.as_deref()).map_err(plain)?;
    match &args.what {
        What::View { output, raw, minify } => view(config, flags, output, *raw, *minify),
        What::GetContexts { name, output, no_headers } => {
            get_contexts(&config, name.as_deref(), output.as_deref(), *no_headers)
        }
        What::CurrentContext if config.current_context.is_empty() => {
            Err(said("current-context is not set"))
        }
        What::CurrentContext => {
            outln!("{}", flags.context.as_ref().unwrap_or(&config.current_context));
            Ok(())
        }
        What::UseContext { name } => {
            if config.context(name).is_none() {
                return Err(said(format!("no context exists with the name: {name:?}")));
            }
            change(flags, None, |config| config.current_context.clone_from(name))?;
            outln!("Switched to context {name:?}.");
            Ok(())
        }
        What::SetContext { name, current } => {
            set_context(&config, flags, name.as_deref(), *current)
        }
        What::DeleteContext { name } => {
            let path = path_of(flags, Some(name))?;
            change(flags, Some(name), |config| {
                config.contexts.retain(|entry| entry.name != *name)
            })?;
            outln!("deleted context {name} from {}", path.display());
            Ok(())
        }
        What::RenameContext { old, new } => rename_context(&config, flags, old, new),
        What::GetClusters => {
            outln!("NAME");
            config.clusters.iter().for_each(|entry| outln!("{}", entry.name));
            Ok(())
        }
        What::GetUsers => {
            outln!("NAME");
            config.users.iter().for_each(|entry| outln!("{}", entry.name));
            Ok(())
        }
    }
}

fn view(mut config: Kubeconfig, flags: &Global, output: &str, raw: bool, minify: bool) -> Result {
    if let Some(context) = &flags.context {
        config.current_context.clone_from(context);
    }
    if minify {
        let name = config.current_context.clone();
        let context = config.context(&name).cloned();
        let context = context.ok_or_else(|| said(format!("cannot locate context {name}")))?;
        config.contexts.retain(|entry| entry.name == name);
        config.clusters.retain(|entry| entry.name == context.cluster);
        config.users.retain(|entry| entry.name == context.user);
    }
    if !raw {
        redact(&mut config);
    }
    let value = serde_json::to_value(&config).map_err(|error| said(error.to_string()))?;
    let text = match output.split_once('=').unwrap_or((output, "")) {
        ("yaml", _) => yaml::to_string(&value),
        ("json", _) => json::to_string(&value),
        ("jsonpath", template) => Template::parse(template).map_err(said)?.text(&value),
        (other, _) => {
            return Err(said(format!(
                "unable to match a printer suitable for the output format {other:?}, allowed formats are: json,jsonpath,yaml"
            )));
        }
    };
    term::out(&text);
    Ok(())
}

/// What proves an identity is not for the screen.
fn redact(config: &mut Kubeconfig) {
    let hide = |field: &mut Option<String>, word: &str| {
        if let Some(value) = field {
            value.clear();
            value.push_str(word);
        }
    };
    for entry in &mut config.clusters {
        hide(&mut entry.cluster.certificate_authority_data, "DATA+OMITTED");
    }
    for entry in &mut config.users {
        hide(&mut entry.user.client_certificate_data, "DATA+OMITTED");
        hide(&mut entry.user.client_key_data, "DATA+OMITTED");
        hide(&mut entry.user.token, "REDACTED");
        for (key, value) in &mut entry.user.other {
            if matches!(key.as_str(), "password" | "auth-provider") {
                *value = Value::String("REDACTED".into());
            }
        }
    }
}

fn get_contexts(
    config: &Kubeconfig,
    name: Option<&str>,
    output: Option<&str>,
    no_headers: bool,
) -> Result {
    let wanted: Vec<&NamedContext> =
        config.contexts.iter().filter(|entry| name.is_none_or(|name| entry.name == name)).collect();
    if let (Some(name), true) = (name, wanted.is_empty()) {
        return Err(said(format!("context {name} not found")));
    }
    if output == Some("name") {
        wanted.iter().for_each(|entry| outln!("{}", entry.name));
        return Ok(());
    }
    let mut table = String::new();
    if !no_headers {
        table.push_str("CURRENT\tNAME\tCLUSTER\tAUTHINFO\tNAMESPACE\n");
    }
    for entry in wanted {
        let mark = if entry.name == config.current_context { "*" } else { "" };
        let Context { cluster, user, namespace, .. } = &entry.context;
        table.push_str(&format!(
            "{mark}\t{}\t{cluster}\t{user}\t{}\n",
            entry.name,
            namespace.as_deref().unwrap_or("")
        ));
    }
    term::out(&Tabs::of_tables().lay_out(&table));
    Ok(())
}

fn set_context(config: &Kubeconfig, flags: &Global, name: Option<&str>, current: bool) -> Result {
    let name = match (name, current) {
        (Some(name), false) => name.to_owned(),
        (None, true) if config.current_context.is_empty() => {
            return Err(said("no current context is set"));
        }
        (None, true) => config.current_context.clone(),
        _ => return Err(said("you must specify a non-empty context name or --current")),
    };
    let is_new = config.context(&name).is_none();
    let apply = |context: &mut Context| {
        if let Some(cluster) = &flags.cluster {
            context.cluster.clone_from(cluster);
        }
        if let Some(user) = &flags.user {
            context.user.clone_from(user);
        }
        if let Some(namespace) = &flags.namespace {
            context.namespace = Some(namespace.clone());
        }
    };
    change(flags, Some(&name), |config| {
        match config.contexts.iter_mut().find(|entry| entry.name == name) {
            Some(entry) => apply(&mut entry.context),
            None => {
                let mut entry = NamedContext { name: name.clone(), context: Context::default() };
                apply(&mut entry.context);
                config.contexts.push(entry);
            }
        }
    })?;
    outln!("Context {name:?} {}.", if is_new { "created" } else { "modified" });
    Ok(())
}

fn rename_context(config: &Kubeconfig, flags: &Global, old: &str, new: &str) -> Result {
    if config.context(new).is_some() {
        return Err(said(format!(
            "cannot rename the context {old:?}, the context {new:?} already exists"
        )));
    }
    change(flags, Some(old), |config| {
        for entry in config.contexts.iter_mut().filter(|entry| entry.name == old) {
            new.clone_into(&mut entry.name);
        }
        if config.current_context == old {
            new.clone_into(&mut config.current_context);
        }
    })?;
    outln!("Context {old:?} renamed to {new:?}.");
    Ok(())
}

/// Changes the file that holds a context (or the first one).
fn change(flags: &Global, context: Option<&str>, change: impl FnOnce(&mut Kubeconfig)) -> Result {
    let path = path_of(flags, context)?;
    let mut config = match kubeconfig::load_file(&path) {
        Ok(config) => config,
        Err(kubeconfig::Error::Io { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Kubeconfig::default()
        }
        Err(error) => return Err(plain(error)),
    };
    change(&mut config);
    kubeconfig::save(&config, &path).map_err(plain)
}

fn path_of(flags: &Global, context: Option<&str>) -> Result<PathBuf> {
    let paths = kubeconfig::search_paths(flags.kubeconfig.as_deref());
    let holds = |path: &&PathBuf| {
        let config = kubeconfig::load_file(path).unwrap_or_default();
        match context {
            Some(name) => config.context(name).is_some(),
            None => !config.current_context.is_empty(),
        }
    };
    let found = paths.iter().find(holds).or(paths.first());
    found.cloned().ok_or_else(|| said("there is no kubeconfig"))
}

fn plain(error: kubeconfig::Error) -> Error {
    said(error.to_string())
}

#[cfg(test)]
mod tests {
    use master_client::kubeconfig::Admin;

    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let servers = ["https://127.0.0.1:6443".to_owned()];
        let admin = Admin {
            name: "t",
            servers: &servers,
            ca_pem: b"CA",
            cert_pem: b"CERT",
            key_pem: b"KEY",
        };
        let mut config = Kubeconfig::admin(&admin);
        config.users[0].user.token = Some("secret".into());
        redact(&mut config);
        let shown = yaml::to_string(&serde_json::to_value(&config).unwrap());
        assert!(!shown.contains("secret") && !shown.contains("S0VZ"), "{shown}");
        assert!(
            shown.contains("client-key-data: DATA+OMITTED") && shown.contains("token: REDACTED"),
            "{shown}"
        );
    }
}
