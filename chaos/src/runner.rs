//! Many seeds: on every core, each in a process of its own, and what they showed together.
//!
//! tokio numbers tasks over a whole process, and ends them in an order that follows from their numbers: only a
//! fresh process plays a seed exactly as it was. It also outlives any panic.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use store_env::disk::start_thread;

use crate::lines;
use crate::mutant::Mutant;
use crate::scenario::Scenario;
use crate::sim::{Played, Report};

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Task {
    pub scenario: Arc<Scenario>,
    pub seed: u64,
    pub mutant: Option<&'static Mutant>,
}

/// Runs tasks until there are none; `see` hears of each in the order of the tasks. Each is given `also` as arguments.
pub fn run(
    tasks: impl Iterator<Item = Task> + Send + 'static,
    threads: usize,
    also: &[String],
    mut see: impl FnMut(&Task, Report) -> io::Result<()>,
) -> io::Result<()> {
    let tasks = Arc::new(Mutex::new(tasks.enumerate()));
    let (sender, receiver) = mpsc::channel();
    for number in 0..threads.max(1) {
        let (tasks, sender, also) = (tasks.clone(), sender.clone(), also.to_vec());
        start_thread(&format!("sim-{number}"), move || {
            loop {
                let Some((at, task)) = tasks.lock().next() else {
                    break;
                };
                let report = play(&task, &also);
                if sender.send((at, task, report)).is_err() {
                    break;
                }
            }
        })?;
    }
    drop(sender);
    let (mut next, mut early) = (0, BTreeMap::new());
    while let Ok((at, task, report)) = receiver.recv() {
        early.insert(at, (task, report?));
        while let Some((task, report)) = early.remove(&next) {
            next += 1;
            see(&task, report)?;
        }
    }
    Ok(())
}

/// Runs one task in a process of its own, whose last line is its report. One that ends without is a violation.
pub fn play(task: &Task, also: &[String]) -> io::Result<Report> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["seed", &task.seed.to_string(), "--scenario", &task.scenario.name]).args(also);
    if let Some(only) = &task.scenario.only {
        command.args(["--only", &numbers(only)]);
    }
    if let Some(mutant) = task.mutant {
        command.args(["--mutant", mutant.name]).env("RUST_BACKTRACE", "0");
    }
    let output = command.output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    if let Some(report) = told.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        return Ok(report);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let first = words.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    let panic = first.map_or_else(|| words.trim().to_owned(), str::to_owned);
    let violations = vec![format!("panic: {panic} ({})", output.status)];
    Ok(Report { seed: task.seed, violations, ..Report::default() })
}

/// Faults as arguments name them. There is no fault 0: alone, it means none.
pub fn numbers(only: &BTreeSet<usize>) -> String {
    let numbers: Vec<String> = only.iter().map(usize::to_string).collect();
    if numbers.is_empty() { "0".into() } else { numbers.join(",") }
}

/// What the seeds of one scenario showed.
#[derive(Debug, Default)]
pub struct Sum {
    pub seeds: usize,
    pub bad: Vec<u64>,
    pub simulated: Duration,
    pub leader_changes: usize,
    pub acknowledged: usize,
    pub reads: usize,
    pub faults: BTreeMap<String, usize>,
    pub counts: BTreeMap<String, usize>,
}

impl Sum {
    /// Adds one seed.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.simulated += report.simulated;
        self.leader_changes += report.leader_changes;
        self.acknowledged += report.acknowledged;
        self.reads += report.reads;
        merge(&mut self.faults, &report.faults);
        merge(&mut self.counts, &report.counts);
        if !report.violations.is_empty() {
            self.bad.push(report.seed);
        }
    }

    /// Adds another scenario's.
    pub fn add_all(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.simulated += other.simulated;
        self.leader_changes += other.leader_changes;
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
        merge(&mut self.faults, &other.faults);
        merge(&mut self.counts, &other.counts);
        self.bad.extend(&other.bad);
    }

    /// What the seeds together should have shown and did not.
    pub fn missing(&self, scenario: &Scenario) -> Vec<String> {
        if self.seeds < 20 {
            return Vec::new();
        }
        let wanted = &scenario.minimum.in_twenty_seeds;
        let short = wanted.iter().filter_map(|(what, least)| {
            let had = had(&self.faults, &self.counts, what);
            (had * 20 < *least * self.seeds).then(|| {
                format!(
                    "coverage: {had} of {what} in {} seeds; {least} in 20 are wanted",
                    self.seeds
                )
            })
        });
        short.collect()
    }
}

fn merge(into: &mut BTreeMap<String, usize>, from: &BTreeMap<String, usize>) {
    for (what, count) in from {
        *into.entry(what.clone()).or_default() += count;
    }
}

fn had(faults: &BTreeMap<String, usize>, counts: &BTreeMap<String, usize>, what: &str) -> usize {
    faults.get(what).or_else(|| counts.get(what)).copied().unwrap_or(0)
}

/// What this seed should have shown and did not: then it does not count.
pub fn missing(report: &Report, scenario: &Scenario) -> Vec<String> {
    let minimum = &scenario.minimum;
    let faults = report.faults.values().sum();
    let mut wanted = vec![
        ("leader changes", report.leader_changes, minimum.leader_changes),
        ("acknowledged writes", report.acknowledged, minimum.acknowledged),
        ("reads", report.reads, minimum.reads),
        ("faults", faults, minimum.faults),
    ];
    for (what, least) in &minimum.seen {
        wanted.push((what, had(&report.faults, &report.counts, what), *least));
    }
    let short = wanted.into_iter().filter(|(_, had, least)| had < least);
    short.map(|(what, had, least)| format!("coverage: {had} {what}, {least} are wanted")).collect()
}

/// Leaves what a seed did in a folder; returns where.
pub fn leave(played: &Played, scenario: &str, folder: &Path) -> io::Result<(PathBuf, PathBuf)> {
    std::fs::create_dir_all(folder)?;
    let seed = played.report.seed;
    let trace = folder.join(format!("{scenario}-{seed}.trace"));
    std::fs::write(&trace, played.trace.join("\n"))?;
    let history = folder.join(format!("{scenario}-{seed}.history"));
    let mut file = io::BufWriter::new(std::fs::File::create(&history)?);
    lines::write(&played.history, &mut file)?;
    file.flush()?;
    Ok((trace, history))
}
