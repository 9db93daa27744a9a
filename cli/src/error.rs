//! What a command fails with, in the words that kubectl's users know.

use std::fmt;

use serde::Deserialize;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Error {
    /// A master refused; `doing` says during what, for instance `error when creating "pod.yaml"`.
    Server { status: Box<Status>, doing: Option<String> },
    /// Printed after `error: `.
    Said(String),
    /// Printed as it is.
    Raw(String),
    /// Several failures of one command.
    Many(Vec<Error>),
    /// Everything was said already; or it is a remote process's exit code.
    Exit(i32),
}

/// What commands return.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// The `Status` object of the Kubernetes API, as far as messages need it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    pub message: String,
    pub reason: String,
    pub code: u16,
    pub details: Details,
}

/// What a `Status` is about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Details {
    pub name: String,
    pub kind: String,
    pub causes: Vec<Cause>,
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cause {
    pub reason: String,
    pub field: String,
    pub message: String,
}

/// `error: …`
pub fn said(text: impl Into<String>) -> Error {
    Error::Said(text.into())
}

impl Error {
    /// Adds what was being done, for instance `creating "pod.yaml"`.
    #[must_use]
    pub fn while_doing(self, doing: &str) -> Self {
        match self {
            Self::Server { status, doing: None } => {
                Self::Server { status, doing: Some(format!("error when {doing}")) }
            }
            other => other,
        }
    }

    /// The server's reason, such as `NotFound`; empty if it was not the server that refused.
    pub fn reason(&self) -> &str {
        match self {
            Self::Server { status, .. } => &status.reason,
            _ => "",
        }
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.reason() == "NotFound"
    }

    /// What the process returns.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exit(code) => *code,
            _ => 1,
        }
    }

    /// All of them as one; `Ok` if there is none.
    pub fn all(mut errors: Vec<Self>) -> Result {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Many(errors)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { status, doing } => f.write_str(&server_text(status, doing.as_deref())),
            Self::Said(text) => write!(f, "error: {text}"),
            Self::Raw(text) => f.write_str(text),
            Self::Exit(code) => write!(f, "command terminated with exit code {code}"),
            Self::Many(errors) => {
                let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for Error {}

fn server_text(status: &Status, doing: Option<&str>) -> String {
    if status.reason == "Invalid" && doing.is_none() {
        return invalid_text(status);
    }
    let doing = doing.map(|doing| format!("{doing}: ")).unwrap_or_default();
    match status.reason.as_str() {
        "" => format!("Error from server: {doing}{}", status.message),
        reason => format!("Error from server ({reason}): {doing}{}", status.message),
    }
}

fn invalid_text(status: &Status) -> String {
    let Details { kind, name, causes } = &status.details;
    let subject = match kind.as_str() {
        "" => "The request is invalid".to_owned(),
        _ => format!("The {kind} {name:?} is invalid"),
    };
    let lines: Vec<_> = causes
        .iter()
        .map(|cause| match cause.field.as_str() {
            "" => cause.message.clone(),
            field => format!("{field}: {}", cause.message),
        })
        .collect();
    match lines.as_slice() {
        [] => format!("{subject}: {}", status.message),
        [one] => format!("{subject}: {one}"),
        many => format!("{subject}: \n* {}", many.join("\n* ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(status: serde_json::Value, doing: Option<&str>, wanted: &str) {
        let status = Box::new(serde_json::from_value(status).unwrap());
        let error = Error::Server { status, doing: None };
        let error = doing.map_or_else(|| Error::Exit(1), |doing| error.while_doing(doing));
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn refusals_read_as_kubectl_prints_them() {
        let missing = json!({"reason": "NotFound", "message": "pods \"x\" not found"});
        let error = Error::Server {
            status: Box::new(serde_json::from_value(missing.clone()).unwrap()),
            doing: None,
        };
        assert_eq!(error.to_string(), "Error from server (NotFound): pods \"x\" not found");
        check(
            missing,
            Some("deleting \"p.yaml\""),
            "Error from server (NotFound): error when deleting \"p.yaml\": pods \"x\" not found",
        );
        let invalid = json!({"reason": "Invalid", "message": "long", "details": {"kind": "Pod", "name": "x", "causes": [
            {"field": "spec.a", "message": "Required value"}, {"field": "spec.b", "message": "Invalid value"}]}});
        let error = Error::Server {
            status: Box::new(serde_json::from_value(invalid).unwrap()),
            doing: None,
        };
        assert_eq!(
            error.to_string(),
            "The Pod \"x\" is invalid: \n* spec.a: Required value\n* spec.b: Invalid value"
        );
    }
}
