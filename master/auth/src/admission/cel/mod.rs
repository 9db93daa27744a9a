//! Admission policies: what administrators write in CEL, bound to what it is for.
//!
//! A policy counts on each master from the moment it is in that master's memory.
//!
//! # Path
//! [`MutatingPolicy`], [`ValidatingPolicy`] → [`Asked`] (matched, with its parameters) → `master_registry`'s
//! `admissionregistration::policy` (compiled, evaluated)

mod mutating;
mod validating;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use master_api::access::{Attributes, Identity, Reader};
use master_api::meta;
use master_api::selector::LabelSelector;
use master_api::status::{ApiError, Subject};
use master_registry::Resource;
use master_registry::admissionregistration::matching::{Matcher, Write};
use master_registry::admissionregistration::policy::{Authority, Denial, Input, Policy};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::admission::{Operation, Request};
use crate::authz::Authorizer;
use crate::json::text;

pub(super) use mutating::MutatingPolicy;
pub(super) use validating::ValidatingPolicy;

const GROUP: &str = "admissionregistration.k8s.io";
/// What policies are never asked about: themselves, and questions.
const EXEMPT: [&str; 3] = [GROUP, "authentication.k8s.io", "authorization.k8s.io"];

/// Compiled policies of one kind, by name.
#[derive(Debug)]
struct Known {
    plural: &'static str,
    compiled: Mutex<BTreeMap<String, Compiled>>,
}

#[derive(Clone, Debug)]
struct Compiled {
    stored: Arc<Value>,
    policy: Arc<Policy>,
}

impl Known {
    fn new(plural: &'static str) -> Self {
        Self { plural, compiled: Mutex::default() }
    }

    /// A policy as it is now, compiled once.
    fn policy(&self, reader: &dyn Reader, name: &str) -> Option<Compiled> {
        let mut compiled = self.compiled.lock();
        let Some(stored) = reader.get(GROUP, self.plural, "", name) else {
            compiled.remove(name);
            return None;
        };
        if let Some(known) = compiled.get(name)
            && known.stored["spec"] == stored["spec"]
        {
            return Some(known.clone());
        }
        let new = Compiled { policy: Arc::new(Policy::compile(&stored)), stored };
        compiled.insert(name.to_owned(), new.clone());
        Some(new)
    }
}

/// A write and all that may be asked about it.
struct Asked<'a> {
    request: &'a Request<'a>,
    write: Write<'a>,
    described: Value,
    authorizer: &'a Authorizer,
    about: Attributes,
}

impl<'a> Asked<'a> {
    /// `namespace` is the object of the write's namespace, or null.
    fn new(
        request: &'a Request<'a>,
        authorizer: &'a Authorizer,
        object: &'a Value,
        namespace: &'a Value,
    ) -> Self {
        let old = request.old.unwrap_or(&Value::Null);
        let known = if object.is_null() { old } else { object };
        let (_, version) = meta::split_api_version(meta::api_version(known));
        let write = Write {
            operation: operation(request.operation),
            group: request.group,
            version,
            resource: request.resource,
            subresource: request.subresource,
            name: request.name,
            namespace: request.namespace,
            namespace_object: namespace,
            new: object,
            old,
        };
        let described = described(request, version);
        Self { request, write, described, authorizer, about: about(request) }
    }

    /// The parameters with which a policy, bound so, is to be asked; none if it is not for this write.
    fn bound(&self, compiled: &Compiled, binding: &Value) -> Result<Vec<Arc<Value>>, Denial> {
        let failed = |what: &str, error: &str| {
            let message = format!("failed to configure {what}: {error}");
            compiled.policy.failed(message).map_or(Ok(Vec::new()), Err)
        };
        match &compiled.policy.matcher {
            Ok(matcher) if !matcher.matches(&self.write) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return failed("policy", error),
        }
        match Matcher::of_binding(&binding["spec"]["matchResources"]) {
            Ok(matcher) if !matcher.matches(&self.write) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return failed("binding", &error),
        }
        match self.params(&compiled.stored["spec"]["paramKind"], binding) {
            Ok(params) => Ok(params),
            Err(error) => failed("binding", &error),
        }
    }

    /// What expressions see.
    fn input<'i>(&'i self, params: &'i Value) -> Input<'i> {
        let is_namespace = self.request.group.is_empty() && self.request.resource == "namespaces";
        Input {
            object: self.write.new,
            old: self.write.old,
            request: &self.described,
            params,
            namespace: if is_namespace { &Value::Null } else { self.write.namespace_object },
            authority: self.authorizer,
            about: &self.about,
        }
    }

    /// The objects that a binding takes its values from; null if it takes none.
    fn params(&self, kind: &Value, binding: &Value) -> Result<Vec<Arc<Value>>, String> {
        let reference = &binding["spec"]["paramRef"];
        if !kind.is_object() || !reference.is_object() {
            return Ok(vec![Arc::new(Value::Null)]);
        }
        let reader = self.request.reader;
        let (api_version, kind) = (text(kind, "/apiVersion"), text(kind, "/kind"));
        let Some(place) = Place::find(reader, api_version, kind) else {
            return Err(format!(
                "failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"
            ));
        };
        let own = match text(reference, "/namespace") {
            "" => self.request.namespace,
            namespace => namespace,
        };
        let namespace = match (place.is_namespaced, own) {
            (true, "") => {
                return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned());
            }
            (true, namespace) => namespace,
            (false, _) => "",
        };
        let found: Vec<_> = match text(reference, "/name") {
            "" => {
                let selector = LabelSelector::from_json(&reference["selector"])?;
                let scope = place.is_namespaced.then_some(namespace);
                let all = reader.list(&place.group, &place.resource, scope).into_iter();
                all.filter(|object| selector.matches_object(object)).collect()
            }
            name => {
                reader.get(&place.group, &place.resource, namespace, name).into_iter().collect()
            }
        };
        if found.is_empty() && text(reference, "/parameterNotFoundAction") != "Allow" {
            return Err(
                "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()
            );
        }
        Ok(found)
    }

    fn refusal(&self, kind: &str, policy: &str, binding: &str, denial: &Denial) -> ApiError {
        let message = format!(
            "{kind} '{policy}' with binding '{binding}' denied request: {}",
            denial.message
        );
        let subject = Subject::new(self.request.group, self.request.resource);
        let name = self.request.name.to_owned();
        ApiError::Denied { subject, name, message, reason: denial.reason.clone() }
    }
}

/// The object of the namespace that a write is in; null if it is in none.
fn namespace_of(request: &Request<'_>) -> Arc<Value> {
    let found = match request.namespace {
        "" => None,
        name => request.reader.get("", "namespaces", "", name),
    };
    found.unwrap_or_default()
}

/// Where objects of a kind are stored.
#[derive(Clone, Debug)]
struct Place {
    group: String,
    resource: String,
    is_namespaced: bool,
}

impl Place {
    fn find(reader: &dyn Reader, api_version: &str, kind: &str) -> Option<Self> {
        let is_meant = |it: &&Arc<Resource>| {
            it.kind == kind && it.api_version() == api_version && it.is_stored()
        };
        if let Some(resource) = builtin().iter().find(is_meant) {
            let (group, plural) = resource.storage();
            return Some(Self {
                group: group.to_owned(),
                resource: plural.to_owned(),
                is_namespaced: resource.namespaced,
            });
        }
        let (wanted, _) = meta::split_api_version(api_version);
        let group = "apiextensions.k8s.io";
        let definitions = reader.list(group, "customresourcedefinitions", None);
        let found = definitions.iter().find(|definition| {
            text(definition, "/spec/group") == wanted
                && text(definition, "/spec/names/kind") == kind
        })?;
        Some(Self {
            group: wanted.to_owned(),
            resource: text(found, "/spec/names/plural").to_owned(),
            is_namespaced: text(found, "/spec/scope") == "Namespaced",
        })
    }
}

/// The kinds that are built in, looked up for policies only.
fn builtin() -> &'static [Arc<Resource>] {
    static BUILTIN: OnceLock<Vec<Arc<Resource>>> = OnceLock::new();
    BUILTIN.get_or_init(master_registry::builtin)
}

fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

/// The AdmissionRequest that expressions see as `request`.
fn described(request: &Request<'_>, version: &str) -> Value {
    let kind = json!({ "group": request.group, "version": version, "kind": request.kind });
    let resource =
        json!({ "group": request.group, "version": version, "resource": request.resource });
    json!({
        "kind": kind, "requestKind": kind,
        "resource": resource, "requestResource": resource,
        "subResource": request.subresource, "requestSubResource": request.subresource,
        "name": request.name, "namespace": request.namespace,
        "operation": operation(request.operation),
        "userInfo": user(request.identity),
        "dryRun": request.dry_run,
    })
}

/// The write as an authorizer sees it; what is to be done, the policy says.
fn about(request: &Request<'_>) -> Attributes {
    Attributes {
        identity: request.identity.clone(),
        group: request.group.to_owned(),
        resource: request.resource.to_owned(),
        subresource: request.subresource.to_owned(),
        namespace: request.namespace.to_owned(),
        name: request.name.to_owned(),
        ..Attributes::default()
    }
}

impl Authority for Authorizer {
    fn decide(&self, request: &Attributes, field_selector: &str) -> (bool, String) {
        let decision = self.authorize_selected(request, field_selector);
        (decision.allowed, decision.reason)
    }
}

fn user(identity: &Identity) -> Value {
    json!({
        "username": identity.user, "uid": identity.uid,
        "groups": identity.groups, "extra": identity.extra,
    })
}
