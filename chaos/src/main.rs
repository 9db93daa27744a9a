//! `kchaos`: runs simulations over many seeds, and says what they covered and what they found.

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use chaos::scenario::{self, SCENARIOS, Scenario};
use chaos::sim::{self, Report};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "kchaos", version, about = "Breaks Trireme on purpose, and checks what is left")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Simulate the store: real code, simulated network, disks, clock and randomness
    Sim {
        /// One seed, or a range: 1..301
        #[arg(long, default_value = "1..11", value_parser = seeds)]
        seeds: Range<u64>,
        /// Simulated seconds of each seed, before it settles
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Which clients and faults
        #[arg(long, default_value = "mixed")]
        scenario: String,
        /// Write each seed's trace into this folder
        #[arg(long)]
        traces: Option<PathBuf>,
    },
    /// List the scenarios
    Scenarios,
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

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "kchaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match verb {
        Verb::Scenarios => {
            for scenario in SCENARIOS {
                writeln!(out, "{}", scenario.name)?;
            }
            Ok(true)
        }
        Verb::Sim { seeds, seconds, scenario, traces } => {
            let Some(scenario) = scenario::find(&scenario) else {
                bail!("there is no scenario `{scenario}`; `kchaos scenarios` lists them");
            };
            simulate(&mut out, seeds, seconds, scenario, traces)
        }
    }
}

/// Whether all seeds were good: no violation, and each showed what it is for.
fn simulate(
    out: &mut impl Write,
    seeds: Range<u64>,
    seconds: u64,
    scenario: &Scenario,
    traces: Option<PathBuf>,
) -> anyhow::Result<bool> {
    let mut bad = Vec::new();
    let mut reports = Vec::new();
    for seed in seeds {
        let mut report = sim::run(seed, seconds, scenario);
        if report.leader_changes == 0 || report.acked_writes < 100 {
            report.violations.push("coverage: no change of leader, or too few writes".into());
        }
        line(out, &report)?;
        if let Some(folder) = &traces {
            std::fs::create_dir_all(folder)?;
            let path = folder.join(format!("{seed}.trace"));
            let text = report.trace.join("\n");
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        if !report.violations.is_empty() {
            bad.push(seed);
        }
        report.trace = Vec::new();
        reports.push(report);
    }
    summary(out, &reports, &bad, scenario, seconds)?;
    Ok(bad.is_empty() && !reports.is_empty())
}

fn line(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    writeln!(
        out,
        "seed {:>5}: {} leader changes, {} writes and {} reads acknowledged, {} fenced, {} unknown, {} faults, trace {:016x}",
        report.seed,
        report.leader_changes,
        report.acked_writes,
        report.reads,
        report.fenced_acked,
        report.unknowns,
        report.faults.len(),
        report.trace_hash(),
    )?;
    for violation in &report.violations {
        writeln!(out, "seed {:>5}: VIOLATION {violation}", report.seed)?;
    }
    Ok(())
}

fn summary(
    out: &mut impl Write,
    reports: &[Report],
    bad: &[u64],
    scenario: &Scenario,
    seconds: u64,
) -> std::io::Result<()> {
    let sum = |part: fn(&Report) -> usize| reports.iter().map(part).sum::<usize>();
    let least = |part: fn(&Report) -> usize| reports.iter().map(part).min().unwrap_or(0);
    writeln!(
        out,
        "{} seeds of `{}`, {seconds} s each: {} leader changes (at least {} a seed), {} acknowledged writes (at least {}), {} reads, {} unknown",
        reports.len(),
        scenario.name,
        sum(|report| report.leader_changes),
        least(|report| report.leader_changes),
        sum(|report| report.acked_writes),
        least(|report| report.acked_writes),
        sum(|report| report.reads),
        sum(|report| report.unknowns),
    )?;
    match bad {
        [] => writeln!(out, "no violation"),
        bad => writeln!(
            out,
            "VIOLATIONS in seeds {bad:?}; to see one again: kchaos sim --scenario {} --seconds {seconds} --seeds {} --traces /tmp/traces",
            scenario.name, bad[0],
        ),
    }
}
