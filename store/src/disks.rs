//! A member's databases, opened; what is wrong with them is said with their place and the next step.

use std::fs::DirEntry;
use std::io;
use std::os::unix::fs::MetadataExt as _;
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

/// Whether a member's data has been there, or a restore has begun. Another disk for the log, a mount or a link, is no
/// data as long as it is empty.
pub(crate) fn are_in(data_dir: &Path) -> bool {
    let log = data_dir.join("log");
    data_dir.join("state").exists() || log.exists() && !is_empty_disk(&log, data_dir)
}

fn is_empty_disk(log: &Path, data_dir: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    let is_elsewhere = log.is_symlink() || device(log) != device(data_dir);
    let is_nothing =
        |entry: io::Result<DirEntry>| entry.is_ok_and(|entry| entry.file_name() == "lost+found");
    is_elsewhere && log.read_dir().is_ok_and(|mut entries| entries.all(is_nothing))
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
    use std::fs::create_dir;

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
        // Begun by a restore that got no further.
        for name in ["log", "state"] {
            let begun = tempfile::TempDir::new().unwrap();
            create_dir(begun.path().join(name)).unwrap();
            assert!(are_in(begun.path()), "{name}");
        }
    }
}
