//! Whether an identity may do what it asks: superusers, nodes, then RBAC.
//!
//! # Path
//! filter `authorization` → here → the handler of the verb
//!
//! # Invariants
//! - Nothing is allowed unless one of the three says so; an unreadable role or binding grants nothing.

mod escalation;
mod node;
mod rbac;
pub(crate) mod references;
pub mod review;
mod rule;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use master_api::access::{Attributes, Identity, Reader};
use master_api::status::ApiError;

pub use escalation::Refused;
pub use node::node_name;
pub use rule::Rule;

pub(crate) use rbac::own_rules;
pub(crate) use references::containers;

/// The group that may do everything.
pub const SUPERUSERS: &str = "system:masters";

/// The answer to "may they?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Why, in upstream's words; may be empty.
    pub reason: String,
}

impl Decision {
    fn allow(reason: impl Into<String>) -> Self {
        Self { allowed: true, reason: reason.into() }
    }
}

/// Judges requests by the objects of this master's memory.
#[derive(Debug)]
pub struct Authorizer {
    reader: Arc<dyn Reader>,
    rbac: rbac::Rbac,
}

impl Authorizer {
    /// An authorizer that notices changes of RBAC objects by itself, at the price of listing them at
    /// each request.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self { rbac: rbac::Rbac::new(Arc::clone(&reader), None), reader }
    }

    /// An authorizer that looks for changes only when `changes` has moved: whoever feeds the reader
    /// adds one after each change of an object of `rbac.authorization.k8s.io`.
    pub fn with_changes(reader: Arc<dyn Reader>, changes: Arc<AtomicU64>) -> Self {
        Self { rbac: rbac::Rbac::new(Arc::clone(&reader), Some(changes)), reader }
    }

    /// The reader that decisions rest on.
    pub fn reader(&self) -> &Arc<dyn Reader> {
        &self.reader
    }

    /// Judges a request without a field selector.
    pub fn authorize(&self, request: &Attributes) -> Decision {
        self.authorize_selected(request, "")
    }

    /// Judges a request; `field_selector` is the query parameter of a list, watch or
    /// deletecollection: a node may list the pods whose `spec.nodeName` it is.
    pub fn authorize_selected(&self, request: &Attributes, field_selector: &str) -> Decision {
        if is_superuser(&request.identity) {
            return Decision::allow("");
        }
        let node_reason = match node::authorize(self.reader.as_ref(), request, field_selector) {
            node::Opinion::Allow => return Decision::allow(""),
            node::Opinion::None(reason) => reason,
        };
        match self.rbac.find(request) {
            Some(origin) => Decision::allow(format!("RBAC: allowed by {origin}")),
            None => Decision { allowed: false, reason: node_reason },
        }
    }

    /// Every rule an identity holds in a namespace (for nodes: without what their pods give them).
    pub fn rules(&self, identity: &Identity, namespace: &str) -> Vec<Rule> {
        let mut rules = self.rbac.rules(identity, namespace);
        if is_superuser(identity) {
            rules.push(crate::policy::notation::rule("* | * | *"));
            rules.push(crate::policy::notation::rule("* | *"));
        }
        rules
    }
}

/// Whether an identity belongs to the group that may do everything.
pub fn is_superuser(identity: &Identity) -> bool {
    identity.groups.iter().any(|group| group == SUPERUSERS)
}

/// The refusal of a request: `pods "x" is forbidden: User "u" cannot get resource …`.
pub fn forbidden(request: &Attributes, reason: &str) -> ApiError {
    let message = forbidden_message(request, reason);
    match request.resource.as_str() {
        "" => ApiError::forbidden("", "", "", message),
        resource => ApiError::forbidden(&request.group, resource, &request.name, message),
    }
}

/// What a refused user is told: upstream's text, built in this one place.
pub fn forbidden_message(request: &Attributes, reason: &str) -> String {
    let (user, verb) = (&request.identity.user, &request.verb);
    let told = if request.resource.is_empty() {
        format!("User {user:?} cannot {verb} path {:?}", request.path)
    } else {
        let place = match request.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let resource = full_resource(request);
        format!(
            "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
            request.group
        )
    };
    if reason.is_empty() { told } else { format!("{told}: {reason}") }
}

/// `pods`, `pods/log`.
fn full_resource(request: &Attributes) -> String {
    match request.subresource.as_str() {
        "" => request.resource.clone(),
        subresource => format!("{}/{subresource}", request.resource),
    }
}

#[cfg(test)]
mod tests;
