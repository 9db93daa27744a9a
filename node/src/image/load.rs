//! Archives into and out of a node's containerd, and the directory whose archives load by themselves.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use store_env::task::TaskResult;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// The containerd namespace that CRI uses.
const NAMESPACE: &str = "k8s.io";
const IMPORT_DEADLINE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_secs(2);

async fn ctr(socket: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(socket).args(["--namespace", NAMESPACE]).args(arguments);
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    let run = tokio::time::timeout(IMPORT_DEADLINE, command.output());
    let output = match run.await {
        Ok(output) => output.map_err(Error::io(Path::new("ctr")))?,
        Err(_) => return Err(Error::Tool { tool: "ctr", message: "no answer".to_owned() }),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Tool { tool: "ctr", message })
}

/// Loads an archive; returns what was loaded, a name a line.
pub async fn load(socket: &Path, archive: &Path) -> Result<String> {
    let archive = archive.to_string_lossy();
    ctr(socket, &["images", "import", &archive]).await
}

/// The names of all images, one a line.
pub async fn list(socket: &Path) -> Result<String> {
    let names = ctr(socket, &["images", "list", "-q"]).await?;
    let kept = names.lines().filter(|name| !name.starts_with("sha256:"));
    Ok(kept.map(|name| format!("{name}\n")).collect())
}

/// Writes images to an archive.
pub async fn save(socket: &Path, archive: &Path, names: &[String]) -> Result<()> {
    let archive = archive.to_string_lossy();
    let names: Vec<String> = names.iter().map(|name| normalise(name)).collect();
    let mut arguments = vec!["images", "export", &archive];
    arguments.extend(names.iter().map(String::as_str));
    ctr(socket, &arguments).await.map(drop)
}

/// `hello-node:v1` → `docker.io/library/hello-node:v1`, as every runtime resolves short names.
fn normalise(name: &str) -> String {
    let (host, rest) = name.split_once('/').unwrap_or(("", name));
    let has_host = host.contains(['.', ':']) || host == "localhost";
    let path = match (has_host, name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    };
    match rest.contains([':', '@']) {
        true => path,
        false => format!("{path}:latest"),
    }
}

/// Size and modification time: enough to notice a new archive under an old name.
type Stamp = (u64, i64, i64);

/// Watches a directory and loads each archive once.
#[derive(Debug)]
pub struct Loader {
    directory: PathBuf,
    socket: PathBuf,
    /// What was loaded is kept beside the images, and lost with them.
    record: PathBuf,
}

impl Loader {
    /// Loads `directory/*.tar` into the containerd at `socket`, and notes it in `record`.
    pub fn new(directory: PathBuf, socket: PathBuf, record: PathBuf) -> Self {
        Self { directory, socket, record }
    }

    /// Loads what is there and not yet loaded. A broken archive is reported and tried again later.
    pub async fn load_new(&self) -> Result<usize> {
        let mut loaded = self.recorded();
        let mut count = 0;
        for (path, stamp) in self.found()? {
            let key = path.display().to_string();
            if loaded.get(&key) == Some(&stamp) {
                continue;
            }
            match load(&self.socket, &path).await {
                Ok(_) => {
                    tracing::info!(archive = %key, "image archive loaded");
                    loaded.insert(key, stamp);
                    count += 1;
                }
                Err(error) => tracing::warn!(archive = %key, %error, "image archive not loaded"),
            }
        }
        if count > 0 {
            let record = serde_json::to_vec(&loaded).expect("strings and numbers are JSON");
            std::fs::write(&self.record, record).map_err(Error::io(&self.record))?;
        }
        Ok(count)
    }

    /// Looks for new archives until told to stop.
    pub async fn run(self, stop: CancellationToken) -> TaskResult {
        loop {
            if let Err(error) = self.load_new().await {
                tracing::warn!(%error, "cannot look for image archives");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn recorded(&self) -> BTreeMap<String, Stamp> {
        let record = std::fs::read(&self.record).unwrap_or_default();
        serde_json::from_slice(&record).unwrap_or_default()
    }

    fn found(&self) -> Result<BTreeMap<PathBuf, Stamp>> {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Ok(BTreeMap::new()) };
        let mut found = BTreeMap::new();
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "tar") {
                let meta = std::fs::metadata(&path).map_err(Error::io(&path))?;
                found.insert(path, (meta.len(), meta.mtime(), meta.mtime_nsec()));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_resolve_to_the_docker_library() {
        let check = |name: &str, full: &str| assert_eq!(normalise(name), full);
        check("busybox", "docker.io/library/busybox:latest");
        check("hello-node:v1", "docker.io/library/hello-node:v1");
        check("team/app", "docker.io/team/app:latest");
        check("trireme.dev/pause:1", "trireme.dev/pause:1");
        check("localhost:5000/app", "localhost:5000/app:latest");
    }
}
