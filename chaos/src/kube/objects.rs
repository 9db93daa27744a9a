//! Objects as the store's history tells them.

use serde_json::Value;
use store_handle::Revision;

use crate::history::{History, Revised, Write};

/// Where pods are kept.
pub(crate) const PODS: &str = "/registry/core/pods/";
/// Where config maps are kept.
pub(crate) const CONFIG_MAPS: &str = "/registry/core/configmaps/";
/// Where deployments are kept.
pub(crate) const DEPLOYMENTS: &str = "/registry/apps/deployments/";
/// Where StatefulSets are kept.
pub(crate) const SETS: &str = "/registry/apps/statefulsets/";
/// Where namespaces are kept.
pub(crate) const NAMESPACES: &str = "/registry/core/namespaces/";
/// Where nodes are kept.
pub(crate) const NODES: &str = "/registry/core/nodes/";

/// One object as one revision left it.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) revision: Revision,
    pub(crate) seen_us: u64,
    /// What follows the prefix.
    pub(crate) name: String,
    /// `None`: it was deleted.
    pub(crate) object: Option<Value>,
}

/// Every version of the objects below a prefix, in order.
pub(crate) fn versions<'a>(
    history: &'a History,
    prefix: &'static str,
) -> impl Iterator<Item = Version> + 'a {
    history.changes.values().flat_map(move |change| {
        change.writes.iter().filter_map(move |write| version(change, write, prefix))
    })
}

fn version(change: &Revised, write: &Write, prefix: &str) -> Option<Version> {
    let name = write.key.strip_prefix(prefix)?.to_owned();
    let object = write.value.as_deref().and_then(|value| serde_json::from_str(value).ok());
    Some(Version { revision: change.revision, seen_us: change.seen_us, name, object })
}

/// The text at a path; empty if there is none.
pub(crate) fn text<'v>(object: &'v Value, path: &[&str]) -> &'v str {
    path.iter().fold(object, |value, part| &value[*part]).as_str().unwrap_or_default()
}

/// A list at a path.
pub(crate) fn list<'v>(object: &'v Value, path: &[&str]) -> &'v [Value] {
    let found = path.iter().fold(object, |value, part| &value[*part]);
    found.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a pod has ended and holds nothing any more.
pub(crate) fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// A quantity of CPU in thousandths, as these simulations write it: `200m` or `2`.
pub(crate) fn millis(quantity: &str) -> u64 {
    match quantity.strip_suffix('m') {
        Some(millis) => millis.parse().unwrap_or(0),
        None => quantity.parse::<u64>().unwrap_or(0) * 1_000,
    }
}
