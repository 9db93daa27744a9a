//! Objects of Kubernetes in a history's lines: watch events as the API tells them, and what they are under the keys of
//! a store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store_handle::Revision;

use crate::history::{History, Revised, Sight, Watched, Write};

/// Kinds that have watchers; where objects of any other are kept follows from its name.
const KINDS: &[(&str, &str, &str)] = &[
    ("v1", "ConfigMap", "/registry/core/configmaps/"),
    ("v1", "Namespace", "/registry/core/namespaces/"),
    ("v1", "Node", "/registry/core/nodes/"),
    ("v1", "Pod", "/registry/core/pods/"),
    ("v1", "ServiceAccount", "/registry/core/serviceaccounts/"),
    ("apps/v1", "Deployment", "/registry/apps/deployments/"),
    ("apps/v1", "ReplicaSet", "/registry/apps/replicasets/"),
    ("apps/v1", "StatefulSet", "/registry/apps/statefulsets/"),
];

/// What an event says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Change {
    Added,
    Modified,
    Deleted,
    /// Nothing happened to the kind up to there.
    Bookmark,
}

/// A watch event; without a watcher it is of nobody in particular, and belongs to what happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Event {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watcher: Option<u32>,
    /// When it was first told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_us: Option<u64>,
    #[serde(rename = "type")]
    change: Change,
    object: Value,
}

/// A list by which a watcher begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    watcher: u32,
    api_version: String,
    kind: String,
    resource_version: String,
}

/// What happened, as events, and what of it objects do not tell.
pub(super) fn events(history: &History) -> (Vec<Event>, Vec<Revised>) {
    let (mut events, mut others) = (Vec::new(), Vec::new());
    let mut uids: BTreeMap<&str, String> = BTreeMap::new();
    for change in history.changes.values() {
        let mut rest = Vec::new();
        for write in &change.writes {
            let Some(mut object) = object(change.revision, write) else {
                rest.push(write.clone());
                continue;
            };
            let (is_new, uid) = (!uids.contains_key(&*write.key), uid(&object));
            let kind = match (&write.value, is_new) {
                (None, _) => Change::Deleted,
                (Some(_), true) => Change::Added,
                (Some(_), false) => Change::Modified,
            };
            if kind == Change::Deleted {
                // What is deleted was there.
                if let Some(uid) = uids.remove(&*write.key) {
                    object["metadata"]["uid"] = uid.into();
                }
            } else {
                uids.insert(&write.key, uid);
            }
            let seen_us = Some(change.seen_us);
            events.push(Event { watcher: None, seen_us, change: kind, object });
        }
        if !rest.is_empty() || change.writes.is_empty() {
            others.push(Revised { writes: rest, ..change.clone() });
        }
    }
    (events, others)
}

/// What a watcher of one kind saw, as the API told it; nothing, if it is no such watcher.
pub(super) enum Told {
    List(List),
    Event(Event),
}

/// See [`Told`].
pub(super) fn told(watched: &Watched) -> Option<Told> {
    let (api_version, kind, _) = KINDS.iter().find(|(_, _, prefix)| *prefix == watched.prefix)?;
    let event = |change, object| {
        Told::Event(Event { watcher: Some(watched.watcher), seen_us: None, change, object })
    };
    match &watched.sight {
        Sight::Begins { after } => Some(Told::List(List {
            watcher: watched.watcher,
            api_version: (*api_version).to_owned(),
            kind: (*kind).to_owned(),
            resource_version: after.to_string(),
        })),
        Sight::Events { revision, writes } => {
            let [write] = &writes[..] else { return None };
            let change = if write.value.is_some() { Change::Modified } else { Change::Deleted };
            Some(event(change, object(*revision, write)?))
        }
        Sight::Progress { revision } => {
            let metadata = json!({"resourceVersion": revision.to_string()});
            let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
            Some(event(Change::Bookmark, object))
        }
    }
}

/// Takes an event into a history; what is strange about it, if anything is.
pub(super) fn take_event(history: &mut History, event: Event) -> Result<(), String> {
    let Event { watcher, seen_us, change, object } = event;
    let prefix = prefix(text(&object, "apiVersion"), text(&object, "kind"))?;
    let metadata = &object["metadata"];
    let revision = version(text(metadata, "resourceVersion"))?;
    let see = |history: &mut History, sight| {
        let watched = |watcher| Watched { watcher, prefix: prefix.clone(), sight };
        history.watched.extend(watcher.map(watched));
    };
    if change == Change::Bookmark {
        see(history, Sight::Progress { revision });
        return Ok(());
    }
    let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
    let key = match (namespace, name) {
        (_, "") => return Err("an object without a name".into()),
        ("", name) => format!("{prefix}{name}"),
        (namespace, name) => format!("{prefix}{namespace}/{name}"),
    };
    let value = (change != Change::Deleted).then(|| plain(object.clone()).to_string());
    let write = Write { key, value };
    let seen_us = seen_us.unwrap_or_default();
    let known = history.changes.entry(revision);
    let known = known.or_insert_with(|| Revised { revision, seen_us, writes: Vec::new() });
    match known.writes.iter().find(|known| known.key == write.key) {
        // Of a watcher, the check of watches says so.
        Some(known) if *known != write && watcher.is_none() => {
            return Err(format!("revision {revision} is told to make two things of {}", write.key));
        }
        Some(_) => {}
        None => known.writes.push(write.clone()),
    }
    see(history, Sight::Events { revision, writes: vec![write] });
    Ok(())
}

/// The same of a list.
pub(super) fn take_list(history: &mut History, list: &List) -> Result<(), String> {
    let prefix = prefix(&list.api_version, &list.kind)?;
    let after = version(&list.resource_version)?;
    let sight = Sight::Begins { after };
    history.watched.push(Watched { watcher: list.watcher, prefix, sight });
    Ok(())
}

/// An object as the API tells it, if that is what was written.
fn object(revision: Revision, write: &Write) -> Option<Value> {
    let of = |(_, _, prefix): &&(&str, &str, &str)| write.key.starts_with(prefix);
    let (api_version, kind, prefix) = KINDS.iter().find(of)?;
    let name = write.key.strip_prefix(prefix)?;
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, name),
    };
    let mut object = match &write.value {
        Some(value) => {
            let object: Value = serde_json::from_str(value).ok()?;
            let metadata = &object["metadata"];
            let is_it = metadata["name"].as_str() == Some(name)
                && metadata["namespace"].as_str() == namespace
                && text(metadata, "resourceVersion") == revision.to_string();
            let read_back = plain(object.clone()).to_string();
            (is_it && read_back == *value).then_some(object)?
        }
        None => {
            let mut metadata = json!({"name": name, "resourceVersion": revision.to_string()});
            if let Some(namespace) = namespace {
                metadata["namespace"] = namespace.into();
            }
            json!({ "metadata": metadata })
        }
    };
    object["apiVersion"] = (*api_version).into();
    object["kind"] = (*kind).into();
    Some(object)
}

/// An object without its kind, as lists tell it.
fn plain(object: Value) -> Value {
    let Value::Object(mut fields) = object else { return object };
    fields.remove("apiVersion");
    fields.remove("kind");
    Value::Object(fields)
}

/// Where objects of a kind are kept.
fn prefix(api_version: &str, kind: &str) -> Result<String, String> {
    if kind.is_empty() || api_version.is_empty() {
        return Err("an object says its apiVersion and its kind".into());
    }
    let known = KINDS.iter().find(|known| (known.0, known.1) == (api_version, kind));
    let group = api_version.split_once('/').map_or("core", |(group, _)| group);
    let other = || format!("/registry/{group}/{}s/", kind.to_lowercase());
    Ok(known.map_or_else(other, |(_, _, prefix)| (*prefix).to_owned()))
}

fn version(text: &str) -> Result<Revision, String> {
    text.parse()
        .map_err(|_| format!("resourceVersion {text:?} is no number, of a list or an object"))
}

fn text<'v>(object: &'v Value, field: &str) -> &'v str {
    object[field].as_str().unwrap_or_default()
}

fn uid(object: &Value) -> String {
    text(&object["metadata"], "uid").to_owned()
}
