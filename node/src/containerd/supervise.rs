//! Keeps a node's containerd running: finds it, starts it, starts it again with a back-off.
//!
//! # Invariants
//! - Stopping the agent leaves containerd running; only [`Containerd::stop`] ends it.
//! - Restarts of containerd touch no container.

use std::time::Duration;

use nix::sys::signal::Signal;
use node_cri::{CriClient, Runtime};
use store_env::clock::SharedClock;
use store_env::task::TaskResult;
use tokio_util::sync::CancellationToken;

use super::config::Layout;
use super::process::{Found, Process, describe};
use crate::error::{Error, Result};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A containerd that lived this long starts again without delay.
const STEADY_MS: u64 = 60_000;
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const ANSWER_POLL: Duration = Duration::from_millis(20);
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running containerd and the duty to keep it so.
#[derive(Debug)]
pub struct Containerd {
    layout: Layout,
    clock: SharedClock,
    process: Process,
}

impl Containerd {
    /// Finds the node's containerd or starts it, and waits until it answers.
    pub async fn ensure(layout: Layout, clock: SharedClock) -> Result<Self> {
        for directory in [&layout.directory, &layout.cni_conf, &layout.registries()] {
            std::fs::create_dir_all(directory).map_err(Error::io(directory))?;
        }
        let file = layout.config_file();
        std::fs::write(&file, layout.render()).map_err(Error::io(&file))?;
        let process = match Found::read(&layout) {
            Some(found) => {
                tracing::info!(pid = found.pid, "containerd found running");
                Process::adopt(found)
            }
            None => Process::start(&layout)?,
        };
        let containerd = Self { layout, clock, process };
        containerd.wait_until_it_answers().await?;
        Ok(containerd)
    }

    async fn wait_until_it_answers(&self) -> Result<()> {
        let client = CriClient::new(&self.layout.socket());
        let answers = async {
            while client.version().await.is_err() {
                tokio::time::sleep(ANSWER_POLL).await;
            }
        };
        let waited = tokio::time::timeout(ANSWER_DEADLINE, answers).await;
        waited.map_err(|_| Error::NoContainerd {
            socket: self.layout.socket(),
            waited_s: ANSWER_DEADLINE.as_secs(),
            log: self.layout.log_file(),
        })
    }

    /// Who runs now.
    pub fn found(&self) -> Found {
        self.process.found
    }

    /// Starts containerd again whenever it ends, until told to stop; then leaves it running.
    pub async fn run(mut self, stop: CancellationToken) -> TaskResult {
        let mut backoff = BACKOFF_MIN;
        loop {
            let started_ms = self.clock.monotonic_ms();
            let status = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                status = self.process.ended() => status,
            };
            let lived_ms = self.clock.monotonic_ms() - started_ms;
            backoff = if lived_ms >= STEADY_MS { BACKOFF_MIN } else { backoff };
            tracing::warn!(lived_ms, ?backoff, end = describe(status), "containerd is gone");
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
            match Process::start(&self.layout) {
                Ok(process) => self.process = process,
                Err(error) => tracing::error!(%error, "containerd does not start"),
            }
        }
    }

    /// Ends the containerd of `layout`, if one runs: SIGTERM, then SIGKILL.
    pub async fn stop(layout: &Layout) {
        let Some(found) = Found::read(layout) else { return };
        found.signal(Signal::SIGTERM);
        let gone = async {
            while found.is_alive() {
                tokio::time::sleep(ANSWER_POLL).await;
            }
        };
        if tokio::time::timeout(STOP_GRACE, gone).await.is_err() {
            found.signal(Signal::SIGKILL);
        }
    }
}
