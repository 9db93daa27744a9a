//! `kchaos check`: judges a history that somebody else recorded.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use anyhow::Context;
use chaos::check;
use chaos::lines;

pub(super) fn run(out: &mut impl Write, file: &Path) -> anyhow::Result<bool> {
    let what = || file.display().to_string();
    let input = File::open(file).with_context(what)?;
    let history = lines::read(BufReader::new(input)).with_context(what)?;
    writeln!(
        out,
        "{} operations, {} transfers, {} reads of several keys, {} fenced writes, {} leases, {} sights of watchers, {} revisions",
        history.operations.len(),
        history.transfers.len(),
        history.snapshots.len(),
        history.fenced.len(),
        history.leases.len(),
        history.watched.len(),
        history.changes.len(),
    )?;
    let mut is_good = true;
    for (name, check) in check::all() {
        match check(&history) {
            Ok(()) => writeln!(out, "{name}: holds")?,
            Err(reason) => {
                is_good = false;
                writeln!(out, "{name}: VIOLATION {reason}")?;
            }
        }
    }
    Ok(is_good)
}
