//! Histories as JSON lines: what a failing seed leaves, and what `kchaos check` judges, whoever wrote it.
//!
//! Each line is one object; `line` says what it is. `docs/CHAOS.md` describes them for others.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use store_handle::MemberId;

use crate::history::{
    FencedWrite, Final, History, Lead, Lease, Operation, Revised, Snapshot, Transfer, Watched,
};

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
enum Line {
    Operation(Operation),
    Fenced(FencedWrite),
    Transfer(Transfer),
    Snapshot(Snapshot),
    Lease(Lease),
    Watch(Watched),
    Lead(Lead),
    Change(Revised),
    Final {
        member: MemberId,
        #[serde(flatten)]
        held: Final,
    },
    Drift {
        ppm: u64,
    },
}

/// Writes all of a history.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    let History { operations, fenced, transfers, snapshots, .. } = history.clone();
    let History { leases, watched, leads, changes, finals, drift_ppm: ppm, .. } = history.clone();
    let each = operations.into_iter().map(Line::Operation);
    let each = each.chain(fenced.into_iter().map(Line::Fenced));
    let each = each.chain(transfers.into_iter().map(Line::Transfer));
    let each = each.chain(snapshots.into_iter().map(Line::Snapshot));
    let each = each.chain(leases.into_iter().map(Line::Lease));
    let each = each.chain(watched.into_iter().map(Line::Watch));
    let each = each.chain(leads.into_iter().map(Line::Lead));
    let each = each.chain(changes.into_values().map(Line::Change));
    let each = each.chain(finals.into_iter().map(|(member, held)| Line::Final { member, held }));
    for line in each.chain([Line::Drift { ppm }]) {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads a history; a line that is none is named.
pub fn read(input: impl BufRead) -> io::Result<History> {
    let mut history = History::default();
    for (number, line) in (1..).zip(input.lines()) {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let strange =
            |error| io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {error}"));
        match serde_json::from_str(&line).map_err(strange)? {
            Line::Operation(it) => history.operations.push(it),
            Line::Fenced(it) => history.fenced.push(it),
            Line::Transfer(it) => history.transfers.push(it),
            Line::Snapshot(it) => history.snapshots.push(it),
            Line::Lease(it) => history.leases.push(it),
            Line::Watch(it) => history.watched.push(it),
            Line::Lead(it) => history.leads.push(it),
            Line::Change(it) => drop(history.changes.insert(it.revision, it)),
            Line::Final { member, held } => drop(history.finals.insert(member, held)),
            Line::Drift { ppm } => history.drift_ppm = ppm,
        }
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line of each kind, as `docs/CHAOS.md` shows them.
    const LINES: &str = r#"
{"line":"operation","client":1,"key":"reg/07","op":"put","value":12,"called_us":100,"returned_us":300,"outcome":"wrote","revision":2}
{"line":"operation","client":2,"key":"reg/07","op":"cas","expected":12,"value":13,"called_us":400,"returned_us":500,"outcome":"differed"}
{"line":"operation","client":2,"key":"reg/07","op":"get","called_us":600,"returned_us":700,"outcome":"read","found":12}
{"line":"operation","client":3,"key":"reg/07","op":"put","value":14,"called_us":800,"returned_us":null,"outcome":"unknown"}
{"line":"fenced","term":4,"value":15,"revision":3}
{"line":"transfer","client":5,"writes":[["acct/1","90/16"],["acct/2","110/17"]],"called_us":1,"returned_us":2,"outcome":"nothing"}
{"line":"snapshot","client":5,"called_us":900,"revision":3,"prefix":"acct/","found":[["acct/1","100/1"]]}
{"line":"lease","id":9,"key":"lease/9","ttl_ms":2000,"renewed_us":950,"is_revoked":false,"is_put":true}
{"line":"watch","watcher":1,"prefix":"reg/","saw":"begins","after":1}
{"line":"watch","watcher":1,"prefix":"reg/","saw":"events","revision":2,"writes":[{"key":"reg/07","value":"12"}]}
{"line":"watch","watcher":1,"prefix":"reg/","saw":"progress","revision":3}
{"line":"lead","term":4,"member":2}
{"line":"change","revision":2,"seen_us":200,"writes":[{"key":"reg/07","value":"12"}]}
{"line":"change","revision":4,"seen_us":2000,"writes":[{"key":"reg/08","value":null}]}
{"line":"final","member":1,"revision":4,"hash":77}
{"line":"drift","ppm":0}
"#;

    #[test]
    fn history_survives_its_lines() {
        let history = read(LINES.as_bytes()).unwrap();
        let mut written = Vec::new();
        write(&history, &mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap().trim(), LINES.trim());
    }

    #[test]
    fn strange_line_is_named() {
        let error = read("\n{\"line\":\"lead\"}\n".as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 2: missing field"), "{error}");
    }
}
