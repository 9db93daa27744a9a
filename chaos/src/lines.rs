//! Histories as JSON lines: what a failing seed leaves, and what `kchaos check` judges, whoever wrote it.
//!
//! Each line is one object; `line` says what it is. `docs/CHAOS.md` describes them for others.

mod objects;

use std::collections::btree_map::Entry;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use store_handle::MemberId;

use crate::history::{
    FencedWrite, Final, History, Lead, Lease, Operation, Revised, Snapshot, Transfer, Watched,
};
use crate::kube::story::{Create, FencedReply, Run, Sighting, Silence, Story};

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
    List(objects::List),
    Event(objects::Event),
    Create {
        mark: String,
        #[serde(flatten)]
        create: Create,
    },
    Answer(Sighting),
    Run(Run),
    Silence(Silence),
    FencedReply(FencedReply),
    Put {
        fingerprint: u64,
        term: Option<u64>,
    },
}

/// Writes all of a history.
pub fn write(history: &History, out: &mut impl Write) -> io::Result<()> {
    let (events, changes) = objects::events(history);
    let History { operations, fenced, transfers, snapshots, .. } = history.clone();
    let History { leases, watched, leads, finals, drift_ppm: ppm, kube, .. } = history.clone();
    let watched = watched.into_iter().map(|watched| match objects::told(&watched) {
        Some(objects::Told::List(list)) => Line::List(list),
        Some(objects::Told::Event(event)) => Line::Event(event),
        None => Line::Watch(watched),
    });
    let each = operations.into_iter().map(Line::Operation);
    let each = each.chain(fenced.into_iter().map(Line::Fenced));
    let each = each.chain(transfers.into_iter().map(Line::Transfer));
    let each = each.chain(snapshots.into_iter().map(Line::Snapshot));
    let each = each.chain(leases.into_iter().map(Line::Lease));
    let each = each.chain(events.into_iter().map(Line::Event));
    let each = each.chain(changes.into_iter().map(Line::Change));
    let each = each.chain(watched);
    let each = each.chain(leads.into_iter().map(Line::Lead));
    let each = each.chain(finals.into_iter().map(|(member, held)| Line::Final { member, held }));
    for line in each.chain(of_kubernetes(kube)).chain([Line::Drift { ppm }]) {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// What nodes and clients of Kubernetes did and saw.
fn of_kubernetes(story: Story) -> impl Iterator<Item = Line> {
    let Story { fenced, puts, runs, sightings, silences, creates, healed_us: _ } = story;
    let each = creates.into_iter().map(|(mark, create)| Line::Create { mark, create });
    let each = each.chain(sightings.into_iter().map(Line::Answer));
    let each = each.chain(runs.into_iter().map(Line::Run));
    let each = each.chain(silences.into_iter().map(Line::Silence));
    let each = each.chain(fenced.into_iter().map(Line::FencedReply));
    each.chain(puts.into_iter().map(|(fingerprint, term)| Line::Put { fingerprint, term }))
}

/// Reads a history; a line that is none is named.
pub fn read(input: impl BufRead) -> io::Result<History> {
    let mut history = History::default();
    for (number, line) in (1..).zip(input.lines()) {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let strange = |what: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {what}"))
        };
        let line = serde_json::from_str(&line).map_err(|error| strange(error.to_string()))?;
        match line {
            Line::Operation(it) => history.operations.push(it),
            Line::Fenced(it) => history.fenced.push(it),
            Line::Transfer(it) => history.transfers.push(it),
            Line::Snapshot(it) => history.snapshots.push(it),
            Line::Lease(it) => history.leases.push(it),
            Line::Watch(it) => history.watched.push(it),
            Line::Lead(it) => history.leads.push(it),
            Line::Change(it) => match history.changes.entry(it.revision) {
                Entry::Occupied(mut known) => known.get_mut().writes.extend(it.writes),
                Entry::Vacant(place) => drop(place.insert(it)),
            },
            Line::Final { member, held } => drop(history.finals.insert(member, held)),
            Line::Drift { ppm } => history.drift_ppm = ppm,
            Line::List(it) => objects::take_list(&mut history, &it).map_err(strange)?,
            Line::Event(it) => objects::take_event(&mut history, it).map_err(strange)?,
            Line::Create { mark, create } => drop(history.kube.creates.insert(mark, create)),
            Line::Answer(it) => history.kube.sightings.push(it),
            Line::Run(it) => history.kube.runs.push(it),
            Line::Silence(it) => history.kube.silences.push(it),
            Line::FencedReply(it) => history.kube.fenced.push(it),
            Line::Put { fingerprint, term } => history.kube.puts.push((fingerprint, term)),
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
{"line":"event","seen_us":700,"type":"ADDED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"default","resourceVersion":"5","uid":"u"},"spec":{"nodeName":"n1"}}}
{"line":"event","seen_us":800,"type":"DELETED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"default","resourceVersion":"6","uid":"u"}}}
{"line":"change","revision":2,"seen_us":200,"writes":[{"key":"reg/07","value":"12"}]}
{"line":"change","revision":4,"seen_us":2000,"writes":[{"key":"reg/08","value":null}]}
{"line":"change","revision":7,"seen_us":2100,"writes":[]}
{"line":"watch","watcher":1,"prefix":"reg/","saw":"begins","after":1}
{"line":"watch","watcher":1,"prefix":"reg/","saw":"events","revision":2,"writes":[{"key":"reg/07","value":"12"}]}
{"line":"watch","watcher":1,"prefix":"reg/","saw":"progress","revision":3}
{"line":"list","watcher":2,"apiVersion":"v1","kind":"Pod","resourceVersion":"4"}
{"line":"event","watcher":2,"type":"MODIFIED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"default","resourceVersion":"5","uid":"u"},"spec":{"nodeName":"n1"}}}
{"line":"event","watcher":2,"type":"DELETED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"default","resourceVersion":"6"}}}
{"line":"event","watcher":2,"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7"}}}
{"line":"lead","term":4,"member":2}
{"line":"final","member":1,"revision":4,"hash":77}
{"line":"create","mark":"m","is_retried":true,"is_acknowledged":true}
{"line":"answer","client":6,"called_us":10,"returned_us":20,"version":5,"is_read":true}
{"line":"run","node":"n1","pod":"default/a","uid":"u","from_us":710,"until_us":null}
{"line":"silence","node":"n1","from_us":5,"until_us":9}
{"line":"fenced-reply","term":4,"revision":5}
{"line":"put","fingerprint":77,"term":null}
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
        let strange = |lines: &str| read(lines.as_bytes()).unwrap_err().to_string();
        let error = strange("\n{\"line\":\"lead\"}\n");
        assert!(error.starts_with("line 2: missing field"), "{error}");
        let event = |metadata: &str| {
            let object = format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{metadata}}}"#);
            format!(r#"{{"line":"event","type":"ADDED","object":{object}}}"#)
        };
        let error = strange(&event(r#"{"name":"a"}"#));
        assert!(error.starts_with("line 1: resourceVersion"), "{error}");
        let one = event(r#"{"name":"a","resourceVersion":"5"}"#);
        let other = event(r#"{"name":"a","resourceVersion":"5","uid":"u"}"#);
        let error = strange(&format!("{one}\n{one}\n{other}"));
        assert!(error.starts_with("line 3: revision 5 is told to make two things"), "{error}");
    }
}
