//! What can go wrong while a controller acts.

use kube::core::Status;

/// Why one look at one object ended early; the key is tried again later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused, or could not be asked.
    #[error("{0}")]
    Api(#[from] kube::Error),
    /// An answer or this master's own copy took too long.
    #[error("{0} took too long")]
    TooLate(&'static str),
    /// An object does not say what it must.
    #[error("{0}")]
    Malformed(String),
    /// Several writes of a batch failed; the first of them.
    #[error("{failed} of {tried} writes failed, the first: {first}")]
    Batch { failed: usize, tried: usize, first: Box<Error> },
}

impl Error {
    fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            Self::Batch { first, .. } => first.status(),
            Self::Api(_) | Self::TooLate(_) | Self::Malformed(_) => None,
        }
    }

    /// The object is not there (any more).
    pub(crate) fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// An object of this name is there already.
    pub(crate) fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|status| status.reason == "AlreadyExists")
    }

    /// The object changed since it was read.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.reason == "Conflict")
    }

    /// Nothing can be created in the namespace: it is going away.
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        self.status().is_some_and(|status| {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let caused = causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating");
            caused || (status.code == 403 && status.message.contains("is being terminated"))
        })
    }

    /// What the server said, or the error as text.
    pub(crate) fn message(&self) -> String {
        self.status().map_or_else(|| self.to_string(), |status| status.message.clone())
    }
}

/// `Ok` also if what was to be deleted is gone, or what was to be written has changed or vanished:
/// the change that did it brings the key back.
pub(crate) trait Forgive {
    /// Not-found is success.
    fn or_gone(self) -> Result<(), Error>;
}

impl<T> Forgive for Result<T, Error> {
    fn or_gone(self) -> Result<(), Error> {
        match self {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
