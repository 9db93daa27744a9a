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

/// Whether a member's data has been there.
pub(crate) fn are_in(data_dir: &Path) -> bool {
    ["log", "state"].iter().any(|name| data_dir.join(name).exists())
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
