//! The verbs of `kchaos`.

mod check;
mod list;
mod mutants;
mod real;
mod seed;
mod sim;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "kchaos", version, about = "Breaks Trireme on purpose, and checks what is left")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Simulate the store: real code, simulated network, disks, clocks and randomness
    Sim(SimArgs),
    /// Put known bugs back, and see that each is found
    Mutants {
        /// Only this one
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        pool: Pool,
    },
    /// Break real processes: members on machines of their own, as root (kchaos-real faults)
    #[command(disable_help_flag = true)]
    Real {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Judge a history from elsewhere: JSON lines, as docs/CHAOS.md describes them
    Check { file: PathBuf },
    /// One seed, in this process: what `sim` runs many of
    #[command(hide = true)]
    Seed(SeedArgs),
    /// List scenarios, faults, workloads and mutants
    List,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// One seed, or a range: 1..301. May be given several times
    #[arg(long, default_value = "1..11", value_parser = seeds)]
    pub(crate) seeds: Vec<Range<u64>>,
    /// Only this scenario; all of them, unless it is given. May be given several times
    #[arg(long)]
    pub(crate) scenario: Vec<String>,
    /// Goes on with further seeds until so many seconds have passed
    #[arg(long)]
    pub(crate) for_seconds: Option<u64>,
    /// Where failing seeds leave trace and history
    #[arg(long, default_value_os_t = std::env::temp_dir().join("kchaos"))]
    pub(crate) out: PathBuf,
    /// Leaves those of every seed
    #[arg(long)]
    pub(crate) keep: bool,
    /// With this bug: one of the mutants
    #[arg(long)]
    pub(crate) mutant: Option<String>,
    /// Only these of its faults happen, by their number; 0: none
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<usize>,
    /// Says what is wrong, and nothing of what was not covered; leaves no files
    #[arg(long, hide = true)]
    pub(crate) hunt: bool,
    /// A line for every seed
    #[arg(long, short)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) pool: Pool,
}

#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    pub(crate) seed: u64,
    #[arg(long)]
    pub(crate) scenario: String,
    #[arg(long)]
    pub(crate) mutant: Option<String>,
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<usize>,
    /// Where to leave trace and history, if anything is wrong
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Leaves them in any case
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Pool {
    /// How many seeds at once; as many as there are cores, unless it is given
    #[arg(long)]
    jobs: Option<usize>,
}

impl Pool {
    fn threads(self) -> usize {
        self.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// The faults that are let happen; all, if none is named.
fn only(numbers: &[usize]) -> Option<BTreeSet<usize>> {
    (!numbers.is_empty()).then(|| numbers.iter().copied().collect())
}

fn seeds(text: &str) -> Result<Range<u64>, std::num::ParseIntError> {
    match text.split_once("..") {
        Some((from, to)) => Ok(from.parse()?..to.parse()?),
        None => {
            let seed = text.parse()?;
            Ok(seed..seed + 1)
        }
    }
}

/// Whether all was well.
pub(crate) fn run(verb: Verb) -> anyhow::Result<bool> {
    let mut out = std::io::stdout();
    match verb {
        Verb::Sim(args) => sim::run(&mut out, &args),
        Verb::Seed(args) => seed::run(&mut out, &args),
        Verb::Mutants { name, pool } => mutants::run(&mut out, name.as_deref(), pool),
        Verb::Real { args } => real::run(&args),
        Verb::Check { file } => check::run(&mut out, &file),
        Verb::List => list::run(&mut out),
    }
}
