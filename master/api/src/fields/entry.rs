//! `metadata.managedFields`: who owns what, one entry for each manager, operation and subresource.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ANCIENT, Set, UPDATERS_MAX};
use crate::{meta, time};

/// How a manager wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply: it says all that it wants, each time.
    Apply,
    /// By any other verb: it owns what it has changed.
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who writes, through what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// The field manager's name.
    pub name: String,
    /// Of the kind as it was written: `apps/v1`.
    pub api_version: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// When the write happens.
    pub now: Timestamp,
}

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The manager's name.
    pub manager: String,
    /// How it wrote.
    pub operation: Operation,
    /// The version it wrote in.
    pub api_version: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// When it last changed anything, as objects record it; empty if never.
    pub time: String,
    /// What it owns.
    pub fields: Set,
}

impl Entry {
    pub(super) fn new(manager: &Manager, operation: Operation, fields: Set) -> Self {
        Self {
            manager: manager.name.clone(),
            operation,
            api_version: manager.api_version.clone(),
            subresource: manager.subresource.clone(),
            time: time::seconds(manager.now),
            fields,
        }
    }

    /// Whether it is the entry of this manager. One that applies has one entry whatever the version.
    pub(super) fn is_of(&self, manager: &Manager, operation: Operation) -> bool {
        self.operation == operation
            && self.manager == manager.name
            && self.subresource == manager.subresource
            && (operation == Operation::Apply || self.api_version == manager.api_version)
    }

    fn read(mut value: Value, fields: fn(Value) -> Option<Set>) -> Option<Self> {
        let operation = match meta::text(&value, &["operation"]) {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let mut take = |name: &str| match value.get_mut(name).map(Value::take) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (manager, api_version) = (take("manager"), take("apiVersion"));
        let (subresource, time) = (take("subresource"), take("time"));
        if api_version.is_empty() || take("fieldsType") != "FieldsV1" {
            return None;
        }
        let fields = match value.get_mut("fieldsV1").map(Value::take) {
            Some(found) => fields(found)?,
            None => Set::default(),
        };
        Some(Self { manager, operation, api_version, subresource, time, fields })
    }

    fn into_value(self) -> Value {
        let mut value = json!({
            "manager": self.manager,
            "operation": self.operation.name(),
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
        });
        value["fieldsV1"] = self.fields.into_value();
        for (name, text) in [("subresource", self.subresource), ("time", self.time)] {
            if !text.is_empty() {
                value[name] = text.into();
            }
        }
        value
    }
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managed(pub(super) Vec<Entry>);

impl Managed {
    /// Reads `metadata.managedFields` that somebody else wrote; `None` for what is no such thing.
    pub fn read(entries: Value) -> Option<Self> {
        Self::read_with(entries, |fields| Set::read(&fields))
    }

    /// Reads `metadata.managedFields` of an object in the store, which we have written.
    pub fn stored(entries: Value) -> Self {
        Self::read_with(entries, Set::stored).unwrap_or_default()
    }

    fn read_with(entries: Value, fields: fn(Value) -> Option<Set>) -> Option<Self> {
        let entries = match entries {
            Value::Null => return Some(Self::default()),
            Value::Array(entries) => entries,
            _ => return None,
        };
        let read = |entry| Entry::read(entry, fields);
        entries.into_iter().map(read).collect::<Option<_>>().map(Self)
    }

    /// `metadata.managedFields`: those who apply first, then by age; null where there are none.
    pub fn into_value(mut self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        self.0.sort_by(|left, right| {
            let key = |entry: &Entry| (entry.operation, time::parse(&entry.time));
            let name = |entry: &Entry| {
                [entry.manager.clone(), entry.api_version.clone(), entry.subresource.clone()]
            };
            key(left).cmp(&key(right)).then_with(|| name(left).cmp(&name(right)))
        });
        Value::Array(self.0.into_iter().map(Entry::into_value).collect())
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry of a manager.
    pub(super) fn of(&self, manager: &Manager, operation: Operation) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.is_of(manager, operation))
    }

    /// Merges the oldest updates of each version until there are not too many.
    pub(super) fn cap(&mut self) {
        let is_update = |entry: &Entry| entry.operation == Operation::Update;
        let mut excess =
            self.0.iter().filter(|entry| is_update(entry)).count().saturating_sub(UPDATERS_MAX);
        if excess == 0 {
            return;
        }
        let (mut updates, mut others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(is_update);
        updates.sort_by_cached_key(|entry| {
            (time::parse(&entry.time), entry.manager.clone(), entry.subresource.clone())
        });
        let mut kept: Vec<Entry> = Vec::new();
        for mut entry in updates {
            let same = kept.iter_mut().find(|old| old.api_version == entry.api_version);
            match same {
                Some(bucket) if excess > 0 => {
                    bucket.fields.add(&entry.fields);
                    bucket.manager = ANCIENT.to_owned();
                    bucket.subresource = String::new();
                    bucket.time = std::mem::take(&mut entry.time);
                    excess -= 1;
                }
                _ => kept.push(entry),
            }
        }
        others.append(&mut kept);
        self.0 = others;
    }
}

/// The entries that a write starts from: those that it sends, if they are any; else those that are there.
///
/// A list that is empty, or has one empty item, resets: nobody owns anything from then on. Through a subresource
/// nobody changes them.
pub fn owners(sent: Value, live: &Value, subresource: &str) -> Managed {
    if sent == *live {
        return Managed::stored(sent);
    }
    let old = || Managed::stored(live.clone());
    if !subresource.is_empty() {
        return old();
    }
    match sent.as_array().map(Vec::as_slice) {
        Some([]) => Managed::default(),
        Some([only]) if only.as_object().is_some_and(|entry| entry.is_empty()) => {
            Managed::default()
        }
        _ => Managed::read(sent).filter(|managed| !managed.is_empty()).unwrap_or_else(old),
    }
}

/// Whether two lists of entries say the same but for when.
pub fn same_but_times(left: &Value, right: &Value) -> bool {
    let (Some(left), Some(right)) = (left.as_array(), right.as_array()) else {
        return left == right;
    };
    let timeless = |entry: &Value, other: &Value| {
        let keys = ["manager", "operation", "apiVersion", "subresource", "fieldsV1"];
        keys.iter().all(|key| entry.get(key) == other.get(key))
    };
    // Their order follows from the times.
    left.len() == right.len()
        && left.iter().all(|entry| right.iter().any(|other| timeless(entry, other)))
}
