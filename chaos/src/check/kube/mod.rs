//! What must hold of Kubernetes on three masters: one file a check.

mod bound_once;
mod created_once;
mod evictions;
mod one_place;
mod terms;
mod unasked;
mod versions;
mod whole_namespaces;
mod within_capacity;
mod within_quota;

use super::Check;

/// Every one of them by name.
pub(super) const CHECKS: [(&str, Check); 10] = [
    ("bound-once", bound_once::check),
    ("created-once", created_once::check),
    ("evictions", evictions::check),
    ("one-place", one_place::check),
    ("terms", terms::check),
    ("unasked", unasked::check),
    ("versions", versions::check),
    ("whole-namespaces", whole_namespaces::check),
    ("within-capacity", within_capacity::check),
    ("within-quota", within_quota::check),
];

/// What Kubernetes' own programs promise less of.
pub(super) const UPSTREAM: [(&str, Check); 1] = [("within-quota", within_quota::check_upstream)];

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use crate::check::tests::change;
    use crate::history::History;
    use crate::kube::objects::PODS;

    /// A history in which these pods were written, one after the other; null deletes.
    pub(crate) fn pods(versions: &[(&str, Value)]) -> History {
        let keyed = versions.iter().map(|(name, pod)| (format!("{PODS}{name}"), pod.clone(), 0));
        objects(keyed)
    }

    /// The same of any keys, and when they were seen.
    pub(crate) fn objects(versions: impl IntoIterator<Item = (String, Value, u64)>) -> History {
        let mut history = History::default();
        for (revision, (key, object, seen_us)) in (2..).zip(versions) {
            let value = if object.is_null() { String::new() } else { object.to_string() };
            let mut change = change(revision, &[(&key, &value)]);
            change.seen_us = seen_us;
            history.changes.insert(revision, change);
        }
        history
    }
}
