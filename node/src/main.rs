//! The `knode` binary: read the flags, run, report.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use node::config::{Config, RunArgs};
use node::containerd::Layout;
use node::network::NetworkCommand;
use node::stop::StopArgs;
use node::{app, image, network, stop};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The agent of a node: kubelet, service proxy, DNS and pod network.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run this node
    Run(Box<RunArgs>),
    /// Stop what outlives the agent: pods, containerd, mounts, cgroups, rules
    StopAll(StopArgs),
    /// Build, load, list and save images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make or remove the network of a cluster on one machine
    #[command(subcommand)]
    Network(NetworkCommand),
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Build the images of the walkthrough from the machine's busybox
    BuildDemo {
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Load archives into a node
    Load {
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        archives: Vec<PathBuf>,
    },
    /// Names of a node's images
    List {
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Write images of a node to an archive
    Save {
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        images: Vec<String>,
    },
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("TRIREME_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    match start(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> anyhow::Result<()> {
    let netns = match &command {
        Command::Run(args) => args.netns.clone(),
        Command::StopAll(args) => args.netns.clone(),
        Command::Image(_) | Command::Network(_) => None,
    };
    // Threads inherit the namespace, and so does everything that is started later.
    if let Some(netns) = netns {
        let entered = app::enter_netns(&netns);
        if matches!(command, Command::Run(_)) {
            entered?;
        }
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(carry_out(command));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

async fn carry_out(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => run(Config::load(*args)?).await,
        Command::StopAll(args) => stop::run(args).await,
        Command::Network(command) => network::run(command).await,
        Command::Image(command) => images(command).await,
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = app::run(config, stop.clone());
    tokio::pin!(app);
    tokio::select! {
        biased;
        ended = &mut app => return ended,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; the pods go on");
    stop.cancel();
    app.await
}

#[expect(clippy::print_stdout, reason = "what these commands are for")]
async fn images(command: ImageCommand) -> anyhow::Result<()> {
    let socket = |data_dir: &PathBuf| Layout::under(data_dir, "").socket();
    match command {
        ImageCommand::BuildDemo { out } => {
            image::build_demo(&out)?;
            for (file, names) in image::DEMO_IMAGES {
                println!("{} {}", out.join(file).display(), names.join(" "));
            }
        }
        ImageCommand::Load { data_dir, archives } => {
            for archive in archives {
                print!("{}", image::load(&socket(&data_dir), &archive).await?);
            }
        }
        ImageCommand::List { data_dir } => print!("{}", image::list(&socket(&data_dir)).await?),
        ImageCommand::Save { data_dir, output, images } => {
            image::save(&socket(&data_dir), &output, &images).await?;
        }
    }
    Ok(())
}
