//! What `kstore` does besides serving: it saves, looks at and restores snapshots, and recovers a lost quorum.

mod recover;
mod restore;
mod save;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use store_handle::Revision;

/// So many revisions are left out when a group begins anew: more than can have been written and lost.
const LEAP: Revision = 1_000_000;

/// The command line of one that does not serve.
#[derive(Clone, Debug, Parser)]
#[command(name = "kstore", version)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Everything that a group holds, as one file.
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Founds a group anew with the data of one survivor, when too few members are left to go on.
    Recover(recover::Recover),
}

#[derive(Clone, Debug, Subcommand)]
enum Snapshot {
    /// Asks a member for a snapshot, checks it, and keeps it in FILE.
    Save(save::Save),
    /// Checks a snapshot, and says what it holds.
    Status(status::Show),
    /// Makes the data directory of a member of a new group that begins with a snapshot. Run it once for each
    /// member, with the same file.
    Restore(restore::Restore),
}

impl Command {
    /// The command that this process was started with, if it is one of these; ends the process if it is
    /// misspelt.
    pub fn from_process() -> Option<Self> {
        let is_one = |word: String| word == "snapshot" || word == "recover";
        std::env::args().nth(1).is_some_and(is_one).then(Self::parse)
    }

    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            Verb::Snapshot(Snapshot::Save(save)) => save.run()?,
            Verb::Snapshot(Snapshot::Status(show)) => show.run()?,
            Verb::Snapshot(Snapshot::Restore(restore)) => restore.run()?,
            Verb::Recover(recover) => return recover.run(),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints for the operator.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(text: &str) {
    println!("{text}");
}
