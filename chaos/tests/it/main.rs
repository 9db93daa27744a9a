//! The proof of determinism: every scenario twice, each time in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

/// Plays one seed of every scenario; returns the traces by file name.
fn play(seed: &str, folder: &Path) -> Vec<(String, String)> {
    let played = Command::new(env!("CARGO_BIN_EXE_kchaos"))
        .args(["sim", "--seeds", seed, "--keep", "--verbose", "--out"])
        .arg(folder)
        .output()
        .unwrap();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stdout));
    let mut traces: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "trace"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    traces.sort();
    traces
}

#[test]
fn same_seed_gives_the_same_trace_byte_for_byte_in_every_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let first = play("11", &folder.path().join("first"));
    let second = play("11", &folder.path().join("second"));
    assert!(!first.is_empty());
    for ((name, one), (_, other)) in first.iter().zip(&second) {
        let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "{name}");
    }
    assert_eq!(first, second);
    let other = play("12", &folder.path().join("other"));
    assert_ne!(first[0].1, other[0].1, "another seed");
}
