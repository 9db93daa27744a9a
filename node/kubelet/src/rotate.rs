//! Logs do not grow without end: a file that is full is moved aside, and only so many are kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use node_cri::v1::ContainerState;
use store_env::task::TaskResult;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::view;

const FILE_BYTES_MAX: u64 = 10 << 20;
/// The one that is written, and those before it.
const FILES_MAX: usize = 5;
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks at the logs of running containers until told to stop.
pub(crate) async fn run(cx: Arc<Context>, stop: CancellationToken) -> TaskResult {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = look(&cx).await {
            tracing::debug!(%error, "logs not rotated");
        }
    }
}

async fn look(cx: &Context) -> Result<()> {
    for container in cx.runtime.list_containers(Default::default()).await? {
        let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        let is_running = container.state() == ContainerState::ContainerRunning;
        let attempt = container.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
        let (namespace, name) = (label(view::POD_NAMESPACE), label(view::POD_NAME));
        let pod = cx.config.pod_logs_dir(&namespace, &name, &label(view::POD_UID));
        let file = pod.join(label(view::CONTAINER_NAME)).join(format!("{attempt}.log"));
        let length = std::fs::metadata(&file).map_or(0, |meta| meta.len());
        if is_running && length > FILE_BYTES_MAX {
            move_aside(&file, cx.clock.unix_ms())?;
            cx.runtime.reopen_log(&container.id).await?;
        }
    }
    Ok(())
}

/// Files that were moved aside for `file`, oldest first.
fn aside(file: &Path) -> Vec<PathBuf> {
    let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else { return Vec::new() };
    let prefix = format!("{}.", name.to_string_lossy());
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn move_aside(file: &Path, now_ms: u64) -> Result<()> {
    let mut target = file.as_os_str().to_owned();
    target.push(format!(".{now_ms:015}"));
    std::fs::rename(file, &target).map_err(Error::io(file))?;
    let old = aside(file);
    for path in old.iter().take((old.len() + 1).saturating_sub(FILES_MAX)) {
        std::fs::remove_file(path).map_err(Error::io(path))?;
    }
    Ok(())
}

/// Deletes the log of a container that is forgotten.
pub(crate) fn forget(logs: &Path, log_path: &str) {
    let file = Path::new(log_path);
    if file.starts_with(logs) {
        for path in aside(file).into_iter().chain([file.to_owned()]) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("0.log");
        for now_ms in 1..=9 {
            std::fs::write(&file, now_ms.to_string()).unwrap();
            move_aside(&file, now_ms).unwrap();
        }
        let kept = aside(&file).into_iter().map(|path| std::fs::read_to_string(path).unwrap());
        assert_eq!(kept.collect::<Vec<_>>(), ["6", "7", "8", "9"]);
        std::fs::write(&file, "10").unwrap();
        forget(dir.path(), &file.display().to_string());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
