//! From the command line to an exit code.

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::errln;
use crate::error::Error;
use crate::tree::Cli;

/// Runs `kctl` and gives its exit code.
pub fn main() -> i32 {
    let cli = Cli::parse();
    init_log(cli.global.verbosity);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            errln!("error: the async runtime did not start: {error}");
            return 1;
        }
    };
    let outcome = runtime.block_on(cli.run());
    // A read of the keyboard may hang in a thread of its own: do not wait for it.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            let code = error.exit_code();
            match &error {
                Error::Exit(_) => {}
                error => errln!("{error}"),
            }
            code
        }
    }
}

fn init_log(verbosity: u8) {
    let level = match verbosity {
        0 => "off",
        1..=3 => "warn",
        4..=5 => "info",
        6..=8 => "cli=debug,master_client=debug",
        _ => "trace",
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level));
    let _ = subscriber.with_writer(std::io::stderr).with_target(false).try_init();
}
