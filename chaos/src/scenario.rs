//! Scenarios, as data: which clients run, what goes wrong, and what a seed must have shown to count.
//!
//! Each is a file in `chaos/scenario`, whose title reads as a promise, and one line here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::check;
use crate::fault::{self, Kind};
use crate::kube::workload as kube;
use crate::workload::{self, Workload};

/// Every scenario by name.
const FILES: &[(&str, &str)] = &[
    ("bad-disks", include_str!("../scenario/bad-disks.toml")),
    ("clocks", include_str!("../scenario/clocks.toml")),
    ("compaction", include_str!("../scenario/compaction.toml")),
    ("crashes", include_str!("../scenario/crashes.toml")),
    ("elections", include_str!("../scenario/elections.toml")),
    ("five-members", include_str!("../scenario/five-members.toml")),
    ("kube-clocks", include_str!("../scenario/kube-clocks.toml")),
    ("kube-disks", include_str!("../scenario/kube-disks.toml")),
    ("kube-five-masters", include_str!("../scenario/kube-five-masters.toml")),
    ("kube-late-leaders", include_str!("../scenario/kube-late-leaders.toml")),
    ("kube-links", include_str!("../scenario/kube-links.toml")),
    ("kube-masters", include_str!("../scenario/kube-masters.toml")),
    ("kube-members", include_str!("../scenario/kube-members.toml")),
    ("kube-namespaces", include_str!("../scenario/kube-namespaces.toml")),
    ("kube-no-masters", include_str!("../scenario/kube-no-masters.toml")),
    ("kube-nodes", include_str!("../scenario/kube-nodes.toml")),
    ("kube-races", include_str!("../scenario/kube-races.toml")),
    ("leases", include_str!("../scenario/leases.toml")),
    ("membership", include_str!("../scenario/membership.toml")),
    ("mixed", include_str!("../scenario/mixed.toml")),
    ("network", include_str!("../scenario/network.toml")),
    ("partitions", include_str!("../scenario/partitions.toml")),
    ("pauses", include_str!("../scenario/pauses.toml")),
    ("quorum-away", include_str!("../scenario/quorum-away.toml")),
    ("recover", include_str!("../scenario/recover.toml")),
    ("removed-member", include_str!("../scenario/removed-member.toml")),
    ("slow-disks", include_str!("../scenario/slow-disks.toml")),
    ("snapshots", include_str!("../scenario/snapshots.toml")),
    ("upgrade", include_str!("../scenario/upgrade.toml")),
    ("watches", include_str!("../scenario/watches.toml")),
];

/// A fault at a given time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    pub at_ms: u64,
    pub for_ms: u64,
    pub fault: String,
}

/// What a seed must have shown; else it does not count, and that is a failure.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Minimum {
    pub leader_changes: usize,
    pub acknowledged: usize,
    pub reads: usize,
    pub faults: usize,
    /// What must have happened, and how often, in one seed.
    pub seen: BTreeMap<String, usize>,
    /// The same, in all seeds of a run together, if they are 20 or more.
    pub in_twenty_seeds: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    #[serde(default = "three")]
    members: u64,
    #[serde(default = "ten")]
    seconds: u64,
    /// Entries after which the state is flushed, and entries that are kept for members that lag.
    #[serde(default = "often")]
    snapshot_entries: (u64, u64),
    /// Of Kubernetes; none: only the store is simulated.
    #[serde(default)]
    nodes: u64,
    /// A master hears up to so much later that it leads no more: only the fence stops its controllers.
    #[serde(default)]
    late_ms: u64,
    workloads: Vec<String>,
    /// One of these comes first, and lasts at least three seconds.
    #[serde(default)]
    first: Vec<String>,
    /// Any of these follow.
    #[serde(default)]
    then: Vec<String>,
    /// How many of them at once.
    #[serde(default = "one")]
    at_once: usize,
    #[serde(default)]
    script: Vec<Scripted>,
    /// All checks, unless they are named.
    #[serde(default)]
    checks: Vec<String>,
    #[serde(default)]
    minimum: Minimum,
    /// In a run of all scenarios it plays one seed of so many: it takes longer than others.
    #[serde(default = "one")]
    share: usize,
    /// Seeds that once failed: a run of all scenarios always plays them.
    #[serde(default)]
    regressions: Vec<u64>,
}

fn one() -> usize {
    1
}

fn three() -> u64 {
    3
}

fn ten() -> u64 {
    10
}

fn often() -> (u64, u64) {
    (200, 50)
}

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub title: String,
    pub members: u64,
    pub seconds: u64,
    pub snapshot_entries: (u64, u64),
    pub nodes: u64,
    pub late_ms: u64,
    /// On every member.
    pub workloads: Vec<Workload>,
    /// Of the API, with hosts of their own.
    pub clients: Vec<kube::Workload>,
    pub first: Vec<&'static Kind>,
    pub then: Vec<&'static Kind>,
    pub at_once: usize,
    pub script: Vec<(Scripted, &'static Kind)>,
    /// Empty: all.
    pub checks: Vec<String>,
    pub minimum: Minimum,
    /// In a run of all scenarios it plays one seed of so many.
    pub share: usize,
    /// And always these.
    pub regressions: Vec<u64>,
    /// The faults that are let happen, by their number, if not all are.
    pub only: Option<BTreeSet<usize>>,
}

/// The scenario of this name.
pub fn find(name: &str) -> anyhow::Result<Scenario> {
    match FILES.iter().find(|(own, _)| *own == name) {
        Some((name, text)) => parse(name, text),
        None => bail!("there is no scenario `{name}`; `kchaos list` names them"),
    }
}

/// Every scenario.
pub fn all() -> anyhow::Result<Vec<Scenario>> {
    FILES.iter().map(|(name, text)| parse(name, text)).collect()
}

/// The scenario that this text describes.
pub fn parse(name: &str, text: &str) -> anyhow::Result<Scenario> {
    let file: File = basic_toml::from_str(text).with_context(|| format!("scenario {name}"))?;
    let kind = |fault: &String| {
        fault::find(fault).with_context(|| format!("scenario {name}: no fault `{fault}`"))
    };
    let kinds = |list: &[String]| list.iter().map(kind).collect::<anyhow::Result<Vec<_>>>();
    let (mut workloads, mut clients) = (Vec::new(), Vec::new());
    for workload in &file.workloads {
        match (workload::find(workload), kube::find(workload)) {
            (Some(found), _) => workloads.push(found),
            (None, Some(found)) if file.nodes > 0 => clients.push(found),
            (None, Some(_)) => bail!("scenario {name}: `{workload}` needs nodes"),
            (None, None) => bail!("scenario {name}: no workload `{workload}`"),
        }
    }
    for check in &file.checks {
        if !check::all().any(|(own, _)| own == check) {
            bail!("scenario {name}: no check `{check}`");
        }
    }
    let scripted = |it: &Scripted| anyhow::Ok((it.clone(), kind(&it.fault)?));
    Ok(Scenario {
        name: name.to_owned(),
        members: file.members,
        seconds: file.seconds,
        snapshot_entries: file.snapshot_entries,
        nodes: file.nodes,
        late_ms: file.late_ms,
        workloads,
        clients,
        first: kinds(&file.first)?,
        then: kinds(&file.then)?,
        at_once: file.at_once,
        script: file.script.iter().map(scripted).collect::<anyhow::Result<_>>()?,
        title: file.title,
        checks: file.checks,
        minimum: file.minimum,
        share: file.share.max(1),
        regressions: file.regressions,
        only: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutant::MUTANTS;

    #[test]
    fn every_scenario_is_well_formed_and_every_file_is_listed() {
        let scenarios = all().unwrap();
        assert!(
            scenarios
                .iter()
                .all(|it| !it.title.is_empty() && it.workloads.len() + it.clients.len() > 0)
        );
        // Asked when it runs: clones share what they built, and the one that built it may be gone.
        let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let folder = std::path::Path::new(&package).join("scenario");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), FILES.len());
    }

    #[test]
    fn every_fault_and_workload_is_in_some_scenario() {
        let scenarios = all().unwrap();
        for kind in fault::KINDS {
            let is_used = scenarios.iter().any(|it| {
                let scripted = it.script.iter().map(|(_, kind)| kind);
                it.first.iter().chain(&it.then).chain(scripted).any(|own| own.name == kind.name)
            });
            assert!(is_used, "{}", kind.name);
        }
        for workload in workload::WORKLOADS {
            let runs = |it: &Scenario| it.workloads.iter().any(|own| own.name == workload.name);
            assert!(scenarios.iter().any(runs), "{}", workload.name);
        }
        for workload in kube::WORKLOADS {
            let runs = |it: &Scenario| it.clients.iter().any(|own| own.name == workload.name);
            assert!(scenarios.iter().any(runs), "{}", workload.name);
        }
    }

    #[test]
    fn every_mutant_names_a_scenario() {
        for mutant in MUTANTS {
            assert!(find(mutant.scenario).is_ok(), "{}", mutant.name);
        }
    }
}
