//! Finding and reading kubeconfigs: a flag, `$KUBECONFIG`, or `~/.kube/config`.

use std::path::{Path, PathBuf};

use super::{Error, Kubeconfig};

/// Where a kubeconfig is read from: the flag alone, or the files of `$KUBECONFIG`, or the default.
pub fn search_paths(flag: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = flag {
        return vec![path.to_owned()];
    }
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed: Vec<PathBuf> =
        std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if listed.is_empty() { vec![default_path()] } else { listed }
}

/// `~/.kube/config`.
pub fn default_path() -> PathBuf {
    home().join(".kube").join("config")
}

/// Reads and merges. A file named by the flag must exist; of the others, those that do are taken.
pub fn load(flag: Option<&Path>) -> Result<Kubeconfig, Error> {
    let mut merged = Kubeconfig::default();
    for path in search_paths(flag) {
        match load_file(&path) {
            Ok(config) => merged.merge(config),
            Err(Error::Io { source, .. })
                if flag.is_none() && source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(merged)
}

/// Reads one file; relative paths in it become relative to it.
pub fn load_file(path: &Path) -> Result<Kubeconfig, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let mut config =
        parse(&text).map_err(|reason| Error::Malformed { path: path.to_owned(), reason })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    for entry in &mut config.clusters {
        anchor(&mut entry.cluster.certificate_authority, folder);
    }
    for entry in &mut config.users {
        anchor(&mut entry.user.client_certificate, folder);
        anchor(&mut entry.user.client_key, folder);
        anchor(&mut entry.user.token_file, folder);
    }
    Ok(config)
}

pub(super) fn parse(text: &str) -> Result<Kubeconfig, String> {
    if text.trim().is_empty() {
        return Ok(Kubeconfig::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|at| format!("line {}: ", at.line())).unwrap_or_default();
        format!("{line}{}", error.without_snippet())
    })
}

fn anchor(path: &mut Option<PathBuf>, folder: &Path) {
    if let Some(path) = path
        && path.is_relative()
    {
        *path = folder.join(&path);
    }
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from)
}
