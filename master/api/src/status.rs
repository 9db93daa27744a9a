//! Refusals of the API, each with its HTTP code, reason and message as upstream words them.
//!
//! Whoever refuses builds a variant; only the outermost layer turns it into a `Status` body.

use serde_json::{Map, Value, json};
use thiserror::Error;

pub use crate::field::{FieldError, FieldErrorKind, FieldPath, aggregate};

/// A group and a plural, or a group and a kind: what a refusal is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Empty for the core group.
    pub group: String,
    /// The plural (`pods`); in [`ApiError::Invalid`] the kind (`Pod`).
    pub name: String,
}

impl Subject {
    /// A group and a name.
    pub fn new(group: impl Into<String>, name: impl Into<String>) -> Self {
        Self { group: group.into(), name: name.into() }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.group.as_str() {
            "" => f.write_str(&self.name),
            group => write!(f, "{}.{group}", self.name),
        }
    }
}

/// Why the API refused a request.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ApiError {
    /// The request makes no sense as it is.
    #[error("{0}")]
    BadRequest(String),
    /// Nobody knows who asks.
    #[error("Unauthorized")]
    Unauthorized,
    /// `message` is what follows `is forbidden: `.
    #[error("{}", forbidden(subject, name, message))]
    Forbidden { subject: Subject, name: String, message: String },
    /// An administrator's policy refuses it, for a reason of the policy's.
    #[error("{}", forbidden(subject, name, message))]
    Denied { subject: Subject, name: String, message: String, reason: String },
    /// Nothing is made any more in a namespace that goes.
    #[error("{}", forbidden(subject, name, &format!("unable to create new content in namespace {namespace} because it is being terminated")))]
    NamespaceTerminating { subject: Subject, name: String, namespace: String },
    /// There is no such object.
    #[error("{subject} {name:?} not found")]
    NotFound { subject: Subject, name: String },
    /// A path or a kind that is not served at all.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// A path that is no part of any API: answered in plain text.
    #[error("404 page not found")]
    NoSuchPage,
    /// The path is there, but not for this method.
    #[error("the server does not allow this method on the requested resource")]
    NoSuchMethod,
    /// There is such an object already.
    #[error("{subject} {name:?} already exists")]
    AlreadyExists { subject: Subject, name: String },
    /// Every name that was drawn is taken.
    #[error(
        "{subject} {name:?} already exists, the server was not able to generate a unique name for the object"
    )]
    GenerateName { subject: Subject, name: String },
    /// The object is not as the client thinks it is.
    #[error("Operation cannot be fulfilled on {subject} {name:?}: {message}")]
    Conflict { subject: Subject, name: String, message: String },
    /// Server-side apply met fields of other managers.
    #[error("{message}")]
    ApplyConflict { message: String, causes: Vec<Cause> },
    /// The revision was compacted, or the continue token is too old.
    #[error("{0}")]
    Expired(String),
    /// It was there, and will not come back.
    #[error("{0}")]
    Gone(String),
    /// The object breaks rules, each named by field.
    #[error("{}", invalid(kind, name, errors))]
    Invalid { kind: Subject, name: String, errors: Vec<FieldError> },
    /// The request is well formed but cannot be carried out on this object: a patch that does not fit.
    #[error("the server rejected our request due to an error in our request: {0}")]
    Unprocessable(String),
    /// The kind does not have this verb.
    #[error("{action} is not supported on resources of kind \"{subject}\"")]
    MethodNotAllowed { subject: Subject, action: String },
    /// The server cannot answer in the form that is asked for.
    #[error("only the following media types are accepted: {}", accepted.join(", "))]
    NotAcceptable { accepted: Vec<String> },
    /// The form that is asked for is not one of what is asked for.
    #[error("{0}")]
    NoSuchForm(String),
    /// The server cannot read the form that was sent.
    #[error("the body of the request was in an unknown format - accepted media types include: {}", accepted.join(", "))]
    UnsupportedMediaType { accepted: Vec<String> },
    /// Too much at once; later.
    #[error("{message}")]
    TooManyRequests { message: String, retry_after_s: u32, causes: Vec<Cause> },
    /// The body is too large.
    #[error("Request entity too large: {0}")]
    TooLarge(String),
    /// The server did not manage in time; trying again may help.
    #[error(
        "The {operation} operation against {subject} could not be completed at this time, please try again."
    )]
    ServerTimeout { subject: Subject, operation: String, retry_after_s: u32 },
    /// The request took too long.
    #[error("Timeout: {0}")]
    Timeout(String),
    /// A version that is not there yet. It may come.
    #[error("Timeout: Too large resource version: {asked}, current: {current}")]
    VersionTooLarge { asked: i64, current: i64 },
    /// The server cannot serve at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// An applied configuration that does not fit its kind's schema. Upstream has no reason for it, and 500.
    #[error("{0}")]
    Untyped(String),
    /// The server is wrong.
    #[error("Internal error occurred: {0}")]
    Internal(String),
}

/// One entry of `Status.details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// A machine-readable word.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Which field it is about.
    pub field: String,
}

fn forbidden(subject: &Subject, name: &str, message: &str) -> String {
    match (subject.name.as_str(), name) {
        ("", _) => format!("forbidden: {message}"),
        (_, "") => format!("{subject} is forbidden: {message}"),
        _ => format!("{subject} {name:?} is forbidden: {message}"),
    }
}

fn invalid(kind: &Subject, name: &str, errors: &[FieldError]) -> String {
    if errors.is_empty() {
        return format!("{kind} {name:?} is invalid");
    }
    format!("{kind} {name:?} is invalid: {}", aggregate(errors))
}

impl ApiError {
    /// [`ApiError::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest(message.into())
    }

    /// [`ApiError::Internal`].
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::Internal(message.to_string())
    }

    /// [`ApiError::NotFound`] by group, plural and name.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        Self::NotFound { subject: Subject::new(group, plural), name: name.to_owned() }
    }

    /// [`ApiError::AlreadyExists`] by group, plural and name.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        Self::AlreadyExists { subject: Subject::new(group, plural), name: name.to_owned() }
    }

    /// [`ApiError::Forbidden`] by group, plural and name.
    pub fn forbidden(group: &str, plural: &str, name: &str, message: impl Into<String>) -> Self {
        Self::Forbidden {
            subject: Subject::new(group, plural),
            name: name.to_owned(),
            message: message.into(),
        }
    }

    /// [`ApiError::Conflict`] by group, plural and name.
    pub fn conflict(group: &str, plural: &str, name: &str, message: impl Into<String>) -> Self {
        Self::Conflict {
            subject: Subject::new(group, plural),
            name: name.to_owned(),
            message: message.into(),
        }
    }

    /// The usual conflict of optimistic concurrency.
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        let message = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, message)
    }

    /// [`ApiError::Invalid`] by group, kind and name.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: Vec<FieldError>) -> Self {
        Self::Invalid { kind: Subject::new(group, kind), name: name.to_owned(), errors }
    }

    /// [`ApiError::TooManyRequests`] without causes.
    pub fn too_many_requests(message: impl Into<String>, retry_after_s: u32) -> Self {
        Self::TooManyRequests { message: message.into(), retry_after_s, causes: Vec::new() }
    }

    /// The HTTP code.
    pub fn code(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Unauthorized => 401,
            Self::Forbidden { .. } | Self::NamespaceTerminating { .. } => 403,
            Self::Denied { reason, .. } => match reason.as_str() {
                "Forbidden" => 403,
                "Unauthorized" => 401,
                "RequestEntityTooLarge" => 413,
                _ => 422,
            },
            Self::NotFound { .. } | Self::NoSuchPath | Self::NoSuchPage => 404,
            Self::NoSuchMethod | Self::MethodNotAllowed { .. } => 405,
            Self::NotAcceptable { .. } | Self::NoSuchForm(_) => 406,
            Self::AlreadyExists { .. }
            | Self::GenerateName { .. }
            | Self::Conflict { .. }
            | Self::ApplyConflict { .. } => 409,
            Self::Expired(_) | Self::Gone(_) => 410,
            Self::TooLarge(_) => 413,
            Self::UnsupportedMediaType { .. } => 415,
            Self::Invalid { .. } | Self::Unprocessable(_) => 422,
            Self::TooManyRequests { .. } => 429,
            Self::Untyped(_) | Self::Internal(_) | Self::ServerTimeout { .. } => 500,
            Self::Unavailable(_) => 503,
            Self::Timeout(_) | Self::VersionTooLarge { .. } => 504,
        }
    }

    /// `Status.reason`.
    pub fn reason(&self) -> &str {
        match self {
            Self::BadRequest(_) => "BadRequest",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden { .. } | Self::NamespaceTerminating { .. } => "Forbidden",
            Self::Denied { reason, .. } => reason,
            Self::NotFound { .. } | Self::NoSuchPath | Self::NoSuchPage => "NotFound",
            Self::NoSuchMethod | Self::MethodNotAllowed { .. } => "MethodNotAllowed",
            Self::NotAcceptable { .. } | Self::NoSuchForm(_) => "NotAcceptable",
            Self::AlreadyExists { .. } | Self::GenerateName { .. } => "AlreadyExists",
            Self::Conflict { .. } | Self::ApplyConflict { .. } => "Conflict",
            Self::Expired(_) => "Expired",
            Self::Gone(_) => "Gone",
            Self::TooLarge(_) => "RequestEntityTooLarge",
            Self::UnsupportedMediaType { .. } => "UnsupportedMediaType",
            Self::Invalid { .. } | Self::Unprocessable(_) => "Invalid",
            Self::TooManyRequests { .. } => "TooManyRequests",
            Self::Untyped(_) => "",
            Self::Internal(_) => "InternalError",
            Self::ServerTimeout { .. } => "ServerTimeout",
            Self::Unavailable(_) => "ServiceUnavailable",
            Self::Timeout(_) | Self::VersionTooLarge { .. } => "Timeout",
        }
    }

    /// Seconds for a `Retry-After` header, where waiting helps.
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::TooManyRequests { retry_after_s, .. }
            | Self::ServerTimeout { retry_after_s, .. } => Some(*retry_after_s).filter(|s| *s > 0),
            Self::GenerateName { .. } | Self::VersionTooLarge { .. } => Some(1),
            _ => None,
        }
    }

    /// The `Status` object that is the body of the reply.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "code": self.code(),
        });
        if !self.reason().is_empty() {
            status["reason"] = self.reason().into();
        }
        let mut details = self.details();
        if let Some(retry) = self.retry_after_s() {
            details.insert("retryAfterSeconds".into(), retry.into());
        }
        // Upstream's generic refusals have details without anything in them.
        if !details.is_empty()
            || matches!(
                self,
                Self::NoSuchPath
                    | Self::NoSuchMethod
                    | Self::Unprocessable(_)
                    | Self::Forbidden { .. }
            )
        {
            status["details"] = Value::Object(details);
        }
        status
    }

    fn details(&self) -> Map<String, Value> {
        let (subject, name) = match self {
            Self::Forbidden { subject, name, .. }
            | Self::NamespaceTerminating { subject, name, .. }
            | Self::Denied { subject, name, .. }
            | Self::NotFound { subject, name }
            | Self::AlreadyExists { subject, name }
            | Self::GenerateName { subject, name }
            | Self::Conflict { subject, name, .. }
            | Self::Invalid { kind: subject, name, .. }
            | Self::ServerTimeout { subject, operation: name, .. } => (subject, name.as_str()),
            Self::MethodNotAllowed { subject, .. } => (subject, ""),
            _ => (&Subject::default(), ""),
        };
        let mut details = Map::new();
        for (key, text) in [("name", name), ("group", &subject.group), ("kind", &subject.name)] {
            if !text.is_empty() {
                details.insert(key.into(), text.into());
            }
        }
        let causes: Vec<Value> = self.causes().iter().map(cause_value).collect();
        if !causes.is_empty() {
            details.insert("causes".into(), causes.into());
        }
        details
    }

    fn causes(&self) -> Vec<Cause> {
        match self {
            Self::Invalid { errors, .. } => errors
                .iter()
                .map(|error| Cause {
                    reason: error.kind.reason().to_owned(),
                    message: error.body(),
                    field: error.field.clone(),
                })
                .collect(),
            Self::ApplyConflict { causes, .. } | Self::TooManyRequests { causes, .. } => {
                causes.clone()
            }
            Self::NamespaceTerminating { namespace, .. } => vec![Cause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            }],
            Self::VersionTooLarge { .. } => vec![Cause {
                reason: "ResourceVersionTooLarge".to_owned(),
                message: "Too large resource version".to_owned(),
                ..Cause::default()
            }],
            Self::Denied { message, .. } | Self::Internal(message) => {
                vec![Cause { message: message.clone(), ..Cause::default() }]
            }
            _ => Vec::new(),
        }
    }
}

fn cause_value(cause: &Cause) -> Value {
    let mut value = Map::new();
    for (key, text) in
        [("reason", &cause.reason), ("message", &cause.message), ("field", &cause.field)]
    {
        if !text.is_empty() {
            value.insert(key.into(), text.as_str().into());
        }
    }
    Value::Object(value)
}

/// The `Status` of something that succeeded without an object to show, for instance a delete.
pub fn success(group: &str, plural: &str, name: &str, uid: &str) -> Value {
    let mut details = Map::new();
    for (key, text) in [("name", name), ("group", group), ("kind", plural), ("uid", uid)] {
        if !text.is_empty() {
            details.insert(key.into(), text.into());
        }
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// The `Status` of something that was done and leaves nothing to show: a binding, an eviction.
pub fn done(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstream_writes_them() {
        #[rustfmt::skip]
        let cases = [
            (ApiError::not_found("", "pods", "x"), 404, "pods \"x\" not found"),
            (ApiError::not_found("apps", "deployments", "x"), 404, "deployments.apps \"x\" not found"),
            (ApiError::already_exists("", "pods", "x"), 409, "pods \"x\" already exists"),
            (ApiError::forbidden("", "pods", "", "no"), 403, "pods is forbidden: no"),
            (ApiError::forbidden("", "pods", "x", "no"), 403, "pods \"x\" is forbidden: no"),
            (ApiError::forbidden("", "", "", "no"), 403, "forbidden: no"),
            (ApiError::NamespaceTerminating { subject: Subject::new("", "pods"), name: "x".into(), namespace: "n".into() }, 403,
             "pods \"x\" is forbidden: unable to create new content in namespace n because it is being terminated"),
            (ApiError::modified("", "pods", "x"), 409,
             "Operation cannot be fulfilled on pods \"x\": the object has been modified; please apply your changes to the latest version and try again"),
            (ApiError::invalid("apps", "Deployment", "d", vec![FieldError::required("spec.selector", "")]), 422,
             "Deployment.apps \"d\" is invalid: spec.selector: Required value"),
        ];
        for (error, code, message) in cases {
            let status = error.to_status();
            assert_eq!(
                (status["code"].as_u64(), status["message"].as_str()),
                (Some(code), Some(message))
            );
        }
    }

    /// By which clients know that there is no use in trying again.
    #[test]
    fn a_namespace_that_goes_is_a_cause_of_its_own() {
        let subject = Subject::new("", "pods");
        let error =
            ApiError::NamespaceTerminating { subject, name: "x".into(), namespace: "n".into() };
        let cause = json!({"reason": "NamespaceTerminating", "field": "metadata.namespace",
            "message": "namespace n is being terminated"});
        let expected = json!({"name": "x", "kind": "pods", "causes": [cause]});
        assert_eq!(error.to_status()["details"], expected);
    }

    #[test]
    fn invalid_carries_a_cause_for_each_finding() {
        let errors =
            vec![FieldError::invalid("spec.replicas", -1, "must be greater than or equal to 0")];
        let status = ApiError::invalid("apps", "Deployment", "d", errors).to_status();
        assert_eq!(
            status["details"],
            json!({"name": "d", "group": "apps", "kind": "Deployment", "causes": [{
                "reason": "FieldValueInvalid",
                "message": "Invalid value: -1: must be greater than or equal to 0",
                "field": "spec.replicas",
            }]})
        );
    }
}
