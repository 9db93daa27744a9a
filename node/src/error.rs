//! What can keep a node from starting or its tools from working.

use std::path::{Path, PathBuf};

/// Result of the node's own operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a node does not come up, or a command of `knode` fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, directory or program could not be used.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// A flag or a file given by a flag does not make sense.
    #[error("{flag}: {problem}")]
    Config { flag: &'static str, problem: String },
    /// The demo images are made from busybox.
    #[error("no static busybox at /bin/busybox; install it with: apt-get install busybox-static")]
    NoBusybox,
    /// A program that this one runs failed.
    #[error("{tool} failed: {message}")]
    Tool { tool: &'static str, message: String },
    /// containerd does not come up.
    #[error("containerd does not answer at {socket} after {waited_s} s; its log: {log}")]
    NoContainerd { socket: PathBuf, waited_s: u64, log: PathBuf },
    /// The kernel refused.
    #[error("{what}: {source}")]
    Kernel { what: String, source: nix::Error },
    /// The client of the masters could not be set up.
    #[error("masters: {0}")]
    Masters(String),
    /// The runtime refused a call.
    #[error(transparent)]
    Runtime(#[from] node_cri::Error),
    /// The kubelet could not start.
    #[error(transparent)]
    Kubelet(#[from] node_kubelet::Error),
}

impl Error {
    /// Turns an I/O error on `path` into an [`Error`]; for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
