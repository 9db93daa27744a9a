//! What a runtime call can end in, as far as the kubelet acts differently on it.

use std::time::Duration;

/// Result of a runtime call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a runtime call gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The socket does not answer: the runtime is down or starting.
    #[error("container runtime is unreachable: {0}")]
    Unreachable(String),
    /// The sandbox, container or image is unknown to the runtime.
    #[error("not found: {0}")]
    NotFound(String),
    /// The runtime does not know this call.
    #[error("runtime does not implement {0}")]
    Unimplemented(String),
    /// No answer in time; what was asked for may still happen.
    #[error("{call} gave no answer within {deadline:?}")]
    Deadline { call: &'static str, deadline: Duration },
    /// The runtime refused or failed; its own words.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// Whether the thing asked about is gone.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Reads a gRPC status.
    pub(crate) fn from_status(call: &'static str, status: &tonic::Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            tonic::Code::NotFound => Self::NotFound(message),
            tonic::Code::Unimplemented => Self::Unimplemented(call.to_owned()),
            tonic::Code::Unavailable => Self::Unreachable(message),
            _ => Self::Failed(message),
        }
    }
}
