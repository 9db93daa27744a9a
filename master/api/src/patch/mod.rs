//! The patches a client may send: JSON patch, merge patch, strategic merge patch.
//!
//! Pure functions on values. What the merged object looks like is then for its schema to judge.

mod json;
mod merge;
mod strategic;

use serde_json::Value;
use thiserror::Error;

pub use json::json_patch;
pub use merge::merge_patch;
pub use strategic::strategic_merge;

use crate::status::ApiError;

/// The content types of a PATCH request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Upstream's own: lists merge by key.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// Reads a `Content-Type`.
    ///
    /// # Errors
    /// `UnsupportedMediaType`.
    pub fn parse(content_type: &str) -> Result<Self, ApiError> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(ApiError::UnsupportedMediaType {
                accepted: [
                    "application/json-patch+json",
                    "application/merge-patch+json",
                    "application/apply-patch+yaml",
                    "application/strategic-merge-patch+json",
                ]
                .map(str::to_owned)
                .to_vec(),
            }),
        }
    }
}

/// Why a patch was not applied.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatchError {
    /// The patch itself has the wrong form.
    #[error("{0}")]
    Malformed(String),
    /// The same, where upstream has no reason for it, and 500.
    #[error("{0}")]
    Untold(String),
    /// The patch does not fit the object.
    #[error("{0}")]
    DoesNotApply(String),
    /// The patch would do too much work.
    #[error("{0}")]
    TooLarge(String),
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Malformed(text) => Self::BadRequest(text),
            PatchError::Untold(text) => Self::Untyped(text),
            PatchError::DoesNotApply(text) => Self::Unprocessable(text),
            PatchError::TooLarge(text) => Self::TooLarge(text),
        }
    }
}

/// How a strategic merge treats one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Merge {
    /// Lists are replaced, objects merged.
    #[default]
    Plain,
    /// A list of scalars is a set.
    Set,
    /// A list of objects merges by the value of this key.
    ByKey(&'static str),
    /// An object is replaced.
    Replace,
}

/// What a strategic merge has to know of types: a cursor on one of them.
pub trait PatchMeta: Sized {
    /// How the field of that name merges, and the type of its value, or of a list's items.
    fn field(&self, name: &str) -> (Merge, Self);

    /// What messages call the type.
    fn name(&self) -> String {
        String::new()
    }
}

/// A value in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
