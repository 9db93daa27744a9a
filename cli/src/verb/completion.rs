//! `kctl completion`: shell completion, from the tree of commands itself.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::error::Result;
use crate::term;
use crate::tree::Cli;

/// Print shell completion: source <(kctl completion bash)
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// bash, zsh or fish
    shell: Shell,
}

/// Runs it.
pub fn run(args: &CompletionArgs) -> Result {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kctl", &mut out);
    term::out_bytes(&out);
    Ok(())
}
