//! MutatingAdmissionPolicy: changes that a write is given on its way.
//!
//! Each policy sees what those before it, in the order of their bindings' names, have made. If any has changed the object,
//! all plugins see it once more, and so do the policies that wish to (`reinvocationPolicy`).

use std::sync::Arc;

use master_api::patch::json_patch;
use master_api::status::ApiError;
use master_api::{fields, meta};
use master_registry::Resource;
use master_registry::admissionregistration::policy::{Input, Patch};
use master_registry::schema::{FieldValidation, check};
use master_registry::strategy::keep_field;
use serde_json::Value;

use super::{Asked, EXEMPT, GROUP, Known, builtin, namespace_of};
use crate::admission::{Operation, Plugin, Request};
use crate::authz::Authorizer;
use crate::json::text;

const KIND: &str = "MutatingAdmissionPolicy";
/// What no policy changes: which object it is.
const FIXED: [&str; 7] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
];

#[derive(Debug)]
pub(in crate::admission) struct MutatingPolicy {
    known: Known,
    authorizer: Arc<Authorizer>,
}

impl MutatingPolicy {
    pub(in crate::admission) fn new(authorizer: Arc<Authorizer>) -> Self {
        Self { known: Known::new("mutatingadmissionpolicies"), authorizer }
    }
}

/// Which policies are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    First,
    /// Only those that wish to be asked again.
    Second,
}

impl Plugin for MutatingPolicy {
    fn change(&self, request: &Request<'_>, object: &mut Value) -> Result<bool, ApiError> {
        self.ask(request, object, Round::First)
    }

    fn mutate_again(&self, request: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        self.ask(request, object, Round::Second).map(drop)
    }
}

impl MutatingPolicy {
    /// Whether the object was changed.
    fn ask(
        &self,
        request: &Request<'_>,
        object: &mut Value,
        round: Round,
    ) -> Result<bool, ApiError> {
        let mut is_changed = false;
        if EXEMPT.contains(&request.group) || request.operation == Operation::Delete {
            return Ok(false);
        }
        let bindings = request.reader.list(GROUP, "mutatingadmissionpolicybindings", None);
        if bindings.is_empty() || object.is_null() {
            return Ok(false);
        }
        let namespace = namespace_of(request);
        let resource = resource(request, object);
        for binding in &bindings {
            let name = text(binding, "/spec/policyName");
            let Some(compiled) = self.known.policy(request.reader, name) else { continue };
            if round == Round::Second && !compiled.policy.is_reinvoked {
                continue;
            }
            let asked = Asked::new(request, &self.authorizer, object, &namespace);
            let refused = |denial| asked.refusal(KIND, name, meta::name(binding), &denial);
            let mut changed = None;
            for params in asked.bound(&compiled, binding).map_err(refused)? {
                let input = asked.input(&params);
                let object = changed.as_ref().unwrap_or(input.object);
                let input = Input { object, ..input };
                let apply = |object: &Value, patch| patched(object, patch, resource.as_deref());
                if let Some(new) = compiled.policy.mutate(&input, &apply).map_err(refused)? {
                    changed = Some(new);
                }
            }
            if let Some(mut new) = changed {
                if let Some(resource) = &resource {
                    settle(request, &mut new, object, resource);
                }
                is_changed |= *object != new;
                *object = new;
            }
        }
        Ok(is_changed)
    }
}

/// What a write through the object itself does not touch stays as it was prepared: the status; and a specification
/// that a policy moves on an update moves the generation.
fn settle(request: &Request<'_>, new: &mut Value, prepared: &Value, resource: &Resource) {
    let shape = resource.strategy.shape();
    if shape.status && request.subresource.is_empty() {
        keep_field(new, prepared, "status");
    }
    let Some(old) = request.old.filter(|_| request.operation == Operation::Update) else { return };
    let generation = meta::generation(old);
    if shape.generation
        && request.subresource.is_empty()
        && meta::generation(prepared) == generation
        && new.get("spec") != old.get("spec")
    {
        meta::set(new, "generation", generation + 1);
    }
}

/// The kind of the object, if it is one that is built in and not a part's.
fn resource(request: &Request<'_>, object: &Value) -> Option<Arc<Resource>> {
    let api_version = meta::api_version(object);
    let is_whole = matches!(request.subresource, "" | "status");
    let is_meant =
        |it: &&Arc<Resource>| it.plural == request.resource && it.api_version() == api_version;
    builtin().iter().find(is_meant).filter(|_| is_whole).cloned()
}

/// An object after a patch, in the shape of its kind, and still the same object.
fn patched(old: &Value, patch: Patch, resource: Option<&Resource>) -> Result<Value, String> {
    let mut new = match patch {
        Patch::Apply(patch) => {
            let shape = resource.and_then(|resource| resource.schema.divided());
            fields::merge(shape, Some(old), Some(&patch))
        }
        Patch::Json(patch) => json_patch(old.clone(), &patch).map_err(|error| error.to_string())?,
    };
    for field in ["apiVersion", "kind"] {
        new[field] = old[field].clone();
    }
    for field in FIXED {
        meta::set(&mut new, field, old["metadata"][field].clone());
    }
    if let Some(resource) = resource {
        check(&mut new, &resource.schema, FieldValidation::Strict)
            .map_err(|error| error.to_string())?;
        resource.strategy.default(&mut new);
    }
    Ok(new)
}
