//! A container's last words: from the file that it left, or from the end of its log.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::view::{ContainerView, MESSAGE_POLICY, State};

const MESSAGE_BYTES_MAX: usize = 4_096;
const LOG_BYTES_MAX: u64 = 2_048;

/// The termination message of an ended container; `None` when it left none.
pub(crate) fn read(container: &ContainerView, message_file: &Path) -> Option<String> {
    let State::Exited { code, .. } = &container.state else { return None };
    let mut bytes = Vec::new();
    // Never follow a link that the container may have put there.
    let is_file = std::fs::symlink_metadata(message_file).is_ok_and(|meta| meta.is_file());
    if is_file && let Ok(file) = std::fs::File::open(message_file) {
        let limit = u64::try_from(MESSAGE_BYTES_MAX).expect("small");
        let _ = file.take(limit).read_to_end(&mut bytes);
    }
    let policy = container.annotations.get(MESSAGE_POLICY).map(String::as_str);
    if bytes.is_empty() && *code != 0 && policy == Some("FallbackToLogsOnError") {
        return log_tail(Path::new(&container.log_path));
    }
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of a log, without the runtime's prefixes.
fn log_tail(path: &Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    // Each line carries some 40 bytes of prefix.
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX * 2))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX * 2).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
    let joined: String = lines.map(|line| format!("{line}\n")).collect();
    let keep = usize::try_from(LOG_BYTES_MAX).expect("small");
    let start = joined.len().saturating_sub(keep);
    let start = (start..joined.len()).find(|at| joined.is_char_boundary(*at))?;
    Some(joined[start..].to_owned())
}
