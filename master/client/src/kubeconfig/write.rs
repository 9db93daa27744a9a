//! Writing kubeconfigs: complete or not at all, and for their owner's eyes only.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{Error, Kubeconfig, load_file};
use crate::yaml;

/// Writes to a file beside `path` and renames it over `path`.
pub fn save(config: &Kubeconfig, path: &Path) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let malformed = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    let value = serde_json::to_value(config).map_err(|error| malformed(error.to_string()))?;
    // A link stays a link: what it points to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_private(&beside, yaml::to_string(&value).as_bytes())
        .and_then(|()| std::fs::rename(&beside, &target));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(io)
}

/// Puts the entries of `config` into the file at `path` (which need not exist), replacing those of the
/// same names, and makes its context the current one.
pub fn merge_into(path: &Path, config: &Kubeconfig) -> Result<(), Error> {
    let mut merged = config.clone();
    match load_file(path) {
        Ok(existing) => merged.merge(existing),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    save(&merged, path)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
