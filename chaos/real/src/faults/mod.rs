//! Real processes under real faults: members of the store, or of etcd, or whole masters, on machines of their own, while
//! clients ask all the time; what they heard is judged by the checks that judge simulations.
//!
//! # Path
//! arguments → `lab/cage.rs` (this program again, in namespaces) → `lab` → `run.rs`: rounds of faults → `judge.rs`

mod client;
mod fault;
mod group;
mod judge;
mod lab;
mod machine;
mod masters;
mod plan;
mod record;
mod run;
mod upstream;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;

use fault::{KINDS, Kind};
use machine::Program;
use upstream::Upstream;

#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// What is drawn follows from it; the time, unless it is given
    #[arg(long)]
    seed: Option<u64>,
    /// How many members: 3 or 5
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=5))]
    members: u8,
    /// Whole masters instead of members of the store, with nodes and clients of Kubernetes
    #[arg(long)]
    masters: bool,
    /// With --masters: nodes with real containers, and an app on them whose requests must not fail
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=4))]
    nodes: u8,
    /// The member's program: kstore, or etcd; with --masters kmaster, beside which kctl lies
    #[arg(long)]
    program: Option<PathBuf>,
    /// With --masters: those of Kubernetes itself; etcd, kube-apiserver, kube-controller-manager and kube-scheduler lie here
    #[arg(long, requires = "masters", conflicts_with_all = ["program", "nodes"])]
    upstream: Option<PathBuf>,
    /// Faults go on for so long
    #[arg(long, default_value_t = 120)]
    for_seconds: u64,
    /// Only these, one after the other: kill-leader,pause-leader
    #[arg(long, value_delimiter = ',', value_parser = kind)]
    faults: Vec<Kind>,
    /// These once, in this order, however long it takes; with a plus at the same time: kill-leader,pause-leader+disk-full
    #[arg(long, value_delimiter = ',', value_parser = step, conflicts_with_all = ["faults", "at_once"])]
    script: Vec<Step>,
    /// So many at a time, that come and go one after the other
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    at_once: u8,
    /// Where a run that failed leaves its history and the members' logs
    #[arg(long, default_value_os_t = std::env::temp_dir().join("kchaos"))]
    out: PathBuf,
    /// Leaves them in any case
    #[arg(long)]
    keep: bool,
    /// Set for itself: the folder of this run, in namespaces of its own
    #[arg(long, hide = true)]
    lab: Option<PathBuf>,
}

impl Args {
    fn program(&self) -> anyhow::Result<Program> {
        if let Some(programs) = &self.upstream {
            let papers = self.lab.clone().unwrap_or_default().join("papers");
            return Ok(Program::Upstream(Upstream::of(programs, papers)?));
        }
        let usual = beside(if self.masters { "kmaster" } else { "kstore" });
        let given = self.program.as_ref().unwrap_or(&usual);
        let there = |program: &Path| {
            let found = program.canonicalize();
            found.with_context(|| format!("{}: no such program", program.display()))
        };
        let program = there(given)?;
        Ok(match self.masters {
            true => {
                Program::Master { kctl: there(&given.with_file_name("kctl"))?, kmaster: program }
            }
            false => Program::Store(program),
        })
    }
}

/// A program that lies where this one does.
fn beside(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.parent().map_or_else(|| name.into(), |folder| folder.join(name))
}

fn kind(name: &str) -> Result<Kind, String> {
    let known = || KINDS.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
    let found = KINDS.iter().find(|kind| kind.name == name);
    found.copied().ok_or_else(|| format!("no such fault; there are: {}", known()))
}

/// Faults that come at the same time.
#[derive(Clone, Debug)]
struct Step(Vec<Kind>);

fn step(names: &str) -> Result<Step, String> {
    let kinds = names.split('+').map(kind).collect::<Result<Vec<_>, _>>()?;
    match kinds.iter().find(|kind| kinds.len() > 1 && (kind.make)().is_alone()) {
        Some(kind) => Err(format!("{} comes alone: others may need what it takes", kind.name)),
        None => Ok(Step(kinds)),
    }
}

/// Runs it; fails if anything is wrong.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Some(lab) = args.lab.clone() else {
        args.program()?;
        let status = lab::cage::run_inside().await?;
        match status.success() {
            true => return Ok(()),
            false => bail!("see above ({status})"),
        }
    };
    run::run(&args, &lab).await
}
