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
    let kube = &history.kube;
    writeln!(
        out,
        "of Kubernetes: {} creates, {} answers with a version, {} runs of pods, {} silences of nodes",
        kube.creates.len(),
        kube.sightings.len(),
        kube.runs.len(),
        kube.silences.len(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As somebody else would record it: pods and a config map by a watch, creates, and what clients were told.
    const GOOD: &str = r#"
{"line":"list","watcher":1,"apiVersion":"v1","kind":"Pod","resourceVersion":"4"}
{"line":"event","watcher":1,"seen_us":100,"type":"ADDED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default","name":"a","uid":"u1","resourceVersion":"5"}}}
{"line":"event","watcher":1,"seen_us":200,"type":"MODIFIED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default","name":"a","uid":"u1","resourceVersion":"7"},"spec":{"nodeName":"n1"}}}
{"line":"event","seen_us":150,"type":"ADDED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"default","name":"m","uid":"u2","resourceVersion":"6"},"data":{"mark":"one"}}}
{"line":"create","mark":"one","is_retried":true,"is_acknowledged":true}
{"line":"answer","client":1,"called_us":110,"returned_us":160,"version":6,"is_read":false}
{"line":"answer","client":2,"called_us":170,"returned_us":180,"version":6,"is_read":true}
{"line":"run","node":"n1","pod":"default/a","uid":"u1","from_us":300,"until_us":null}
"#;

    /// Judges a file with these lines more, and returns whether all is well and what is said.
    fn judged(more: &str) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.jsonl");
        std::fs::write(&file, format!("{GOOD}{more}")).unwrap();
        let mut said = Vec::new();
        let is_good = run(&mut said, &file).unwrap();
        (is_good, String::from_utf8(said).unwrap())
    }

    #[test]
    fn history_of_kubernetes_from_elsewhere_is_judged_from_its_file() {
        let (is_good, said) = judged("");
        assert!(is_good, "{said}");
        #[rustfmt::skip]
        let cases = [
            ("bound-once", r#"{"line":"event","watcher":1,"type":"MODIFIED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default","name":"a","uid":"u1","resourceVersion":"8"},"spec":{"nodeName":"n2"}}}"#),
            ("watches", r#"{"line":"event","watcher":1,"type":"MODIFIED","object":{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"default","name":"a","uid":"u1","resourceVersion":"5"}}}"#),
            ("versions", r#"{"line":"answer","client":3,"called_us":190,"returned_us":195,"version":5,"is_read":true}"#),
            ("created-once", r#"{"line":"event","type":"ADDED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"default","name":"m2","uid":"u3","resourceVersion":"8"},"data":{"mark":"one"}}}"#),
            ("one-place", r#"{"line":"run","node":"n2","pod":"default/a","uid":"u1","from_us":400,"until_us":null}"#),
        ];
        for (check, line) in cases {
            let (is_good, said) = judged(line);
            assert!(!is_good && said.contains(&format!("{check}: VIOLATION")), "{check}: {said}");
            assert_eq!(said.matches("VIOLATION").count(), 1, "{check}: {said}");
        }
    }
}
