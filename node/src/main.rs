//! The `knode` binary: read the flags, run, report.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use node::cli::Cli;
use tracing_subscriber::EnvFilter;

/// Work is waiting for others here; more threads would only cost memory.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("TRIREME_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        // Who reads the log may end: then nothing is to be said of it, which would end this process half.
        .log_internal_errors(false)
        .init();
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    cli.enter_netns()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let result = runtime.block_on(cli.carry_out());
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}
