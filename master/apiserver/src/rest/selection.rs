//! Which objects a list, watch or deletecollection is about.

use std::sync::Arc;

use master_api::selector::{FieldSelector, LabelSelector};
use master_api::status::ApiError;
use master_registry::Resource;

use super::Target;
use crate::cacher::entry::Entry;
use crate::cacher::object_key;
use crate::cacher::table::{Matcher, Scope};
use crate::call::Call;

/// Where to look, and what an object must be like.
#[derive(Clone, Debug)]
pub struct Selection {
    pub scope: Scope,
    pub matcher: Option<Arc<dyn Matcher>>,
}

#[derive(Debug)]
struct Selectors {
    labels: LabelSelector,
    fields: FieldSelector,
    resource: Arc<Resource>,
}

impl Matcher for Selectors {
    fn matches(&self, entry: &Entry) -> bool {
        if !self.labels.is_everything() && !self.labels.matches_object(entry.value()) {
            return false;
        }
        if self.fields.is_everything() {
            return true;
        }
        let strategy = &self.resource.strategy;
        let mut fields = if !self.resource.serves_as_stored(entry.revision) {
            let mut object = (**entry.value()).clone();
            strategy.served_form(&mut object);
            strategy.fields(&object)
        } else {
            strategy.fields(entry.value())
        };
        fields.insert("metadata.name".into(), entry.name().into());
        fields.insert("metadata.namespace".into(), entry.namespace().into());
        self.fields.matches(&fields)
    }
}

/// Reads the selectors of a call.
pub fn of(call: &Call, target: &Target) -> Result<Selection, ApiError> {
    let labels = call.query.get("labelSelector").unwrap_or("");
    let labels = LabelSelector::parse(labels)
        .map_err(|error| ApiError::bad_request(format!("unable to parse requirement: {error}")))?;
    let fields = call.query.get("fieldSelector").unwrap_or("");
    let mut fields = FieldSelector::parse(fields).map_err(ApiError::BadRequest)?;
    known_fields(&target.resource, &fields)?;
    let mut namespace = target.namespace.clone();
    if target.resource.namespaced
        && namespace.is_empty()
        && let Some(selected) = fields.required("metadata.namespace")
    {
        namespace = selected.to_owned();
    }
    let name = fields.required("metadata.name").unwrap_or(&target.name).to_owned();
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
        let by_scope = (term.key == "metadata.name" && is_one)
            || (term.key == "metadata.namespace" && !namespace.is_empty());
        !(term.is_equal && by_scope && (term.value == name || term.value == namespace))
    });
    let everything = labels.is_everything() && fields.is_everything();
    let resource = target.resource.clone();
    let matcher: Option<Arc<dyn Matcher>> =
        if everything { None } else { Some(Arc::new(Selectors { labels, fields, resource })) };
    Ok(Selection { scope, matcher })
}

/// A field that the kind cannot be selected by is an error, not an empty result.
fn known_fields(resource: &Resource, fields: &FieldSelector) -> Result<(), ApiError> {
    if fields.is_everything() {
        return Ok(());
    }
    let known = resource.strategy.fields(&serde_json::json!({ "metadata": {} }));
    for term in &fields.terms {
        let key = term.key.as_str();
        if !matches!(key, "metadata.name" | "metadata.namespace") && !known.contains_key(key) {
            return Err(ApiError::bad_request(format!("field label not supported: {key}")));
        }
    }
    Ok(())
}
