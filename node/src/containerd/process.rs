//! A containerd process, told apart from whoever may have its pid later.
//!
//! # Invariants
//! - A process is signalled only while its start time is the recorded one.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::config::Layout;
use crate::error::{Error, Result};

const POLL: Duration = Duration::from_millis(300);

/// A running containerd: its pid, and when the kernel says that it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks since boot.
    pub start_ticks: u64,
}

impl Found {
    /// The containerd that the pid file of `layout` names, if it is still that one.
    pub fn read(layout: &Layout) -> Option<Self> {
        let recorded: Self =
            serde_json::from_slice(&std::fs::read(layout.pid_file()).ok()?).ok()?;
        let config = layout.config_file().display().to_string();
        (recorded.is_alive() && command_line(recorded.pid)?.contains(&config)).then_some(recorded)
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Sends a signal, unless the pid has passed to somebody else.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // It may end between the look and the signal; then there is nothing to do.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// A containerd under supervision: ours to reap, or found running.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) found: Found,
    child: Option<Child>,
}

impl Process {
    pub(super) fn adopt(found: Found) -> Self {
        Self { found, child: None }
    }

    /// Starts containerd in a session of its own, writing to its log file.
    pub(super) fn start(layout: &Layout) -> Result<Self> {
        let log_file = layout.log_file();
        let open = std::fs::OpenOptions::new().create(true).append(true).open(&log_file);
        let log = open.map_err(Error::io(&log_file))?;
        let errors = log.try_clone().map_err(Error::io(&log_file))?;
        let mut command = Command::new("setsid");
        command.arg("containerd").arg("--config").arg(layout.config_file());
        command.stdin(Stdio::null()).stdout(log).stderr(errors).kill_on_drop(false);
        let child = command.spawn().map_err(Error::io(Path::new("containerd")))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        // A child that is gone already has no start time; the supervisor then sees its end.
        let found = Found { pid, start_ticks: start_ticks(pid).unwrap_or_default() };
        let record = serde_json::to_vec(&found).expect("numbers are JSON");
        std::fs::write(layout.pid_file(), record).map_err(Error::io(&layout.pid_file()))?;
        Ok(Self { found, child: Some(child) })
    }

    /// Waits for the end of the process. The status is known of our own child only.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().await.ok(),
            None => {
                while self.found.is_alive() {
                    tokio::time::sleep(POLL).await;
                }
                None
            }
        }
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    match status {
        None => "ended".to_owned(),
        Some(status) => match status.signal() {
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("exited with {}", status.code().unwrap_or_default()),
        },
    }
}

fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command in parentheses may hold anything; fields are counted after its end.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let is_dead = matches!(fields.first(), Some(&"Z" | &"X"));
    if is_dead { None } else { fields.get(19)?.parse().ok() }
}

fn command_line(pid: i32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_that_passed_to_another_process_is_not_ours() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = Found { pid, start_ticks: start_ticks(pid).unwrap() };
        assert!(me.is_alive());
        assert!(!Found { start_ticks: me.start_ticks + 1, ..me }.is_alive());
    }
}
