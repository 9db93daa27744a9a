//! `kchaos sim`: scenarios over seeds.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use chaos::mutant::Mutant;
use chaos::runner::{self, Sum, Task};
use chaos::scenario::{self, Scenario};
use chaos::sim::Report;
use store_env::clock::{SharedClock, SystemClock};

use super::SimArgs;

pub(super) fn run(out: &mut impl Write, args: &SimArgs) -> anyhow::Result<bool> {
    let scenarios = match args.scenario.as_slice() {
        [] => scenario::all()?,
        names => names.iter().map(|name| scenario::find(name)).collect::<anyhow::Result<_>>()?,
    };
    let scenarios: Vec<Arc<Scenario>> = scenarios.into_iter().map(Arc::new).collect();
    let mutant = args.mutant.as_deref().map(super::seed::mutant).transpose()?;
    let tasks = Tasks {
        clock: SystemClock::shared(),
        for_ms: args.for_seconds.map(|seconds| seconds * 1_000),
        seeds: args.seeds.clone().into_iter().flatten().collect(),
        scenarios: scenarios.clone(),
        mutant,
        is_shared: args.scenario.is_empty(),
        next: 0,
    };
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut also = Vec::new();
    if !args.hunt {
        also.extend(["--out".to_owned(), args.out.display().to_string()]);
    }
    if args.keep {
        also.push("--keep".to_owned());
    }
    runner::run(tasks, args.pool.threads(), &also, |task, report| {
        sums.entry(task.scenario.name.clone()).or_default().add(&report);
        tell(out, args, task, &report)
    })?;
    summary(out, &scenarios, &sums)
}

/// Every scenario with every seed; and then with further ones, while there is time.
struct Tasks {
    clock: SharedClock,
    for_ms: Option<u64>,
    seeds: Vec<u64>,
    scenarios: Vec<Arc<Scenario>>,
    mutant: Option<&'static Mutant>,
    /// Whether scenarios that take long sit rounds out.
    is_shared: bool,
    next: usize,
}

impl Iterator for Tasks {
    type Item = Task;

    fn next(&mut self) -> Option<Task> {
        loop {
            let (round, task) = self.following()?;
            if !self.is_shared || round.is_multiple_of(task.scenario.share) {
                return Some(task);
            }
        }
    }
}

impl Tasks {
    /// The next task, and how many its scenario had before it.
    fn following(&mut self) -> Option<(usize, Task)> {
        let (at, round) = (self.next % self.scenarios.len(), self.next / self.scenarios.len());
        let seed = match (self.seeds.get(round), self.for_ms) {
            (Some(_), Some(for_ms)) | (None, Some(for_ms))
                if self.clock.monotonic_ms() >= for_ms =>
            {
                return None;
            }
            (Some(seed), _) => *seed,
            (None, Some(_)) => self.seeds.last()? + 1 + (round - self.seeds.len()) as u64,
            (None, None) => return None,
        };
        self.next += 1;
        let scenario = self.scenarios[at].clone();
        Some((round, Task { scenario, seed, mutant: self.mutant }))
    }
}

fn tell(out: &mut impl Write, args: &SimArgs, task: &Task, report: &Report) -> io::Result<()> {
    let (name, seed) = (&task.scenario.name, report.seed);
    if args.verbose {
        let faults: usize = report.faults.values().sum();
        writeln!(
            out,
            "{name} {seed}: {} leader changes, {} writes and {} reads acknowledged, {} unknown, {faults} faults, {:?}, trace {:016x}",
            report.leader_changes,
            report.acknowledged,
            report.reads,
            report.unknowns,
            report.counts,
            report.trace_hash,
        )?;
    }
    let is_bad = !report.violations.is_empty();
    for violation in &report.violations {
        writeln!(out, "{name} {seed}: VIOLATION {violation}")?;
    }
    if is_bad && !args.hunt {
        let mutant = args.mutant.as_ref().map(|name| format!(" --mutant {name}"));
        let mutant = mutant.unwrap_or_default();
        writeln!(out, "  again: kchaos sim --scenario {name} --seeds {seed}{mutant} --verbose")?;
        let left = args.out.join(format!("{name}-{seed}"));
        writeln!(out, "  what happened: {0}.trace, {0}.history", left.display())?;
    }
    out.flush()
}

fn hours(simulated: Duration) -> f64 {
    simulated.as_secs_f64() / 3_600.0
}

fn summary(
    out: &mut impl Write,
    scenarios: &[Arc<Scenario>],
    sums: &BTreeMap<String, Sum>,
) -> anyhow::Result<bool> {
    let mut total = Sum::default();
    let mut is_good = true;
    writeln!(
        out,
        "\n| scenario | seeds | simulated hours | leader changes | writes | reads | faults |\n|---|---|---|---|---|---|---|"
    )?;
    for (name, sum) in sums {
        total.add_all(sum);
        row(out, name, sum)?;
    }
    row(out, "all", &total)?;
    let faults = total.faults.iter().map(|(kind, count)| format!("{kind} {count}"));
    writeln!(out, "\nfaults: {}", faults.collect::<Vec<_>>().join(", "))?;
    let counts = total.counts.iter().map(|(what, count)| format!("{what} {count}"));
    writeln!(out, "seen: {}", counts.collect::<Vec<_>>().join(", "))?;
    for scenario in scenarios {
        let Some(sum) = sums.get(&scenario.name) else { continue };
        for missing in sum.missing(scenario) {
            is_good = false;
            writeln!(out, "{}: VIOLATION {missing}", scenario.name)?;
        }
        if !sum.bad.is_empty() {
            is_good = false;
            writeln!(out, "{}: VIOLATIONS in seeds {:?}", scenario.name, sum.bad)?;
        }
    }
    if is_good {
        writeln!(out, "no violation in {} seeds", total.seeds)?;
    }
    Ok(is_good && total.seeds > 0)
}

fn row(out: &mut impl Write, name: &str, sum: &Sum) -> io::Result<()> {
    let faults: usize = sum.faults.values().sum();
    let Sum { seeds, simulated, leader_changes, acknowledged, reads, .. } = sum;
    let hours = hours(*simulated);
    writeln!(
        out,
        "| {name} | {seeds} | {hours:.2} | {leader_changes} | {acknowledged} | {reads} | {faults} |"
    )
}
