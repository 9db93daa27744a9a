//! `kctl exec`: a command in a container; its exit code is ours.

use clap::Args;

use crate::api::with_query;
use crate::error::{Result, said};
use crate::flags::Global;
use crate::object::text;
use crate::verb::attach::{self, Terminal};
use crate::{errln, term, workload};

/// Execute a command in a container
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl exec web -- date
  kctl exec -it web -c main -- sh
  kctl exec deployment/web -- cat /etc/hosts")]
pub struct ExecArgs {
    /// A pod, or TYPE/NAME of a workload
    #[arg(value_name = "POD|TYPE/NAME", required = true)]
    words: Vec<String>,
    /// Which container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Send standard input
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give it a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Say nothing but what the command says
    #[arg(short, long)]
    quiet: bool,
    /// The command
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs it.
pub async fn run(args: &ExecArgs, flags: &Global) -> Result {
    if args.command.is_empty() {
        return Err(said(
            "you must specify at least one command for the container: kctl exec POD -- COMMAND",
        ));
    }
    let api = flags.api()?;
    let pod = workload::pod(&api, &workload::find(&api, &args.words).await?).await?;
    let phase = text(&pod.object["status"]["phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(said(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let (container, is_a_choice) = workload::container(&pod.object, args.container.as_deref())?;
    if is_a_choice && !args.quiet {
        let all = workload::container_names(&pod.object, false).join(", ");
        errln!("Defaulted container {container:?} out of: {all}");
    }
    let mut is_tty = args.tty;
    if is_tty && args.stdin && !term::stdin_is_tty() {
        errln!("Unable to use a TTY - input is not a terminal or the right kind of file");
        is_tty = false;
    }
    let terminal = Terminal { has_stdin: args.stdin, is_tty };
    let mut query = terminal.query(&container);
    query.extend(args.command.iter().map(|word| ("command", word.clone())));
    let path = with_query(&format!("{}/exec", pod.path()), &query);
    attach::carry(&api, &path, terminal).await.map(drop)
}
