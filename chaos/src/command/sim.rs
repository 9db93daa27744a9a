//! `kchaos sim`: scenarios over seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use chaos::mutant::Mutant;
use chaos::runner::{self, Sum, Task};
use chaos::scenario::{self, Scenario};
use chaos::shrink;
use chaos::sim::Report;
use store_env::clock::{SharedClock, SystemClock};

use super::SimArgs;

pub(super) fn run(out: &mut impl Write, args: &SimArgs) -> anyhow::Result<bool> {
    let scenarios: Vec<Scenario> = match args.scenario.as_slice() {
        [] => scenario::all()?,
        names => names.iter().map(|name| scenario::find(name)).collect::<anyhow::Result<_>>()?,
    };
    let only = super::only(&args.only);
    let scenarios: Vec<Arc<Scenario>> =
        scenarios.into_iter().map(|it| Arc::new(Scenario { only: only.clone(), ..it })).collect();
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
    let once_failed = if args.scenario.is_empty() {
        regressions(&scenarios, &tasks.seeds, mutant)
    } else {
        Vec::new()
    };
    let tasks = once_failed.into_iter().chain(tasks);
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut also = Vec::new();
    if !args.hunt {
        also.extend(["--out".to_owned(), args.out.display().to_string()]);
    }
    if args.keep {
        also.push("--keep".to_owned());
    }
    runner::run(tasks, args.pool.threads(), &also, |task, report| {
        let sum = sums.entry(task.scenario.name.clone()).or_default();
        sum.add(&report);
        tell(out, args, task, &report)?;
        // One of each scenario: others are likely to fail for the same reason.
        let is_first = sum.bad.len() == 1 && !report.violations.is_empty();
        if is_first && !args.hunt && only.is_none() { shrink(out, task, &report) } else { Ok(()) }
    })?;
    summary(out, &scenarios, &sums)
}

/// Seeds that once failed.
fn regressions(
    scenarios: &[Arc<Scenario>],
    seeds: &[u64],
    mutant: Option<&'static Mutant>,
) -> Vec<Task> {
    let of = |scenario: &Arc<Scenario>| {
        // They are played anyway.
        let is_played = |seed: &&u64| scenario.share == 1 && seeds.contains(seed);
        let task = |seed: &u64| Task { scenario: scenario.clone(), seed: *seed, mutant };
        scenario.regressions.iter().filter(|seed| !is_played(seed)).map(task).collect::<Vec<_>>()
    };
    scenarios.iter().flat_map(of).collect()
}

/// The command that plays it again, with these of its faults only.
fn again(task: &Task, only: Option<&BTreeSet<usize>>) -> String {
    let mut command = format!("kchaos sim --scenario {} --seeds {}", task.scenario.name, task.seed);
    if let Some(mutant) = task.mutant {
        command += &format!(" --mutant {}", mutant.name);
    }
    if let Some(only) = only {
        command += &format!(" --only {}", runner::numbers(only));
    }
    command + " --verbose"
}

/// Looks how few faults are enough, and says so.
fn shrink(out: &mut impl Write, task: &Task, report: &Report) -> io::Result<()> {
    let check = |violation: &String| violation.split(':').next().unwrap_or_default().to_owned();
    let mut wrong: BTreeSet<String> = report.violations.iter().map(check).collect();
    // With fewer faults a seed shows less, of course.
    wrong.remove("coverage");
    // A process that ended without a report told of no faults.
    let total = report.faults.values().sum();
    if wrong.is_empty() || total == 0 {
        return Ok(());
    }
    let enough = shrink::search(total, |only| {
        let scenario = Arc::new(Scenario { only: Some(only.clone()), ..(*task.scenario).clone() });
        let report = runner::play(&Task { scenario, ..task.clone() }, &[])?;
        Ok(report.violations.iter().any(|violation| wrong.contains(&check(violation))))
    })?;
    match enough {
        None => writeln!(out, "  shrunk: none of its {total} faults can be left out")?,
        Some(enough) => {
            let (count, again) = (enough.len(), again(task, Some(&enough)));
            writeln!(out, "  shrunk: {count} of its {total} faults are enough: {again}")?;
        }
    }
    out.flush()
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
        writeln!(out, "  again: {}", again(task, task.scenario.only.as_ref()))?;
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
