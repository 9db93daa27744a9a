//! Refusals in etcd's words: gRPC codes and messages that clients compare with their own lists.
//!
//! # Invariants
//! - Every refusal of the store has its row; there is no row for "others".

use store_handle::{Error, ProposeError, ReadError};
use tonic::{Code, Status};

macro_rules! refusals {
    ($($name:ident = $code:ident $text:literal;)*) => {
        $(pub(crate) fn $name() -> Status { Status::new(Code::$code, $text) })*
    };
}

refusals! {
    empty_key = InvalidArgument "etcdserver: key is not provided";
    key_not_found = InvalidArgument "etcdserver: key not found";
    value_provided = InvalidArgument "etcdserver: value is provided";
    lease_provided = InvalidArgument "etcdserver: lease is provided";
    too_many_ops = InvalidArgument "etcdserver: too many operations in txn request";
    duplicate_key = InvalidArgument "etcdserver: duplicate key given in txn request";
    invalid_sort_option = InvalidArgument "etcdserver: invalid sort option";
    request_too_large = InvalidArgument "etcdserver: request is too large";
    compacted = OutOfRange "etcdserver: mvcc: required revision has been compacted";
    future_revision = OutOfRange "etcdserver: mvcc: required revision is a future revision";
    lease_not_found = NotFound "etcdserver: requested lease not found";
    lease_exists = FailedPrecondition "etcdserver: lease already exists";
    lease_ttl_too_large = OutOfRange "etcdserver: too large lease TTL";
    member_not_found = NotFound "etcdserver: member not found";
    member_bad_urls = InvalidArgument "etcdserver: given member URLs are invalid";
    peer_urls_exist = FailedPrecondition "etcdserver: Peer URLs already exists";
    not_enough_started =
        FailedPrecondition "etcdserver: re-configuration failed due to not enough started members";
    too_many_learners =
        FailedPrecondition "etcdserver: too many learner members in cluster";
    member_not_learner = FailedPrecondition "etcdserver: can only promote a learner member";
    learner_not_ready =
        FailedPrecondition "etcdserver: can only promote a learner member which is in sync with leader";
    not_leader = FailedPrecondition "etcdserver: not leader";
    bad_transferee = FailedPrecondition "etcdserver: bad leader transferee";
    no_leader = Unavailable "etcdserver: no leader";
    stopped = Unavailable "etcdserver: server stopped";
    timed_out = Unavailable "etcdserver: request timed out";
    no_space = ResourceExhausted "etcdserver: mvcc: database space exceeded";
    corrupt = DataLoss "etcdserver: corrupt cluster";
    not_for_learners = FailedPrecondition "etcdserver: rpc not supported for learner";
    bad_downgrade_version =
        InvalidArgument "etcdserver: wrong downgrade target version format";
    bad_downgrade_target = InvalidArgument "etcdserver: invalid downgrade target version";
    auth_not_enabled = FailedPrecondition "etcdserver: authentication is not enabled";
}

/// What a lock or an election is refused with. etcd's are clients of their own server, and pass its refusals on
/// without their codes; that nothing was done for want of a leader is still said as such.
pub(crate) fn passed_on(status: Status) -> Status {
    match status.code() {
        Code::Unavailable => status,
        _ => Status::unknown(status.message()),
    }
}

/// A refusal that was decided while applying.
pub(crate) fn of_refusal(error: &Error) -> Status {
    match error {
        Error::Compacted { .. } => compacted(),
        Error::FutureRevision { .. } => future_revision(),
        Error::KeyNotFound => key_not_found(),
        Error::EmptyKey => empty_key(),
        // Which of the two it is has been checked before: see `check`.
        Error::ValueOrLeaseProvided => value_provided(),
        Error::DuplicateKey => duplicate_key(),
        Error::LeaseNotFound { .. } => lease_not_found(),
        Error::LeaseExists { .. } => lease_exists(),
        Error::LeaseTtlOutOfBounds { .. } => lease_ttl_too_large(),
        // No client's command is fenced.
        Error::Fenced { .. } => not_leader(),
    }
}

/// A proposal without a reply. What is unknown is told as a time-out: no client sends it again by itself.
pub(crate) fn of_proposal(error: ProposeError) -> Status {
    match error {
        ProposeError::Refused(refusal) => of_refusal(&refusal),
        ProposeError::NotProposed { reason } => {
            tracing::debug!(reason, "not proposed");
            no_leader()
        }
        ProposeError::NoSpace { .. } => no_space(),
        ProposeError::Unknown { reason } => {
            tracing::debug!(reason, "outcome unknown");
            timed_out()
        }
    }
}

/// A read without a reply.
pub(crate) fn of_read(error: ReadError) -> Status {
    match error {
        ReadError::Refused(refusal) => of_refusal(&refusal),
        ReadError::NoQuorum { reason } => {
            tracing::debug!(reason, "no read index");
            timed_out()
        }
        // Named, for whoever has to look at that member's disk. No client asks again by itself.
        ReadError::Unreadable { reason } => {
            Status::new(Code::DataLoss, format!("etcdserver: {reason}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn situations_have_etcds_codes_and_words() {
        let refused = |error| of_refusal(&error);
        let proposal = of_proposal;
        let reason = || String::from("why");
        #[rustfmt::skip]
        let cases = [
            (refused(Error::EmptyKey),                               Code::InvalidArgument,    "etcdserver: key is not provided"),
            (refused(Error::KeyNotFound),                            Code::InvalidArgument,    "etcdserver: key not found"),
            (refused(Error::ValueOrLeaseProvided),                   Code::InvalidArgument,    "etcdserver: value is provided"),
            (lease_provided(),                                       Code::InvalidArgument,    "etcdserver: lease is provided"),
            (too_many_ops(),                                         Code::InvalidArgument,    "etcdserver: too many operations in txn request"),
            (refused(Error::DuplicateKey),                           Code::InvalidArgument,    "etcdserver: duplicate key given in txn request"),
            (invalid_sort_option(),                                  Code::InvalidArgument,    "etcdserver: invalid sort option"),
            (request_too_large(),                                    Code::InvalidArgument,    "etcdserver: request is too large"),
            (refused(Error::Compacted { asked: 1, oldest: 2 }),      Code::OutOfRange,         "etcdserver: mvcc: required revision has been compacted"),
            (refused(Error::FutureRevision { asked: 2, latest: 1 }), Code::OutOfRange,         "etcdserver: mvcc: required revision is a future revision"),
            (no_space(),                                             Code::ResourceExhausted,  "etcdserver: mvcc: database space exceeded"),
            (refused(Error::LeaseNotFound { id: 1 }),                Code::NotFound,           "etcdserver: requested lease not found"),
            (refused(Error::LeaseExists { id: 1 }),                  Code::FailedPrecondition, "etcdserver: lease already exists"),
            (refused(Error::LeaseTtlOutOfBounds { ttl_s: 0 }),       Code::OutOfRange,         "etcdserver: too large lease TTL"),
            (member_not_found(),                                     Code::NotFound,           "etcdserver: member not found"),
            (member_bad_urls(),                                      Code::InvalidArgument,    "etcdserver: given member URLs are invalid"),
            (peer_urls_exist(),                                      Code::FailedPrecondition, "etcdserver: Peer URLs already exists"),
            (not_enough_started(),                                   Code::FailedPrecondition, "etcdserver: re-configuration failed due to not enough started members"),
            (too_many_learners(),                                    Code::FailedPrecondition, "etcdserver: too many learner members in cluster"),
            (member_not_learner(),                                   Code::FailedPrecondition, "etcdserver: can only promote a learner member"),
            (learner_not_ready(),                                    Code::FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader"),
            (not_leader(),                                           Code::FailedPrecondition, "etcdserver: not leader"),
            (bad_transferee(),                                       Code::FailedPrecondition, "etcdserver: bad leader transferee"),
            (proposal(ProposeError::NotProposed { reason: reason() }), Code::Unavailable,      "etcdserver: no leader"),
            (proposal(ProposeError::Unknown { reason: reason() }),   Code::Unavailable,        "etcdserver: request timed out"),
            (of_read(ReadError::NoQuorum { reason: reason() }),      Code::Unavailable,        "etcdserver: request timed out"),
            (stopped(),                                              Code::Unavailable,        "etcdserver: server stopped"),
            (corrupt(),                                              Code::DataLoss,           "etcdserver: corrupt cluster"),
            (not_for_learners(),                                     Code::FailedPrecondition, "etcdserver: rpc not supported for learner"),
            (bad_downgrade_version(),                                Code::InvalidArgument,    "etcdserver: wrong downgrade target version format"),
            (bad_downgrade_target(),                                 Code::InvalidArgument,    "etcdserver: invalid downgrade target version"),
            (auth_not_enabled(),                                     Code::FailedPrecondition, "etcdserver: authentication is not enabled"),
        ];
        for (found, code, message) in cases {
            assert_eq!((found.code(), found.message()), (code, message));
        }
    }
}
