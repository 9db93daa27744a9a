//! ValidatingAdmissionPolicy: rules that administrators write in CEL, bound to what they are for.
//!
//! A policy counts on each master from the moment it is in that master's memory.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use master_api::access::{Identity, Reader};
use master_api::meta;
use master_api::selector::LabelSelector as Selector;
use master_api::status::{ApiError, Subject};
use master_registry::admissionregistration::matching::{Matcher, Write};
use master_registry::admissionregistration::validating::{Denial, Input, Policy};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::admission::{Operation, Plugin, Request};
use crate::json::text;

const GROUP: &str = "admissionregistration.k8s.io";
/// What policies are never asked about: themselves, and questions.
const EXEMPT: [&str; 3] = [GROUP, "authentication.k8s.io", "authorization.k8s.io"];

/// Compiled policies, by name.
#[derive(Debug, Default)]
pub(super) struct ValidatingPolicy {
    compiled: Mutex<BTreeMap<String, Compiled>>,
}

#[derive(Clone, Debug)]
struct Compiled {
    stored: Arc<Value>,
    policy: Arc<Policy>,
}

/// A write and all that may be asked about it.
struct Asked<'a> {
    request: &'a Request<'a>,
    write: Write<'a>,
    described: Value,
}

impl Plugin for ValidatingPolicy {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if EXEMPT.contains(&request.group) {
            return Ok(());
        }
        let bindings = request.reader.list(GROUP, "validatingadmissionpolicybindings", None);
        if bindings.is_empty() {
            return Ok(());
        }
        let namespace = match request.namespace {
            "" => None,
            name => request.reader.get("", "namespaces", "", name),
        };
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
            namespace_object: namespace.as_deref().unwrap_or(&Value::Null),
            new: object,
            old,
        };
        let asked = Asked { request, write, described: described(request, version) };
        let mut refusal = None;
        for binding in &bindings {
            let name = text(binding, "/spec/policyName");
            let Some(policy) = self.policy(request.reader, name) else { continue };
            for denial in asked.denials(&policy, binding) {
                let binding_name = meta::name(binding);
                for action in meta::items(binding, &["spec", "validationActions"]) {
                    match action.as_str() {
                        Some("Deny") => {
                            refusal.get_or_insert_with(|| {
                                asked.refusal(name, binding_name, &denial)
                            });
                        }
                        Some("Warn") => warnings.push(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{binding_name}': {}",
                            denial.message
                        )),
                        _ => {}
                    }
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}

impl ValidatingPolicy {
    /// A policy as it is now, compiled once.
    fn policy(&self, reader: &dyn Reader, name: &str) -> Option<Compiled> {
        let mut compiled = self.compiled.lock();
        let Some(stored) = reader.get(GROUP, "validatingadmissionpolicies", "", name) else {
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

impl Asked<'_> {
    /// What a policy, bound so, has against the write.
    fn denials(&self, compiled: &Compiled, binding: &Value) -> Vec<Denial> {
        let policy = &compiled.policy;
        let failed = |what: &str, error: &str| {
            let message = format!("failed to configure {what}: {error}");
            policy.failed(message).into_iter().collect::<Vec<_>>()
        };
        match &policy.matcher {
            Ok(matcher) if !matcher.matches(&self.write) => return Vec::new(),
            Ok(_) => {}
            Err(error) => return failed("policy", error),
        }
        match Matcher::of_binding(&binding["spec"]["matchResources"]) {
            Ok(matcher) if !matcher.matches(&self.write) => return Vec::new(),
            Ok(_) => {}
            Err(error) => return failed("binding", &error),
        }
        let params = match self.params(&compiled.stored["spec"]["paramKind"], binding) {
            Ok(params) => params,
            Err(error) => return failed("binding", &error),
        };
        let is_namespace = self.request.group.is_empty() && self.request.resource == "namespaces";
        let namespace = if is_namespace { &Value::Null } else { self.write.namespace_object };
        let judge = |params: &Arc<Value>| {
            policy.judge(&Input {
                object: self.write.new,
                old: self.write.old,
                request: &self.described,
                params,
                namespace,
            })
        };
        params.iter().flat_map(judge).collect()
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
                let selector = Selector::from_json(&reference["selector"])?;
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

    fn refusal(&self, policy: &str, binding: &str, denial: &Denial) -> ApiError {
        let message = format!(
            "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {}",
            denial.message
        );
        let subject = Subject::new(self.request.group, self.request.resource);
        let name = self.request.name.to_owned();
        ApiError::Denied { subject, name, message, reason: denial.reason.clone() }
    }
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
        static BUILTIN: OnceLock<BTreeMap<(String, String), Place>> = OnceLock::new();
        let builtin = BUILTIN.get_or_init(|| {
            let stored = master_registry::builtin().into_iter().filter(|it| it.is_stored());
            let place = |resource: Arc<master_registry::Resource>| {
                let (group, plural) = resource.storage();
                let place = Self {
                    group: group.to_owned(),
                    resource: plural.to_owned(),
                    is_namespaced: resource.namespaced,
                };
                ((resource.api_version(), resource.kind.to_string()), place)
            };
            stored.map(place).collect()
        });
        if let Some(place) = builtin.get(&(api_version.to_owned(), kind.to_owned())) {
            return Some(place.clone());
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

fn user(identity: &Identity) -> Value {
    json!({
        "username": identity.user, "uid": identity.uid,
        "groups": identity.groups, "extra": identity.extra,
    })
}
