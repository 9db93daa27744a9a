//! `kchaos seed`: plays one seed, and reports in one line of JSON.

use std::io::Write;

use anyhow::Context;
use chaos::mutant::{MUTANTS, Mutant};
use chaos::{runner, scenario, sim};

use super::SeedArgs;

pub(super) fn run(out: &mut impl Write, args: &SeedArgs) -> anyhow::Result<bool> {
    let mut scenario = scenario::find(&args.scenario)?;
    scenario.only = super::only(&args.only);
    let mutant = args.mutant.as_deref().map(mutant).transpose()?;
    let mut played = sim::run(args.seed, &scenario, mutant.map(|mutant| mutant.mutation));
    if mutant.is_none() && scenario.only.is_none() {
        let missing = runner::missing(&played.report, &scenario);
        played.report.violations.extend(missing);
    }
    if let Some(folder) = &args.out
        && (args.keep || !played.report.violations.is_empty())
    {
        runner::leave(&played, &scenario.name, folder)?;
    }
    serde_json::to_writer(&mut *out, &played.report)?;
    writeln!(out)?;
    Ok(true)
}

/// The mutant of this name.
pub(super) fn mutant(name: &str) -> anyhow::Result<&'static Mutant> {
    let mutant = MUTANTS.iter().find(|mutant| mutant.name == name);
    mutant.with_context(|| format!("there is no mutant `{name}`; see `kchaos list`"))
}
