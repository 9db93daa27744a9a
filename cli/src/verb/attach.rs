//! `kctl attach`, and what `exec`, `run` and `attach` share: the terminal, and waiting for a pod.

use std::cell::Cell;
use std::time::Duration;

use clap::Args;
use nix::sys::termios::{self, SetArg, Termios};
use serde_json::Value;
use store_env::task::Crew;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::api::find::Found;
use crate::api::stream::{Input, STDERR, STDOUT, Size};
use crate::api::{Api, with_query};
use crate::error::{Error, Result, said};
use crate::flags::Global;
use crate::object::{items, text};
use crate::print::human;
use crate::{errln, term, workload};

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Attach to the main process of a container
#[derive(Args, Debug)]
pub struct AttachArgs {
    /// A pod, or TYPE/NAME of a workload
    #[arg(value_name = "POD|TYPE/NAME", required = true)]
    words: Vec<String>,
    /// Which container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Send standard input
    #[arg(short = 'i', long)]
    stdin: bool,
    /// It is a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// How long to wait for the pod to run
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pod_running_timeout: String,
}

/// What is connected to the process.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    pub has_stdin: bool,
    pub is_tty: bool,
}

/// Runs it.
pub async fn run(args: &AttachArgs, flags: &Global) -> Result {
    human::parse_duration(&args.pod_running_timeout)?;
    let api = flags.api()?;
    let pod = workload::pod(&api, &workload::find(&api, &args.words).await?).await?;
    let (container, _) = workload::container(&pod.object, args.container.as_deref())?;
    let terminal = Terminal { has_stdin: args.stdin, is_tty: args.tty };
    attach(&api, &pod, &container, terminal).await.map(drop)
}

/// Attaches until the process has ended. Returns whether it printed anything meanwhile.
pub async fn attach(api: &Api, pod: &Found, container: &str, terminal: Terminal) -> Result<bool> {
    let path = with_query(&format!("{}/attach", pod.path()), &terminal.query(container));
    carry(api, &path, terminal).await
}

impl Terminal {
    /// The query of an exec or attach.
    pub fn query(self, container: &str) -> Vec<(&'static str, String)> {
        let flag = |is_set: bool| if is_set { "true".to_owned() } else { String::new() };
        vec![
            ("container", container.to_owned()),
            ("stdin", flag(self.has_stdin)),
            ("stdout", "true".to_owned()),
            ("stderr", flag(!self.is_tty)),
            ("tty", flag(self.is_tty)),
        ]
    }
}

/// Connects our standard streams with a remote process, in raw mode if it has a terminal. Returns whether
/// the process printed anything.
///
/// # Errors
/// [`Error::Exit`] with the process's own exit code, which has been told then.
pub async fn carry(api: &Api, path: &str, terminal: Terminal) -> Result<bool> {
    let outcome = connect(api, path, terminal).await;
    if let Err(Error::Exit(code)) = &outcome {
        errln!("command terminated with exit code {code}");
    }
    outcome
}

async fn connect(api: &Api, path: &str, terminal: Terminal) -> Result<bool> {
    let has_printed = Cell::new(false);
    let print = |channel: u8, data: &[u8]| {
        has_printed.set(has_printed.get() || !data.is_empty());
        match channel {
            STDOUT => term::out_bytes(data),
            STDERR => term::err_bytes(data),
            _ => {}
        }
    };
    if terminal.has_stdin && !terminal.is_tty {
        api.run_piped(path, Box::pin(tokio::io::stdin()), print).await?;
        return Ok(has_printed.get());
    }
    let socket = api.stream(path).await?;
    let is_raw = terminal.is_tty && terminal.has_stdin && term::stdin_is_tty();
    let _raw = if is_raw { Some(Raw::enter()?) } else { None };
    let (sizes, changes) = mpsc::channel(1);
    let mut crew = Crew::new();
    if terminal.is_tty && term::is_tty() {
        crew.spawn(tell_sizes(sizes));
    } else {
        drop(sizes);
    }
    let input: Option<Input> =
        if terminal.has_stdin { Some(Box::pin(tokio::io::stdin())) } else { None };
    socket.carry(input, changes, print).await?;
    Ok(has_printed.get())
}

/// The terminal's size now, and whenever it changes.
async fn tell_sizes(sizes: mpsc::Sender<Size>) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Some((terminal_size::Width(columns), terminal_size::Height(rows))) =
            terminal_size::terminal_size()
            && sizes.send(Size { columns, rows }).await.is_err()
        {
            return;
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

/// The keyboard without the kernel's editing; as it was before when this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let failed = |error| said(format!("the terminal cannot be set up: {error}"));
        let before = termios::tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Waits until a pod runs or has ended; says why if it cannot.
pub async fn wait_until_started(api: &Api, path: &str) -> Result<Value> {
    let mut told = String::new();
    loop {
        let pod = api.get(path).await?;
        match text(&pod["status"]["phase"]) {
            "Running" if is_started(&pod) => return Ok(pod),
            "Succeeded" | "Failed" => return Ok(pod),
            _ => {}
        }
        let reason = waiting_for(&pod);
        if reason != told && is_trouble(&reason) {
            errln!("waiting: {reason}");
            told = reason;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_started(pod: &Value) -> bool {
    let statuses = items(&pod["status"]["containerStatuses"]);
    !statuses.is_empty() && statuses.iter().all(|one| one["state"].get("waiting").is_none())
}

fn waiting_for(pod: &Value) -> String {
    let statuses = items(&pod["status"]["containerStatuses"]);
    let waiting =
        statuses.iter().map(|one| &one["state"]["waiting"]).find(|waiting| waiting.is_object());
    let Some(waiting) = waiting else { return String::new() };
    let reason = text(&waiting["reason"]);
    match text(&waiting["message"]) {
        "" => reason.to_owned(),
        message => term::safe_line(&format!("{reason}: {message}")),
    }
}

fn is_trouble(reason: &str) -> bool {
    !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
}

/// The exit code of a pod's container, once it has ended, as an error if it is not 0.
pub async fn exit_code(api: &Api, path: &str, container: &str) -> Result {
    loop {
        let Some(pod) = api.get_if_there(path).await? else { return Ok(()) };
        let statuses = items(&pod["status"]["containerStatuses"]);
        let ended = statuses
            .iter()
            .find(|one| one["name"] == container)
            .map(|one| &one["state"]["terminated"]);
        if let Some(code) = ended.and_then(|ended| ended["exitCode"].as_i64()) {
            let code = i32::try_from(code).unwrap_or(1);
            return if code == 0 { Ok(()) } else { Err(Error::Exit(code)) };
        }
        if matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed") {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
