//! `kchaos-real`: real processes under real faults: plays the walkthrough, kills leaders under load.

#![expect(clippy::print_stdout, reason = "reports are what this program prints")]

mod bench;
mod caller;
mod cluster;
mod failover;
mod faults;
mod load;
mod play;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the commands of a document and compare what they print with what it says.
    Play {
        /// Markdown with `console` blocks.
        file: PathBuf,
    },
    /// Kill the leading master again and again under load, and report what clients saw.
    Failover(failover::Args),
    /// Members of the store on machines of their own: kill, pause, cut and spoil them, and judge what clients saw.
    Faults(faults::Args),
    /// Put the same load on any Kubernetes API, and print a line of figures for each row.
    BenchApi(bench::Args),
    /// In a pod: ask the API for ever, and print when each answer came and the gap before it.
    Call,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match Cli::parse().command {
                Command::Play { file } => play::run(&file).await,
                Command::Failover(args) => failover::run(args).await,
                Command::Faults(args) => faults::run(args).await,
                Command::BenchApi(args) => bench::run(args).await,
                Command::Call => caller::call().await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
