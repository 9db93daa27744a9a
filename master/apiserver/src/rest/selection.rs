//! Which objects a list, watch or deletecollection is about.

use std::sync::Arc;

use master_api::selector::{FieldSelector, FieldTerm, LabelSelector};
use master_api::status::ApiError;
use master_registry::Resource;

use super::Target;
use crate::cacher::entry::Entry;
use crate::cacher::object_key;
use crate::cacher::table::{Matcher, Scope};
use crate::call::Call;

/// The fields that every object can be selected by.
const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

/// Where to look, and what an object must be like.
#[derive(Clone, Debug)]
pub struct Selection {
    pub scope: Scope,
    pub matcher: Option<Arc<dyn Matcher>>,
}

#[derive(Debug)]
struct Selectors {
    labels: LabelSelector,
    /// Terms about the object's name and namespace.
    names: FieldSelector,
    /// Terms about fields that only this kind has.
    fields: FieldSelector,
    resource: Arc<Resource>,
}

impl Matcher for Selectors {
    fn matches(&self, entry: &Entry) -> bool {
        let is_named = |term: &FieldTerm| {
            let name = if term.key == NAME { entry.name() } else { entry.namespace() };
            (name == term.value) == term.is_equal
        };
        self.names.terms.iter().all(is_named)
            && (self.labels.is_everything() || self.labels.matches_map(entry.labels()))
            && (self.fields.is_everything() || self.matches_fields(entry))
    }
}

impl Selectors {
    fn matches_fields(&self, entry: &Entry) -> bool {
        let strategy = &self.resource.strategy;
        let is_stored_form = self.resource.serves_as_stored(entry.revision);
        if !is_stored_form {
            let mut object = (*entry.value_once()).clone();
            strategy.served_form(&mut object);
            return self.fields.matches(&strategy.fields(&object));
        }
        // What a defined kind can be selected by changes with its definition.
        if self.resource.custom.is_some() {
            return self.fields.matches(&strategy.fields(entry.value()));
        }
        self.fields.matches(entry.fields(|object| strategy.fields(object)))
    }
}

/// Reads the selectors of a call.
pub fn of(call: &Call, target: &Target) -> Result<Selection, ApiError> {
    let labels = call.query.get("labelSelector").unwrap_or("");
    let labels =
        LabelSelector::parse(labels).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    let fields = call.query.get("fieldSelector").unwrap_or("");
    let mut fields = FieldSelector::parse(fields).map_err(ApiError::BadRequest)?;
    known_fields(&target.resource, &fields)?;
    let mut namespace = target.namespace.clone();
    if target.resource.namespaced
        && namespace.is_empty()
        && let Some(selected) = fields.required(NAMESPACE)
    {
        namespace = selected.to_owned();
    }
    let name = fields.required(NAME).unwrap_or(&target.name).to_owned();
    if !target.name.is_empty() && name != target.name {
        return Err(ApiError::bad_request(
            "fieldSelector metadata.name doesn't match requested name",
        ));
    }
    let is_one = !name.is_empty() && (!namespace.is_empty() || !target.resource.namespaced);
    let scope = match (is_one, namespace.is_empty()) {
        (true, _) => Scope::key(&object_key(&namespace, &name)),
        (false, true) => Scope::all(),
        (false, false) => Scope::namespace(&namespace),
    };
    // What the scope already says need not be looked at again, object by object.
    fields.terms.retain(|term| {
        let by_scope =
            (term.key == NAME && is_one) || (term.key == NAMESPACE && !namespace.is_empty());
        let said = if term.key == NAME { &name } else { &namespace };
        !(term.is_equal && by_scope && term.value == *said)
    });
    if labels.is_everything() && fields.is_everything() {
        return Ok(Selection { scope, matcher: None });
    }
    let is_name = |term: &FieldTerm| matches!(term.key.as_str(), NAME | NAMESPACE);
    let (names, others) = fields.terms.into_iter().partition(is_name);
    let (names, fields) = (FieldSelector { terms: names }, FieldSelector { terms: others });
    let matcher = Selectors { labels, names, fields, resource: target.resource.clone() };
    Ok(Selection { scope, matcher: Some(Arc::new(matcher)) })
}

/// A field that the kind cannot be selected by is an error, not an empty result.
fn known_fields(resource: &Resource, fields: &FieldSelector) -> Result<(), ApiError> {
    if fields.is_everything() {
        return Ok(());
    }
    let known = resource.strategy.fields(&serde_json::json!({ "metadata": {} }));
    for term in &fields.terms {
        let key = term.key.as_str();
        if !matches!(key, NAME | NAMESPACE) && !known.contains_key(key) {
            return Err(ApiError::BadRequest(unknown_field(resource, key, known.is_empty())));
        }
    }
    Ok(())
}

fn only_names(key: &str) -> String {
    format!("{key:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
}

/// Kinds that can be selected by fields of their own say it in their own words.
fn unknown_field(resource: &Resource, key: &str, has_no_own: bool) -> String {
    match (&*resource.group, &*resource.kind) {
        ("batch", "Job") => format!("field label {key:?} not supported for Job"),
        ("resource.k8s.io", "ResourceSlice") => {
            format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {key}")
        }
        ("apps", "ReplicaSet") => only_names(key),
        (group, _) if group == "networking.k8s.io" || (has_no_own && resource.custom.is_none()) => {
            only_names(key)
        }
        _ => format!("field label not supported: {key}"),
    }
}
