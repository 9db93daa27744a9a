//! `kchaos list`: what there is to run.

use std::io::Write;

use chaos::fault::{KINDS, Kind};
use chaos::mutant::MUTANTS;
use chaos::scenario;
use chaos::workload::WORKLOADS;

pub(super) fn run(out: &mut impl Write) -> anyhow::Result<bool> {
    writeln!(out, "Scenarios (kchaos sim --scenario NAME):")?;
    for it in scenario::all()? {
        writeln!(out, "  {:<18}{}", it.name, it.title)?;
        let clients = it.clients.iter().map(|workload| workload.name);
        let workloads = it.workloads.iter().map(|workload| workload.name);
        let workloads: Vec<_> = workloads.chain(clients).collect();
        let scripted = it.script.iter().map(|(_, kind)| *kind);
        let mut faults: Vec<_> =
            it.first.iter().chain(&it.then).copied().chain(scripted).map(name).collect();
        faults.sort_unstable();
        faults.dedup();
        writeln!(out, "  {:<18}  {}; {}", "", workloads.join(", "), faults.join(", "))?;
    }
    writeln!(out, "\nWorkloads:")?;
    for it in WORKLOADS {
        writeln!(out, "  {:<18}{}", it.name, it.title)?;
    }
    for it in chaos::kube::workload::WORKLOADS {
        writeln!(out, "  {:<18}{}", it.name, it.title)?;
    }
    let faults: Vec<_> = KINDS.iter().map(name).collect();
    writeln!(out, "\nFaults:\n  {}", faults.join(", "))?;
    writeln!(out, "\nMutants (kchaos mutants --name NAME):")?;
    for it in MUTANTS {
        writeln!(out, "  {:<26}{}", it.name, it.title)?;
    }
    Ok(true)
}

fn name(kind: &Kind) -> &'static str {
    kind.name
}
