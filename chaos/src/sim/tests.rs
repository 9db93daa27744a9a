//! One mutant, so that `cargo test` knows what is found; `kchaos mutants` finds them all.

use super::*;
use crate::mutant::{MUTANTS, Mutant};
use crate::scenario;

#[test]
fn reads_without_a_read_index_are_found() {
    let mutant: &Mutant = MUTANTS.iter().find(|mutant| mutant.name == "stale-reads").unwrap();
    let scenario = scenario::find(mutant.scenario).unwrap();
    let found = (1..=mutant.seeds).any(|seed| {
        let played = run(seed, &scenario, Some(mutant.mutation));
        played.report.violations.iter().any(|violation| violation.starts_with("linearizable"))
    });
    assert!(found, "no stale read was found in {} seeds", mutant.seeds);
}
