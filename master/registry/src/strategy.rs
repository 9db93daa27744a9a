//! What is particular to a kind, as hooks that the generic storage calls in a fixed order.
//!
//! default → `prepare_*` → (admission) → validate → companions → store. Knows no store.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use jiff::Timestamp;
use master_api::access::{Identity, Reader};
use master_api::cidr::Cidr;
use master_api::status::FieldError;
use master_api::{meta, names, time};
use serde_json::{Value, json};

/// Settings of the cluster that kinds depend on; equal on all masters.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    pub service_cidr: Cidr,
    pub pod_cidr: Cidr,
    /// First and last port of services of type `NodePort`, inclusive.
    pub node_ports: (u16, u16),
    pub cluster_domain: String,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        let cidr = |text: &str| text.parse().expect("a constant range");
        Self {
            service_cidr: cidr("10.96.0.0/16"),
            pod_cidr: cidr("10.244.0.0/16"),
            node_ports: (30_000, 32_767),
            cluster_domain: "cluster.local".to_owned(),
        }
    }
}

/// What a hook may know besides the object.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'a> {
    pub identity: &'a Identity,
    pub now: Timestamp,
    pub reader: &'a dyn Reader,
    pub config: &'a ClusterConfig,
    /// 0, and one more each time the store lost a claim to another writer.
    pub attempt: u32,
    /// The next random number (`store_env::rng::draw`).
    pub draw: fn() -> u64,
}

/// A key that is written or removed in the same transaction as the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Companion {
    /// Written; must have been absent, else the transaction is tried again.
    Claim { key: String, value: Bytes },
    /// Must be at this revision, else the transaction is judged again.
    Guard { key: String, revision: i64 },
    /// Removed, whether or not it is there.
    Release { key: String },
    /// Everything below is removed.
    ReleaseAll { prefix: String },
}

/// A column of the table that `kubectl get` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: Cow<'static, str>,
    /// `string`, `integer` or `date`.
    pub kind: &'static str,
    /// `name` for the first column.
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

impl Column {
    /// The column of `metadata.name`.
    pub fn name() -> Self {
        Self { name: "Name".into(), kind: "string", format: "name", priority: 0 }
    }

    /// A column that is always shown.
    pub fn text(name: &'static str) -> Self {
        Self { name: name.into(), kind: "string", format: "", priority: 0 }
    }

    pub fn integer(name: &'static str) -> Self {
        Self { kind: "integer", ..Self::text(name) }
    }

    /// A column shown with `-o wide`.
    pub fn wide(name: &'static str) -> Self {
        Self { priority: 1, ..Self::text(name) }
    }

    /// As `Table.columnDefinitions` has it.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format,
            "description": self.description(), "priority": self.priority,
        })
    }

    /// What upstream's types say of the fields that most tables show.
    fn description(&self) -> &'static str {
        match &*self.name {
            "Name" => {
                "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
            }
            "Age" | "Created At" => {
                "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
            }
            _ => "",
        }
    }
}

/// Which of the usual fields a kind has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// A status that only the status subresource writes.
    pub status: bool,
    /// `metadata.generation` counts changes of everything but metadata and status.
    pub generation: bool,
}

/// The rules of one kind. Every hook has a default that suits a kind without particulars.
pub trait Strategy: Send + Sync + Debug {
    fn shape(&self) -> Shape {
        Shape::default()
    }

    /// What is wrong with a name of this kind.
    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns1123_subdomain(name)
    }

    /// Fills defaults, as upstream's defaulting of the same version does.
    fn default(&self, _object: &mut Value) {}

    /// What a client may not choose at creation is dropped or set.
    fn prepare_create(&self, new: &mut Value, _cx: &Cx<'_>) {
        fresh(new, self.shape());
    }

    /// What a client may not change by an update is kept; the generation follows.
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        kept(new, old, self.shape());
    }

    /// Whether a write of the status may change labels, annotations, finalizers and owners too, as upstream has it for
    /// most kinds.
    fn status_carries_metadata(&self) -> bool {
        true
    }

    /// The specification is kept.
    fn prepare_status_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        if self.status_carries_metadata() {
            status_and_metadata(new, old);
        } else {
            only_status(new, old);
        }
    }

    /// Rules of the kind beyond those of all objects; `old` is `None` at creation.
    fn validate(&self, _new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        Vec::new()
    }

    /// What a client should know although the object is fine.
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Rules for a write through the status subresource.
    fn validate_status(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Turns a client's form of the object into the one that is stored, where several kinds share a
    /// storage (`stored_as`). Everything below works on the client's form.
    fn storage_form(&self, _object: &mut Value) {}

    /// The way back from [`Strategy::storage_form`].
    fn served_form(&self, _object: &mut Value) {}

    /// Values for field selectors beyond `metadata.name` and `metadata.namespace`.
    fn fields(&self, _object: &Value) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Keys written with the object. `new` is `None` when the object goes for good.
    fn companions(
        &self,
        _new: Option<&mut Value>,
        _old: Option<&Value>,
        _cx: &Cx<'_>,
    ) -> Result<Vec<Companion>, Vec<FieldError>> {
        Ok(Vec::new())
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::name(), Column { kind: "date", ..Column::text("Created At") }]
    }

    /// The cells of an object, as many as [`Strategy::columns`].
    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(object).into(),
            meta::text(object, &["metadata", "creationTimestamp"]).into(),
        ]
    }

    /// The time an object has to end by itself before a delete takes it away.
    fn graceful_delete_seconds(&self, _object: &Value) -> Option<i64> {
        None
    }

    /// The object as a deletion holds it when it begins, where something has to be done first.
    fn begin_deletion(&self, _object: &Value, _now: Timestamp) -> Option<Value> {
        None
    }

    /// How long an object lives after its last write.
    fn ttl_s(&self, _object: &Value) -> Option<i64> {
        None
    }
}

/// The value of an "Age" cell.
pub fn age(object: &Value, now: Timestamp) -> Value {
    time::age(meta::creation_timestamp(object), now).into()
}

/// A new object has no status yet and is of the first generation.
pub fn fresh(new: &mut Value, shape: Shape) {
    if shape.status
        && let Some(object) = new.as_object_mut()
    {
        object.remove("status");
    }
    if shape.generation {
        meta::set(new, "generation", 1);
    } else if meta::generation(new) == 0 {
        // Of other kinds it is the client's.
        meta::set(new, "generation", Value::Null);
    }
}

/// An update keeps the status, and moves the generation when the specification moved.
pub fn kept(new: &mut Value, old: &Value, shape: Shape) {
    if shape.status {
        keep_field(new, old, "status");
    }
    let generation = meta::at(old, &["metadata", "generation"]).cloned().unwrap_or_default();
    meta::set(new, "generation", generation);
    if shape.generation && specification_changed(new, old) {
        meta::set(new, "generation", meta::generation(old) + 1);
    }
}

/// A status update keeps all but the status; of the metadata, managed fields and labels too.
pub fn only_status(new: &mut Value, old: &Value) {
    let status = new.get("status").cloned();
    let resource_version = meta::resource_version(new).to_owned();
    let mut kept = old.clone();
    match (status, kept.as_object_mut()) {
        (Some(status), Some(object)) => drop(object.insert("status".into(), status)),
        (None, Some(object)) => drop(object.remove("status")),
        (_, None) => {}
    }
    if !resource_version.is_empty() {
        meta::set(&mut kept, "resourceVersion", resource_version);
    }
    *new = kept;
}

/// A status update keeps all but the status and what a client may say in the metadata.
pub fn status_and_metadata(new: &mut Value, old: &Value) {
    let fields = ["labels", "annotations", "finalizers", "ownerReferences"];
    let metadata = fields.map(|field| (field, new["metadata"][field].clone()));
    only_status(new, old);
    for (field, value) in metadata {
        meta::set(new, field, value);
    }
}

/// Puts `old`'s value of a top-level field (or its absence) into `new`.
pub fn keep_field(new: &mut Value, old: &Value, field: &str) {
    let Some(object) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => drop(object.insert(field.to_owned(), value.clone())),
        None => drop(object.remove(field)),
    }
}

fn specification_changed(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return true };
    let counts = |key: &str| !matches!(key, "metadata" | "status" | "kind" | "apiVersion");
    let keys = new.keys().chain(old.keys());
    keys.filter(|key| counts(key)).any(|key| new.get(key) != old.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Shape = Shape { status: true, generation: true };

    #[test]
    fn a_new_object_has_no_status_and_generation_one() {
        let mut new = json!({"metadata": {"generation": 7}, "spec": {}, "status": {"x": 1}});
        fresh(&mut new, BOTH);
        assert_eq!(new, json!({"metadata": {"generation": 1}, "spec": {}}));
    }

    #[test]
    fn generation_moves_only_with_the_specification() {
        let old = json!({"metadata": {"generation": 3}, "spec": {"a": 1}, "status": {"x": 1}});
        #[rustfmt::skip]
        let cases = [
            (json!({"metadata": {}, "spec": {"a": 1}}),                         3),
            (json!({"metadata": {"labels": {"l": "m"}}, "spec": {"a": 1}}),     3),
            (json!({"metadata": {}, "spec": {"a": 2}, "status": {"x": 2}}),     4),
            (json!({"metadata": {"generation": 9}, "spec": {"a": 1}}),          3),
        ];
        for (mut new, expected) in cases {
            kept(&mut new, &old, BOTH);
            assert_eq!(meta::generation(&new), expected);
            assert_eq!(new["status"], json!({"x": 1}));
        }
    }

    #[test]
    fn a_status_update_changes_nothing_else() {
        let old = json!({"metadata": {"name": "n", "resourceVersion": "1"}, "spec": {"a": 1}});
        let mut new =
            json!({"metadata": {"resourceVersion": "2"}, "spec": {"a": 2}, "status": {"x": 1}});
        only_status(&mut new, &old);
        let expected = json!({"metadata": {"name": "n", "resourceVersion": "2"}, "spec": {"a": 1}, "status": {"x": 1}});
        assert_eq!(new, expected);
    }

    #[test]
    fn what_clients_say_in_the_metadata_comes_with_a_status() {
        let old = json!({"metadata": {"name": "n", "generation": 3, "labels": {"a": "1"}, "finalizers": ["f"]}, "spec": {"a": 1}});
        let mut new = json!({"metadata": {"name": "n", "generation": 9, "annotations": {"b": "2"}, "finalizers": ["g/h"]},
            "spec": {"a": 2}, "status": {"x": 1}});
        status_and_metadata(&mut new, &old);
        let expected = json!({"metadata": {"name": "n", "generation": 3, "annotations": {"b": "2"}, "finalizers": ["g/h"]},
            "spec": {"a": 1}, "status": {"x": 1}});
        assert_eq!(new, expected);
    }
}
