//! A member's databases, opened; what is wrong with them is said with their place and the next step.

use std::io;
use std::path::Path;
use std::sync::Arc;

use store_raft::REPLACE;
use store_rocks::{RocksLog, RocksState};

/// The log and the state in this data directory.
pub(crate) fn open(data_dir: &Path) -> anyhow::Result<(Arc<RocksLog>, Arc<RocksState>)> {
    let (log, state) = (data_dir.join("log"), data_dir.join("state"));
    let opened_log = RocksLog::open(&log).map_err(|error| explain(&log, &error))?;
    let opened_state = RocksState::open(&state).map_err(|error| explain(&state, &error))?;
    Ok((Arc::new(opened_log), Arc::new(opened_state)))
}

/// Whether a member's data has been there. An empty folder is none: it may be a mount, or a link to another disk.
pub(crate) fn are_in(data_dir: &Path) -> bool {
    let is_empty = |path: &Path| {
        let mut entries = path.read_dir().ok()?.filter_map(Result::ok);
        Some(entries.all(|entry| entry.file_name() == "lost+found"))
    };
    let holds = |path: &Path| path.exists() && is_empty(path) != Some(true);
    ["log", "state"].iter().any(|name| holds(&data_dir.join(name)))
}

fn explain(path: &Path, error: &io::Error) -> anyhow::Error {
    let (path, text) = (path.display(), error.to_string());
    if text.contains("LOCK") {
        return anyhow::anyhow!("{path} is in use: a member runs on it; stop it first ({text})");
    }
    match error.kind() {
        io::ErrorKind::InvalidData => anyhow::anyhow!("{path} is damaged: {text}; {REPLACE}"),
        _ => anyhow::anyhow!("{path} cannot be opened: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, write};

    use super::*;

    #[test]
    fn a_folder_that_waits_for_the_log_is_no_data() {
        let dir = tempfile::TempDir::new().unwrap();
        let elsewhere = tempfile::TempDir::new().unwrap();
        assert!(!are_in(dir.path()));
        let log = dir.path().join("log");
        std::os::unix::fs::symlink(elsewhere.path(), &log).unwrap();
        create_dir(elsewhere.path().join("lost+found")).unwrap();
        assert!(!are_in(dir.path()));
        drop(open(dir.path()).unwrap());
        assert!(are_in(dir.path()) && elsewhere.path().join("CURRENT").exists());
        let other = tempfile::TempDir::new().unwrap();
        write(other.path().join("state"), "").unwrap();
        assert!(are_in(other.path()), "what is no folder is looked at by somebody");
    }
}
