//! `kchaos mutants`: puts known bugs back, one after the other, and sees that each is found.
//!
//! Every seed has a process of its own: some bugs end it.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::{Context, bail};
use chaos::mutant::{MUTANTS, Mutant};
use parking_lot::Mutex;
use store_env::disk::start_thread;

use super::Pool;

/// What is told of a violation at most.
const TEXT_MAX: usize = 160;

pub(super) fn run(out: &mut impl Write, name: Option<&str>, pool: Pool) -> anyhow::Result<bool> {
    let chosen: Vec<&'static Mutant> =
        MUTANTS.iter().filter(|mutant| name.is_none_or(|name| mutant.name == name)).collect();
    if chosen.is_empty() {
        bail!("there is no such mutant; `kchaos list` names them");
    }
    let waiting = Arc::new(Mutex::new(chosen.clone().into_iter()));
    let (sender, receiver) = mpsc::channel();
    for number in 0..pool.threads().max(1) {
        let (waiting, sender) = (waiting.clone(), sender.clone());
        start_thread(&format!("mutants-{number}"), move || {
            loop {
                let Some(mutant) = waiting.lock().next() else { break };
                if sender.send((mutant, hunt(mutant))).is_err() {
                    break;
                }
            }
        })?;
    }
    drop(sender);
    writeln!(out, "| mutant | scenario | found at seed | by |\n|---|---|---|---|")?;
    let mut missed = Vec::new();
    while let Ok((mutant, found)) = receiver.recv() {
        let Mutant { name, scenario, seeds, .. } = mutant;
        match found? {
            Some((seed, by)) => writeln!(out, "| {name} | {scenario} | {seed} | {by} |")?,
            None => {
                missed.push(*name);
                writeln!(out, "| {name} | {scenario} | NOT FOUND in {seeds} | |")?;
            }
        }
        out.flush()?;
    }
    writeln!(out, "{} of {} mutants found", chosen.len() - missed.len(), chosen.len())?;
    if !missed.is_empty() {
        writeln!(out, "VIOLATION: {missed:?} were not found")?;
    }
    Ok(missed.is_empty())
}

/// The first seed that finds it, and what was found.
fn hunt(mutant: &Mutant) -> anyhow::Result<Option<(u64, String)>> {
    let program = std::env::current_exe()?;
    for seed in 1..=mutant.seeds {
        let output = Command::new(&program)
            .args(["sim", "--jobs", "1", "--scenario", mutant.scenario, "--mutant", mutant.name])
            .args(["--seeds", &seed.to_string(), "--hunt"])
            .env("RUST_BACKTRACE", "0")
            .output()
            .with_context(|| program.display().to_string())?;
        let told = String::from_utf8_lossy(&output.stdout);
        let violations = told.lines().filter_map(|line| line.split_once("VIOLATION "));
        let is_wanted =
            |found: &&str| mutant.by.is_none_or(|by| found.split(':').next() == Some(by));
        let violation = violations.map(|(_, found)| found).find(is_wanted);
        if let Some(found) = violation {
            let text: String = found.chars().take(TEXT_MAX).collect();
            return Ok(Some((seed, text.replace('|', "/"))));
        }
    }
    Ok(None)
}
