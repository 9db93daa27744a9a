//! What can go wrong on the way from a pod's specification to running containers.

use std::path::{Path, PathBuf};

/// Result of the kubelet's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done; `reason()` is what a person sees in the container's status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime refused, failed or is away.
    #[error(transparent)]
    Runtime(#[from] node_cri::Error),
    /// A file or directory of the node.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    /// The kernel refused.
    #[error("{what}: {source}")]
    Kernel { what: String, source: nix::Error },
    /// The masters did not answer, or answered no.
    #[error("{what}: {source}")]
    Api { what: String, source: Box<kube::Error> },
    /// No masters are configured, and this needs them.
    #[error("{0} needs the API server, and this node has none")]
    NoMasters(String),
    /// The container's specification cannot be turned into a configuration.
    #[error("{0}")]
    ContainerConfig(String),
    /// A volume cannot be made ready.
    #[error("{0}")]
    Volume(String),
    /// The image is not there and must not be pulled.
    #[error("Container image {0:?} is not present with pull policy of Never")]
    ImageNeverPull(String),
    /// The pull failed just now.
    #[error("{0}")]
    ImagePull(String),
    /// The pull failed before; the next try comes later.
    #[error("Back-off pulling image {image:?}: {message}")]
    ImageBackOff { image: String, message: String },
    /// The image's name cannot be read.
    #[error("couldn't parse image reference {0:?}: invalid reference format")]
    InvalidImage(String),
    /// The container was created but did not start.
    #[error("{0}")]
    RunContainer(String),
    /// The postStart hook failed.
    #[error("PostStartHook failed: {0}")]
    PostStart(String),
    /// The serving certificate or its key.
    #[error("kubelet server: {0}")]
    Server(String),
}

impl Error {
    /// Turns an I/O error on `path` into an [`Error`]; for `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Turns an API error into an [`Error`]; for `map_err`.
    pub(crate) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api { what, source: Box::new(source) }
    }

    /// Whether the API server says that the object does not exist.
    pub(crate) fn is_api_not_found(&self) -> bool {
        self.api_code() == Some(404)
    }

    /// What the API server answered, if it did.
    pub(crate) fn api_code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// The reason in a waiting container's status.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::ContainerConfig(_) | Self::Api { .. } | Self::NoMasters(_) => {
                "CreateContainerConfigError"
            }
            Self::ImageNeverPull(_) => "ErrImageNeverPull",
            Self::ImagePull(_) => "ErrImagePull",
            Self::ImageBackOff { .. } => "ImagePullBackOff",
            Self::InvalidImage(_) => "InvalidImageName",
            Self::RunContainer(_) => "RunContainerError",
            Self::PostStart(_) => "PostStartHookError",
            Self::Runtime(_) | Self::Io { .. } | Self::Kernel { .. } => "CreateContainerError",
            Self::Volume(_) | Self::Server(_) => "ContainerCreating",
        }
    }
}
