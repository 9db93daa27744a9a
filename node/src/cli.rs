//! `knode`'s commands, and what carries each of them out.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use store_env::signal::run_until_signalled;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, RunArgs};
use crate::containerd::Layout;
use crate::network::{self, NetworkCommand};
use crate::stop::{self, StopArgs};
use crate::{app, image};

/// The agent of a node: kubelet, service proxy, DNS and pod network.
#[derive(Debug, Parser)]
#[command(name = "knode", version)]
pub struct Cli {
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

impl Cli {
    /// Moves into the node's network namespace. To be called before any thread is started: threads
    /// inherit it, and so does everything that is started later.
    pub fn enter_netns(&self) -> crate::Result<()> {
        match &self.command {
            Command::Run(args) => args.netns.as_deref().map_or(Ok(()), app::enter_netns),
            Command::StopAll(args) => {
                // Without its namespace there is all the more to clean up.
                let _ = args.netns.as_deref().map(app::enter_netns);
                Ok(())
            }
            Command::Image(_) | Command::Network(_) => Ok(()),
        }
    }

    /// Carries the command out.
    pub async fn carry_out(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(args) => run(Config::load(*args)?).await,
            Command::StopAll(args) => stop::run(args).await,
            Command::Network(command) => network::run(command).await,
            Command::Image(command) => images(command).await,
        }
    }
}

/// Stopping it leaves the pods running.
async fn run(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    run_until_signalled(stop.clone(), app::run(config, stop)).await
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
