//! `kctl logs`: what containers wrote, of one pod or of many, once or as it comes.

use clap::Args;
use futures::StreamExt;
use store_env::task::Crew;
use tokio::sync::mpsc;

use crate::api::find::Found;
use crate::api::{Api, with_query};
use crate::error::{Error, Result, said};
use crate::flags::{Global, Selection};
use crate::print::human;
use crate::{errln, term, workload};

/// Lines on their way to the terminal, from all containers together.
const LINES_WAITING_MAX: usize = 256;

/// Print the logs of a container
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl logs web
  kctl logs -f --since=10m deployment/web
  kctl logs -l app=web --all-containers --prefix
  kctl logs web -p                        # of the container that ran before this one")]
pub struct LogsArgs {
    /// A pod, or TYPE/NAME of a workload; then, for a pod, a container
    #[arg(value_name = "POD|TYPE/NAME [CONTAINER]")]
    words: Vec<String>,
    /// Go on as more is written
    #[arg(short, long)]
    follow: bool,
    /// Which container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Of the container that ran before
    #[arg(short, long)]
    previous: bool,
    /// Only lines newer than this, such as 10m
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// Only lines newer than this RFC 3339 time
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    since_time: Option<String>,
    /// Only the last lines; -1 is all [default: all, or 10 with a selector]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Only so many bytes
    #[arg(long, value_name = "N")]
    limit_bytes: Option<u64>,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Of all containers of each pod
    #[arg(long)]
    all_containers: bool,
    /// Of all pods of a workload
    #[arg(long)]
    all_pods: bool,
    /// With each line's pod and container
    #[arg(long)]
    prefix: bool,
    /// Of the pods with these labels
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// How many logs to follow at once
    #[arg(long, value_name = "N", default_value_t = 5)]
    max_log_requests: usize,
    /// Do not fail as a whole when one log cannot be read
    #[arg(long)]
    ignore_errors: bool,
}

/// A log to read.
struct Source {
    path: String,
    prefix: String,
}

/// Runs it.
pub async fn run(args: &LogsArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let (pods, named) = args.pods(&api).await?;
    let mut sources = Vec::new();
    for pod in &pods {
        sources.extend(args.sources(pod, named.as_deref())?);
    }
    if args.follow && sources.len() > args.max_log_requests {
        return Err(said(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
            sources.len(),
            args.max_log_requests
        )));
    }
    match sources.as_slice() {
        [one] if one.prefix.is_empty() => copy(&api, &one.path).await,
        many if args.follow => follow_all(&api, many).await,
        many => {
            let mut errors = Vec::new();
            for source in many {
                match one_after_the_other(&api, source).await {
                    Err(error) if args.ignore_errors => errln!("{error}"),
                    outcome => errors.extend(outcome.err()),
                }
            }
            Error::all(errors)
        }
    }
}

/// Prints a container's whole log.
pub async fn print(api: &Api, pod: &Found, container: &str) -> Result {
    let path = with_query(&format!("{}/log", pod.path()), &[("container", container.to_owned())]);
    copy(api, &path).await
}

impl LogsArgs {
    /// The pods, and a container named after the pod.
    async fn pods(&self, api: &Api) -> Result<(Vec<Found>, Option<String>)> {
        if let Some(selector) = &self.selector {
            if !self.words.is_empty() {
                return Err(said("only a selector (-l) or a POD name is allowed"));
            }
            let selection = Selection { selector: Some(selector.clone()), ..Selection::default() };
            let pods = api.find_words(&["pods".to_owned()], &selection).await?;
            if pods.is_empty() {
                errln!("No resources found in {} namespace.", api.namespace);
            }
            return Ok((pods, None));
        }
        let (words, container) = match self.words.as_slice() {
            [] => {
                return Err(said(
                    "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command",
                ));
            }
            [object] => (vec![object.clone()], None),
            [object, container] => (vec![object.clone()], Some(container.clone())),
            _ => return Err(said("expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'")),
        };
        let found = workload::find(api, &words).await?;
        let mut pods = workload::pods(api, &found).await?;
        if pods.is_empty() {
            return Err(said(format!(
                "{} has no pods. `kctl describe {}` may say why",
                found.named(),
                found.named()
            )));
        }
        if pods.len() > 1 && !self.all_pods {
            errln!("Found {} pods, using {}", pods.len(), pods[0].named());
            pods.truncate(1);
        }
        Ok((pods, container))
    }

    fn sources(&self, pod: &Found, named: Option<&str>) -> Result<Vec<Source>> {
        let wanted = self.container.as_deref().or(named);
        let containers = if self.all_containers {
            workload::container_names(&pod.object, true)
        } else {
            let (container, is_a_choice) = workload::container(&pod.object, wanted)?;
            if is_a_choice && self.selector.is_none() {
                let all = workload::container_names(&pod.object, true).join(", ");
                errln!("Defaulted container {container:?} out of: {all}");
            }
            vec![container]
        };
        let source = |container: String| {
            let prefix = if self.prefix {
                format!("[pod/{}/{container}] ", pod.name())
            } else {
                String::new()
            };
            let path = with_query(&format!("{}/log", pod.path()), &self.query(container)?);
            Ok(Source { path, prefix })
        };
        containers.into_iter().map(source).collect()
    }

    fn query(&self, container: String) -> Result<Vec<(&'static str, String)>> {
        let flag = |is_set: bool| if is_set { "true".to_owned() } else { String::new() };
        let default_tail = if self.selector.is_some() { 10 } else { -1 };
        let tail = self.tail.unwrap_or(default_tail);
        let since = self.since.as_deref().map(human::parse_duration).transpose()?;
        let since_time = self.since_time.clone().unwrap_or_default();
        if !since_time.is_empty() && human::parse_time(&since_time).is_none() {
            return Err(said(format!(
                "--since-time {since_time:?} is no RFC 3339 time such as 2026-11-21T07:00:00Z"
            )));
        }
        Ok(vec![
            ("container", container),
            ("follow", flag(self.follow)),
            ("previous", flag(self.previous)),
            ("timestamps", flag(self.timestamps)),
            (
                "sinceSeconds",
                since.map(|since| since.as_secs().max(1).to_string()).unwrap_or_default(),
            ),
            ("sinceTime", since_time),
            ("tailLines", if tail < 0 { String::new() } else { tail.to_string() }),
            ("limitBytes", self.limit_bytes.map(|limit| limit.to_string()).unwrap_or_default()),
        ])
    }
}

/// As it is, byte by byte.
async fn copy(api: &Api, path: &str) -> Result {
    let mut bytes = api.bytes(path).await?;
    while let Some(chunk) = bytes.next().await {
        term::out_bytes(&chunk?);
    }
    Ok(())
}

async fn one_after_the_other(api: &Api, source: &Source) -> Result {
    if source.prefix.is_empty() {
        return copy(api, &source.path).await;
    }
    let mut lines = api.lines(&source.path, "*/*").await?;
    while let Some(line) = lines.next().await {
        term::out(&format!("{}{}\n", source.prefix, line?));
    }
    Ok(())
}

/// Several logs at once, line by line as they come.
async fn follow_all(api: &Api, sources: &[Source]) -> Result {
    let (sender, mut lines) = mpsc::channel(LINES_WAITING_MAX);
    let mut crew = Crew::new();
    for source in sources {
        let (api, path, prefix, sender) =
            (api.clone(), source.path.clone(), source.prefix.clone(), sender.clone());
        crew.spawn(async move {
            if let Err(error) = follow_one(&api, &path, &prefix, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
    }
    drop(sender);
    let mut errors = Vec::new();
    while let Some(line) = lines.recv().await {
        match line {
            Ok(line) => term::out(&line),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)
}

async fn follow_one(
    api: &Api,
    path: &str,
    prefix: &str,
    sender: &mpsc::Sender<Result<String>>,
) -> Result {
    let mut lines = api.lines(path, "*/*").await?;
    while let Some(line) = lines.next().await {
        if sender.send(Ok(format!("{prefix}{}\n", line?))).await.is_err() {
            break;
        }
    }
    Ok(())
}
