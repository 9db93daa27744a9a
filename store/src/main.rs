//! The `kstore` binary: read flags and variables, run, report; or do what its first word says.

use std::process::ExitCode;

use store::command::Command;
use store::{app, config};
use store_env::signal::run_until_signalled;
use tokio_util::sync::CancellationToken;

/// A sixth of a put's time was the C library's `malloc` (docs/decisions/0014-mimalloc.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(command) = Command::from_process() {
        return command.run().unwrap_or_else(|error| {
            complain(&error);
            ExitCode::FAILURE
        });
    }
    let flags = config::Flags::parse_from_process();
    store::log::start(&flags);
    for name in config::Flags::unknown_variables() {
        tracing::warn!(
            "unrecognized environment variable {name}: kstore --help says which there are"
        );
    }
    match config::Config::check(flags).map_err(Into::into).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the answer of a command")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

fn run(config: config::Config) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        run_until_signalled(stop.clone(), app::run(config, stop)).await
    })
}

/// For clients only: the store has its own. On few cores, threads that wake each other cost more than they bring.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match cores {
        ..=2 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    }
}
