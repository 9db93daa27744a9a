//! `v1/namespaces`.
//!
//! A namespace goes in two steps: deleted, it only terminates; it is gone when `spec.finalizers` is empty.

use std::collections::BTreeMap;

use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Value, json};

use crate::objectmeta;
use crate::strategy::{Cx, Shape, Strategy, fresh, keep_field, kept};
use crate::table::{Cell, or, tabled};

#[derive(Clone, Copy, Debug)]
pub struct Namespaces;

const NAME_LABEL: &str = "kubernetes.io/metadata.name";

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Status", |namespace, _| or(namespace, &["status", "phase"], "")),
    Cell::AGE,
];

impl Strategy for Namespaces {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: false }
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns1123_label(name)
    }

    fn default(&self, namespace: &mut Value) {
        let name = meta::name(namespace).to_owned();
        if !name.is_empty() {
            let labels = meta::object_mut(namespace, &["metadata", "labels"]);
            labels.insert(NAME_LABEL.to_owned(), name.into());
        }
    }

    fn prepare_create(&self, new: &mut Value, _cx: &Cx<'_>) {
        fresh(new, self.shape());
        new["status"] = json!({"phase": "Active"});
        // The namespace controller takes this away when nothing is left in the namespace.
        let mut finalizers = meta::items(new, &["spec", "finalizers"]).to_vec();
        if !finalizers.iter().any(|name| name == "kubernetes") {
            finalizers.push("kubernetes".into());
        }
        new["spec"]["finalizers"] = finalizers.into();
        self.default(new);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        kept(new, old, self.shape());
        keep_field(new, old, "spec");
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        if old.is_some() {
            return Vec::new();
        }
        let names = meta::items(new, &["spec", "finalizers"]).iter();
        names.flat_map(|name| objectmeta::finalizer(name.as_str().unwrap_or_default())).collect()
    }

    fn validate_status(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let phase = meta::text(new, &["status", "phase"]);
        let (wanted, when) = if meta::is_terminating(new) {
            ("Terminating", "not empty")
        } else {
            ("Active", "empty")
        };
        if phase.is_empty() || phase == wanted {
            return Vec::new();
        }
        let detail = format!("may only be '{wanted}' if `deletionTimestamp` is {when}");
        // Upstream spells this one as its Go field.
        vec![FieldError::invalid("status.Phase", phase, detail)]
    }

    fn fields(&self, namespace: &Value) -> BTreeMap<String, String> {
        let phase = meta::text(namespace, &["status", "phase"]).to_owned();
        [("status.phase".to_owned(), phase)].into()
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_carries_its_name_as_a_label() {
        let mut namespace = json!({"metadata": {"name": "x"}});
        Namespaces.default(&mut namespace);
        assert_eq!(meta::label(&namespace, NAME_LABEL), "x");
        assert_eq!(Namespaces.name_problems("a.b"), ["must not contain dots"]);
    }
}
