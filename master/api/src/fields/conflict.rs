//! Fields that somebody else owns, in the words that upstream finds for them.

use std::collections::BTreeMap;

use super::entry::{Entry, Operation};
use super::{Set, step};
use crate::status::{ApiError, Cause};

/// One field of another manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager: `"kubectl" using apps/v1`.
    pub manager: String,
    /// Its steps.
    pub path: Vec<String>,
}

/// All fields in which an apply would change what others own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflicts {
    pub(super) fn push(&mut self, entry: &Entry, fields: &Set) {
        let manager = shown(entry);
        let conflict = |path| Conflict { manager: manager.clone(), path };
        self.0.extend(fields.paths().into_iter().map(conflict));
    }

    /// Those that are not in a set.
    pub(super) fn without(mut self, allowed: &Set) -> Self {
        let is_allowed = |path: &[String]| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            !Set::path(&path).intersection(allowed).is_empty()
        };
        self.0.retain(|conflict| !is_allowed(&conflict.path));
        self
    }
}

impl From<Conflicts> for ApiError {
    fn from(Conflicts(found): Conflicts) -> Self {
        let cause = |conflict: &Conflict| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", conflict.manager),
            field: step::shown(&conflict.path),
        };
        Self::ApplyConflict { causes: found.iter().map(cause).collect(), message: message(&found) }
    }
}

fn message(found: &[Conflict]) -> String {
    if let [only] = found {
        let path = step::shown(&only.path);
        return format!("Apply failed with 1 conflict: conflict with {}: {path}", only.manager);
    }
    let mut by_manager: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for conflict in found {
        by_manager.entry(&conflict.manager).or_default().push(step::shown(&conflict.path));
    }
    let mut lines = Vec::new();
    for (manager, paths) in by_manager {
        lines.push(format!("conflicts with {manager}:"));
        lines.extend(paths.into_iter().map(|path| format!("- {path}")));
    }
    format!("Apply failed with {} conflicts: {}", found.len(), lines.join("\n"))
}

/// A manager, as messages name it.
fn shown(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == Operation::Update {
        text.push_str(&format!(" using {}", entry.api_version));
    }
    text
}
