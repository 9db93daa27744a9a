//! `kctl run`: an image, running.
//!
//! As in the first tutorials of Kubernetes it makes a deployment, which keeps the image running; a
//! single pod for `--restart=Never`, `-i`, `-t` or `--rm`, as kubectl does today.

use clap::Args;
use serde_json::{Value, json};

use crate::api::Api;
use crate::api::find::Found;
use crate::error::{Error, Result, said};
use crate::flags::{Change, Global};
use crate::object::{self, pairs, text};
use crate::verb::attach::{self, Terminal};
use crate::verb::{delete, expose, logs};
use crate::{errln, outln};

/// Run an image: as a deployment, or as a pod with --restart=Never, -i or --rm
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl run web --image=nginx --port=80              # a deployment
  kctl run once --image=busybox --restart=Never -- date
  kctl run -it --rm shell --image=busybox -- sh     # a pod that goes when you leave it")]
pub struct RunArgs {
    name: String,
    /// The image
    #[arg(long)]
    image: String,
    /// The port that the container listens on
    #[arg(long)]
    port: Option<u16>,
    /// Also make a service for the port
    #[arg(long)]
    expose: bool,
    /// How many pods
    #[arg(short, long, default_value_t = 1)]
    replicas: u32,
    /// Environment variables
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Labels, instead of run=NAME
    #[arg(short, long, value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,
    /// Annotations
    #[arg(long, value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Take what follows -- as the command, not as its arguments
    #[arg(long)]
    command: bool,
    /// Always makes a deployment, Never and OnFailure a pod
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// When to pull the image
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// The service account to run as
    #[arg(long, value_name = "NAME")]
    serviceaccount: Option<String>,
    /// Run privileged
    #[arg(long)]
    privileged: bool,
    /// Limits, such as cpu=200m,memory=128Mi
    #[arg(long, value_name = "RESOURCE=QUANTITY", value_delimiter = ',')]
    limits: Vec<String>,
    /// Requests, such as cpu=100m,memory=64Mi
    #[arg(long, value_name = "RESOURCE=QUANTITY", value_delimiter = ',')]
    requests: Vec<String>,
    /// JSON that is merged over the object
    #[arg(long, value_name = "JSON")]
    overrides: Option<String>,
    /// Keep standard input open, and attach
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give it a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Attach to it
    #[arg(long)]
    attach: bool,
    /// Delete it when it has ended
    #[arg(long)]
    rm: bool,
    /// Do not say how to get a prompt
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    change: Change,
    /// Arguments (or the command, with --command)
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs it.
pub async fn run(args: &RunArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let is_attached = args.stdin || args.attach;
    if args.rm && !is_attached {
        return Err(said("--rm should only be used for attached containers: add -i or --attach"));
    }
    if args.expose && args.port.is_none() {
        return Err(said("--port must be set when exposing a service"));
    }
    let mut object = if args.is_pod() { args.pod()? } else { args.deployment()? };
    if let Some(overrides) = &args.overrides {
        let overrides: Value = serde_json::from_str(overrides)
            .map_err(|error| said(format!("--overrides is no JSON: {error}")))?;
        json_patch::merge(&mut object, &overrides);
    }
    if is_attached && args.change.dry_run == "none" {
        return attached(&api, args, flags, object).await;
    }
    object::create_made(&api, flags, &args.change, object).await?;
    if args.expose {
        let service = expose::for_run(&args.name, args.port.unwrap_or_default(), &args.labels()?);
        object::create_made(&api, flags, &args.change, service).await?;
    }
    Ok(())
}

impl RunArgs {
    fn is_pod(&self) -> bool {
        self.stdin
            || self.tty
            || self.rm
            || self.attach
            || self.restart.as_deref().is_some_and(|policy| policy != "Always")
    }

    fn labels(&self) -> Result<Value> {
        if self.labels.is_empty() {
            return Ok(json!({ "run": self.name }));
        }
        pairs(&self.labels, "label").map(Value::Object)
    }

    fn metadata(&self) -> Result<Value> {
        let mut metadata = json!({ "name": self.name, "labels": self.labels()? });
        if !self.annotations.is_empty() {
            metadata["annotations"] = Value::Object(pairs(&self.annotations, "annotation")?);
        }
        Ok(metadata)
    }

    fn pod(&self) -> Result<Value> {
        let restart = match self.restart.as_deref() {
            None if self.rm => "Never",
            None => "Always",
            Some(policy @ ("Always" | "Never" | "OnFailure")) => policy,
            Some(other) => {
                return Err(said(format!(
                    "invalid restart policy: {other}: Always, OnFailure or Never"
                )));
            }
        };
        let mut spec = self.pod_spec()?;
        spec["restartPolicy"] = restart.into();
        Ok(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": self.metadata()?, "spec": spec }))
    }

    fn deployment(&self) -> Result<Value> {
        let labels = self.labels()?;
        Ok(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata()?,
            "spec": {
                "replicas": self.replicas,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": self.pod_spec()? },
            },
        }))
    }

    fn pod_spec(&self) -> Result<Value> {
        let mut container = json!({ "name": self.name, "image": self.image, "resources": {} });
        if !self.args.is_empty() {
            container[if self.command { "command" } else { "args" }] = json!(self.args);
        }
        if let Some(port) = self.port {
            container["ports"] = json!([{ "containerPort": port }]);
        }
        let env = pairs(&self.env, "environment variable")?;
        if !env.is_empty() {
            let entries: Vec<_> =
                env.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            container["env"] = json!(entries);
        }
        for (field, words) in [("limits", &self.limits), ("requests", &self.requests)] {
            if !words.is_empty() {
                container["resources"][field] = Value::Object(pairs(words, "quantity")?);
            }
        }
        if let Some(policy) = &self.image_pull_policy {
            container["imagePullPolicy"] = policy.clone().into();
        }
        if self.privileged {
            container["securityContext"] = json!({ "privileged": true });
        }
        if self.stdin {
            container["stdin"] = true.into();
            container["stdinOnce"] = true.into();
        }
        if self.tty {
            container["tty"] = true.into();
        }
        let mut spec = json!({ "containers": [container] });
        if let Some(account) = &self.serviceaccount {
            spec["serviceAccountName"] = account.clone().into();
        }
        Ok(spec)
    }
}

/// Creates the pod, attaches, and with `--rm` takes it away whatever happened.
async fn attached(api: &Api, args: &RunArgs, flags: &Global, object: Value) -> Result {
    let manifest = crate::manifest::Manifest { source: "arguments".into(), object };
    let placed = object::place(api, flags, manifest).await?;
    let created =
        api.post(&placed.resource.collection(Some(&placed.namespace)), &placed.object).await?;
    let outcome = follow(api, args, &placed.path()).await;
    if args.rm {
        let _ = api.delete(&placed.path(), &json!({ "gracePeriodSeconds": 0 })).await;
        delete::wait_until_gone(api, &placed.path(), &created, None).await?;
        outln!("pod {:?} deleted from {} namespace", placed.name, placed.namespace);
    }
    outcome
}

async fn follow(api: &Api, args: &RunArgs, path: &str) -> Result {
    let pod = attach::wait_until_started(api, path).await?;
    let resource = api.resource("pods").await?;
    let found = Found { resource, object: pod };
    if text(&found.object["status"]["phase"]) == "Running" {
        if args.stdin && args.tty && !args.quiet {
            errln!("If you don't see a command prompt, try pressing enter.");
        }
        let terminal = Terminal { has_stdin: args.stdin, is_tty: args.tty };
        match attach::attach(api, &found, &args.name, terminal).await {
            Ok(true) => {}
            Err(Error::Exit(code)) => return Err(Error::Exit(code)),
            // It may have printed and ended before we were attached: its log says the same.
            Ok(false) | Err(_) => logs::print(api, &found, &args.name).await?,
        }
    } else {
        logs::print(api, &found, &args.name).await?;
    }
    if args.restart.as_deref() == Some("Never") || args.rm {
        return attach::exit_code(api, path, &args.name).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::tree::{Cli, Command};

    fn made(line: &str) -> Value {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Run(args) = cli.command else { panic!("{line}") };
        if args.is_pod() { args.pod().unwrap() } else { args.deployment().unwrap() }
    }

    #[test]
    fn image_becomes_a_deployment_unless_it_is_for_once() {
        let web = made("kctl run web --image=nginx --port=80 --env=A=b");
        assert_eq!((text(&web["kind"]), &web["spec"]["replicas"]), ("Deployment", &json!(1)));
        let container = &web["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["ports"], json!([{"containerPort": 80}]));
        assert_eq!(container["env"], json!([{"name": "A", "value": "b"}]));
        assert_eq!(web["spec"]["selector"]["matchLabels"], json!({"run": "web"}));

        let once = made("kctl run once --image=busybox --restart=Never -- date -u");
        assert_eq!((text(&once["kind"]), text(&once["spec"]["restartPolicy"])), ("Pod", "Never"));
        assert_eq!(once["spec"]["containers"][0]["args"], json!(["date", "-u"]));

        let shell = made("kctl run -it --rm shell --image=busybox --command -- sh");
        assert_eq!(text(&shell["kind"]), "Pod");
        assert_eq!(shell["spec"]["containers"][0]["command"], json!(["sh"]));
        assert_eq!(shell["spec"]["containers"][0]["tty"], true);
    }
}
