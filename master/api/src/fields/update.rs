//! What a create, an update or a patch makes its manager own: the fields that it changes.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::compare::{Changes, compare};
use super::entry::{Entry, Managed, Manager, Operation};
use super::{Set, Shape};

/// Which part of an object a way of writing can change; only that part is owned through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    All,
    /// All but the status.
    NoStatus,
    /// The status alone.
    Status,
    /// The status and the metadata.
    StatusAndMetadata,
}

impl Scope {
    /// The part of a set that counts.
    pub(super) fn of(self, set: Set) -> Set {
        match self {
            Self::All => set,
            Self::NoStatus => set.without("f:status"),
            Self::Status => set.only("f:status"),
            Self::StatusAndMetadata => {
                let mut part = set.clone().only("f:status");
                part.add(&set.only("f:metadata"));
                part
            }
        }
    }

    pub(super) fn of_changes(self, changes: Changes) -> Changes {
        Changes {
            added: self.of(changes.added),
            modified: self.of(changes.modified),
            removed: self.of(changes.removed),
        }
    }
}

/// A write that is no apply.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Who writes.
    pub manager: &'a Manager,
    /// What of the object the write can change.
    pub scope: Scope,
    /// What is there; `None` for a create.
    pub old: Option<&'a Value>,
    /// What any object of the kind has before it has any content, where that is known: a create does not add it.
    pub blank: Option<&'a Value>,
    /// Whether its kind has parts that are always there: those that users define have none.
    pub has_parts: bool,
    /// What is to be there.
    pub new: &'a Value,
}

/// Who owns what after a write. The entries of the two objects themselves are not looked at.
///
/// An object that nobody owns anything of stays so until somebody applies.
pub fn update<'a, S: Shape<'a>>(
    shape: Option<S>,
    write: &Update<'_>,
    mut managed: Managed,
) -> Managed {
    if managed.is_empty() && write.old.is_some() {
        return managed;
    }
    let nothing = Value::Object(Map::new());
    let old = write.old.or(write.blank).unwrap_or(&nothing);
    let changes = write.scope.of_changes(compare(shape, Some(old), Some(write.new)));
    let touched = changes.touched();
    for entry in &mut managed.0 {
        entry.fields.subtract(&touched);
        entry.fields.subtract(&changes.removed);
    }
    managed.0.retain(|entry| !entry.fields.is_empty());
    let mut owned = stripped(touched);
    if write.has_parts {
        owned.unmark(&PARTS, write.new);
    }
    if !owned.is_empty() {
        let own = managed.0.iter_mut().find(|entry| entry.is_of(write.manager, Operation::Update));
        let mut entry = Entry::new(write.manager, Operation::Update, owned);
        match own {
            Some(found) => {
                entry.fields.add(&found.fields);
                *found = entry;
            }
            None => managed.0.push(entry),
        }
    }
    managed.cap();
    managed
}

/// Without what the server says of an object: nobody owns its name.
pub(super) fn stripped(mut set: Set) -> Set {
    static SYSTEM: LazyLock<Set> = LazyLock::new(|| {
        let fields = json!({
            "f:apiVersion": {},
            "f:kind": {},
            "f:metadata": {
                ".": {}, "f:clusterName": {}, "f:creationTimestamp": {}, "f:generation": {},
                "f:managedFields": {}, "f:name": {}, "f:namespace": {}, "f:resourceVersion": {},
                "f:selfLink": {}, "f:uid": {},
            },
        });
        Set::read(&fields).expect("a constant")
    });
    set.subtract(&SYSTEM);
    set
}

/// The parts that an object of a kind has even before it has any content: Go's structs within structs. Nobody owns them
/// as such.
const PARTS: [&str; 15] = [
    "containers",
    "daemonEndpoints",
    "jobTemplate",
    "kubeletEndpoint",
    "loadBalancer",
    "metadata",
    "nodeInfo",
    "priorityLevelConfiguration",
    "resources",
    "scaleTargetRef",
    "spec",
    "status",
    "strategy",
    "template",
    "updateStrategy",
];
