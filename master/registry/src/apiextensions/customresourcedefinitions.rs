//! `apiextensions.k8s.io/v1/customresourcedefinitions`.
//!
//! The names that a definition is given are judged in the transaction that writes it, so that it is
//! established, and served on every master, the moment it exists.
//!
//! # Invariants
//! - Two definitions of a group never have the same name or kind accepted: each accepted name is a key.

use std::collections::BTreeSet;

use jiff::Timestamp;
use master_api::meta;
use master_api::status::FieldError;
use serde_json::{Value, json};

use super::{formats, names, validate};
use crate::custom::is_established;
use crate::fill::{absent, made, object, zero};
use crate::strategy::{Companion, Cx, Shape, Strategy, fresh, kept, status_and_metadata};

/// Holds a definition until its objects are gone; the controller takes it away.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

#[derive(Clone, Copy, Debug)]
pub struct Definitions;

impl Strategy for Definitions {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: true }
    }

    fn default(&self, definition: &mut Value) {
        let Some(fields) = definition.as_object_mut() else { return };
        let spec = made(fields, "spec");
        let names = made(spec, "names");
        if let Some(kind) = names.get("kind").and_then(Value::as_str).map(str::to_owned)
            && !kind.is_empty()
        {
            zero(names, "singular", kind.to_lowercase());
            zero(names, "listKind", format!("{kind}List"));
        }
        absent(spec, "conversion", json!({"strategy": "None"}));
        let conversion = made(spec, "conversion");
        if let Some(webhook) = object(conversion, "webhook")
            && let Some(config) = object(webhook, "clientConfig")
            && let Some(service) = object(config, "service")
        {
            absent(service, "port", 443);
        }
    }

    fn prepare_create(&self, new: &mut Value, cx: &Cx<'_>) {
        fresh(new, self.shape());
        names::judge(new, cx);
        remember_storage(new);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        kept(new, old, self.shape());
        names::judge(new, cx);
        remember_storage(new);
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        status_and_metadata(new, old);
        names::judge(new, cx);
        remember_storage(new);
    }

    fn begin_deletion(&self, definition: &Value, now: Timestamp) -> Option<Value> {
        let mut held = definition.clone();
        let mut finalizers: Vec<String> =
            meta::finalizers(definition).into_iter().map(str::to_owned).collect();
        if !finalizers.iter().any(|name| name == CLEANUP) {
            finalizers.push(CLEANUP.to_owned());
        }
        meta::set(&mut held, "finalizers", finalizers);
        let message =
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        let condition = ("Terminating", true, "InstanceDeletionPending", message);
        names::set_condition(&mut held, condition, now);
        Some(held)
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        validate::definition(new, old)
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        formats::warnings(new, old)
    }

    fn companions(
        &self,
        new: Option<&mut Value>,
        old: Option<&Value>,
        cx: &Cx<'_>,
    ) -> Result<Vec<Companion>, Vec<FieldError>> {
        let had = old.map(names::keys).unwrap_or_default();
        // Judged again: another master may have taken a name meanwhile.
        let mut owner = String::new();
        let mut has = BTreeSet::new();
        // What could not be reached any more because no version was served: nothing of it comes back.
        let mut rest = None;
        if let Some(new) = new {
            names::reconsider(new, old);
            names::judge(new, cx);
            has = names::keys(new);
            meta::name(new).clone_into(&mut owner);
        } else if let Some(old) = old.filter(|old| is_established(old)) {
            let text = |path: &[&str]| meta::text(old, path).to_owned();
            let (group, plural) = (text(&["spec", "group"]), text(&["spec", "names", "plural"]));
            rest = Some(Companion::ReleaseAll { prefix: format!("/registry/{group}/{plural}/") });
        }
        let claims = has.difference(&had).map(|key| Companion::Claim {
            key: key.clone(),
            value: owner.clone().into_bytes().into(),
        });
        let releases = had.difference(&has).map(|key| Companion::Release { key: key.clone() });
        Ok(claims.chain(releases).chain(rest).collect())
    }
}

/// The storage version joins those that objects may be stored in.
fn remember_storage(definition: &mut Value) {
    let versions = meta::items(definition, &["spec", "versions"]);
    let storage = versions.iter().find(|version| version["storage"] == true);
    let Some(storage) = storage.and_then(|version| version["name"].as_str()).map(str::to_owned)
    else {
        return;
    };
    let status = meta::object_mut(definition, &["status"]);
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if stored.is_null() {
        *stored = json!([]);
    }
    if let Some(stored) = stored.as_array_mut()
        && !stored.iter().any(|name| *name == *storage)
    {
        stored.push(storage.into());
    }
}
