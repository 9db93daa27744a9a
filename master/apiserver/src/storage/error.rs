//! What the store's refusals mean to a client: one exhaustive table.

use master_api::status::ApiError;
use store_handle::{Error, ProposeError, ReadError};

/// Why a write has no outcome. `NotProposed` may be sent again at once (503 with Retry-After);
/// `Unknown` must not be sent again blindly (504, no Retry-After: nothing repeats a `generateName`).
pub fn propose_error(error: ProposeError) -> ApiError {
    match error {
        ProposeError::Refused(refusal) => refused(refusal),
        ProposeError::NotProposed { reason } => {
            ApiError::Unavailable(format!("the store has not taken the request: {reason}"))
        }
        // As kube-apiserver passes on what etcd says.
        ProposeError::NoSpace { reason } => {
            ApiError::Internal(format!("etcdserver: mvcc: database space exceeded: {reason}"))
        }
        ProposeError::Unknown { reason } => {
            ApiError::Timeout(format!("request did not complete, its outcome is unknown: {reason}"))
        }
    }
}

/// Why a read has no answer.
pub fn read_error(error: ReadError) -> ApiError {
    match error {
        ReadError::Refused(refusal) => refused(refusal),
        ReadError::NoQuorum { reason } => {
            ApiError::Unavailable(format!("the store has no quorum: {reason}"))
        }
        ReadError::Unreadable { reason } => ApiError::Internal(format!("store: {reason}")),
    }
}

fn refused(error: Error) -> ApiError {
    match error {
        Error::Compacted { .. } => expired(),
        Error::FutureRevision { asked, latest } => {
            ApiError::VersionTooLarge { asked, current: latest }
        }
        Error::Fenced { .. } => ApiError::Conflict {
            subject: master_api::status::Subject::new("trireme.dev", "terms"),
            name: String::new(),
            message: format!("this master no longer leads: {error}"),
        },
        Error::KeyNotFound
        | Error::EmptyKey
        | Error::ValueOrLeaseProvided
        | Error::DuplicateKey
        | Error::LeaseNotFound { .. }
        | Error::LeaseExists { .. }
        | Error::LeaseTtlOutOfBounds { .. } => ApiError::Internal(format!("store: {error}")),
    }
}

/// The client is so far behind that it has to read everything anew.
pub fn expired() -> ApiError {
    ApiError::Expired("The resourceVersion for the provided watch is too old.".into())
}

#[cfg(test)]
mod tests {
    use store_handle::Term;

    use super::*;

    #[test]
    fn outcomes_have_the_codes_that_clients_act_on() {
        let refused = |error| propose_error(ProposeError::Refused(error)).code();
        assert_eq!(propose_error(ProposeError::NotProposed { reason: String::new() }).code(), 503);
        assert_eq!(propose_error(ProposeError::NoSpace { reason: String::new() }).code(), 500);
        assert_eq!(propose_error(ProposeError::Unknown { reason: String::new() }).code(), 504);
        assert_eq!(refused(Error::Fenced { proposed: Term(1), applied: Term(2) }), 409);
        assert_eq!(refused(Error::Compacted { asked: 1, oldest: 2 }), 410);
        assert_eq!(refused(Error::KeyNotFound), 500);
    }
}
