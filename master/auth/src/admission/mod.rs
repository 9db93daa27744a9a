//! What a write must meet beyond its author's permission: plugins that complete or refuse objects.
//!
//! # Path
//! `rest/<verb>` (decoded, defaulted) → [`Chain::mutate`] → the kind's validation →
//! [`Chain::validate`] → `storage`
//!
//! # Invariants
//! - Mutation is idempotent: running the chain on its own result changes nothing, policies apart.
//! - Whoever may change an object sees what policies made of it.
//! - A plugin sees every way to its kind: subresources are named by the plugins that matter to them.

mod cel;
mod certificates;
mod claim_resize;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod limit_ranger;
mod mountable_secrets;
mod namespace_lifecycle;
mod node_restriction;
mod pod_resize;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod rbac_escalation;
pub mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_object_in_use;
mod taint_nodes;

use std::fmt::Debug;
use std::sync::Arc;

use master_api::access::{Identity, Reader};
use master_api::status::ApiError;
use serde_json::Value;

use crate::authz::Authorizer;

pub(crate) use node_restriction::check_token;

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, port-forward, proxy.
    Connect,
}

/// A write that asks to be let through.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub operation: Operation,
    pub group: &'a str,
    /// The plural.
    pub resource: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    pub kind: &'a str,
    /// Empty for a cluster-scoped object.
    pub namespace: &'a str,
    /// Empty while a generated name is not known.
    pub name: &'a str,
    /// The object as stored, on update and delete.
    pub old: Option<&'a Value>,
    pub identity: &'a Identity,
    pub reader: &'a dyn Reader,
    pub dry_run: bool,
}

impl Request<'_> {
    /// Whether this is about a resource (`pods`) or subresource (`pods/status`) of a group.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        self.group == group && self.resource == resource && self.subresource == subresource
    }

    /// `pods "x" is forbidden: …`
    pub fn forbidden(&self, message: impl Into<String>) -> ApiError {
        ApiError::forbidden(self.group, self.resource, self.name, message)
    }
}

/// One rule about writes. On delete and connect the object is null.
pub trait Plugin: Send + Sync + Debug {
    /// Completes the object, or refuses it.
    fn mutate(&self, _request: &Request<'_>, _object: &mut Value) -> Result<(), ApiError> {
        Ok(())
    }

    /// The same; whether others are to look once more at what was changed.
    fn change(&self, request: &Request<'_>, object: &mut Value) -> Result<bool, ApiError> {
        self.mutate(request, object).map(|()| false)
    }

    /// A second look, after something was changed.
    fn mutate_again(&self, request: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        self.mutate(request, object)
    }

    /// Refuses the completed object, or adds warnings for the client.
    fn validate(
        &self,
        _request: &Request<'_>,
        _object: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

/// All plugins, in order.
#[derive(Debug)]
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

/// The plugins of every cluster.
pub fn chain(authorizer: &Arc<Authorizer>) -> Chain {
    Chain {
        plugins: vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(service_account::ServiceAccount),
            Box::new(node_restriction::NodeRestriction),
            Box::new(taint_nodes::TaintNodesByCondition),
            Box::new(pod_topology_labels::PodTopologyLabels),
            Box::new(priority::Priority),
            Box::new(default_toleration_seconds::DefaultTolerationSeconds),
            Box::new(default_storage_class::DefaultStorageClass),
            Box::new(default_ingress_class::DefaultIngressClass),
            Box::new(storage_object_in_use::StorageObjectInUseProtection),
            Box::new(runtime_class::RuntimeClass),
            Box::new(limit_ranger::LimitRanger),
            Box::new(pod_resize::PodResize),
            Box::new(claim_resize::ClaimResize),
            Box::new(pod_security::PodSecurity),
            Box::new(certificates::Certificates::new(Arc::clone(authorizer))),
            Box::new(rbac_escalation::RbacEscalation::new(Arc::clone(authorizer))),
            Box::new(cel::MutatingPolicy::new(Arc::clone(authorizer))),
            Box::new(cel::ValidatingPolicy::new(Arc::clone(authorizer))),
            // Last: what is refused by others must not count.
            Box::new(resource_quota::ResourceQuota),
        ],
    }
}

impl Chain {
    /// Completes an object before it is validated. What a policy has changed is completed once more.
    pub fn mutate(&self, request: &Request<'_>, object: &mut Value) -> Result<(), ApiError> {
        let mut is_changed = false;
        for plugin in &self.plugins {
            is_changed |= plugin.change(request, object)?;
        }
        if is_changed {
            self.plugins.iter().try_for_each(|plugin| plugin.mutate_again(request, object))?;
        }
        Ok(())
    }

    /// Judges a completed object; returns warnings for the client.
    pub fn validate(&self, request: &Request<'_>, object: &Value) -> Result<Vec<String>, ApiError> {
        let mut warnings = Vec::new();
        for plugin in &self.plugins {
            plugin.validate(request, object, &mut warnings)?;
        }
        Ok(warnings)
    }

    /// Both, where nothing comes between (delete, connect).
    pub fn admit(
        &self,
        request: &Request<'_>,
        object: &mut Value,
    ) -> Result<Vec<String>, ApiError> {
        self.mutate(request, object)?;
        self.validate(request, object)
    }
}

/// Whether something may be made in the request's namespace, as the reader has that now.
pub fn takes_in(request: &Request<'_>) -> Result<(), ApiError> {
    namespace_lifecycle::NamespaceLifecycle.mutate(request, &mut Value::Null)
}

/// Whether a create failed only because the namespace's default service account is not there yet:
/// upstream then tries again for about a second, since a controller makes it.
pub fn waits_for_default_account(error: &ApiError) -> bool {
    matches!(error, ApiError::Forbidden { message, .. } if message.ends_with("serviceaccount \"default\" not found"))
}

#[cfg(test)]
mod tests;
