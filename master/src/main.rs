//! The `kmaster` binary: read the configuration, run, report.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use master::{app, config::Config};
use store_env::signal::run_until_signalled;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// A master: API server, controllers and scheduler, on a Raft store of its own.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run this master; `kctl cluster init|join` has written its configuration.
    Run {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// See docs/decisions/0014-mimalloc.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Command::Run { config } = Cli::parse().command;
    let filter = EnvFilter::try_from_env("TRIREME_LOG").unwrap_or_else(|_| "info".into());
    // Who reads the log may end: then nothing is to be said of it, which would end this process half.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    log.log_internal_errors(false).init();
    match Config::load(&config).map_err(Into::into).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        run_until_signalled(stop.clone(), app::run(config, stop)).await
    })
}
