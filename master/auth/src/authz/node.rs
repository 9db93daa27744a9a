//! What the agent of a node may do: its own objects, and what its pods refer to.
//!
//! Upstream keeps a graph of references; here the pods of the node are read from this master's memory
//! when a request asks for an object that only a reference justifies.
//!
//! # Invariants
//! - A secret, config map, claim or service account is readable only while a pod bound to the node
//!   refers to it. Listing them all is never allowed.

use std::sync::{Arc, OnceLock};

use master_api::access::{Attributes, Identity, Reader};
use serde_json::Value;

use crate::authz::references;
use crate::authz::rule::Rule;
use crate::json::text;
use crate::policy::notation;

/// What every node may do, whatever its pods (upstream's node rules).
const RULES: &str = "
  create | authentication.k8s.io | tokenreviews
  create | authorization.k8s.io | localsubjectaccessreviews,subjectaccessreviews
  read | core | services
  create,patch,update | core,events.k8s.io | events
  get | core | endpoints
  create,read | certificates.k8s.io | certificatesigningrequests
  read | storage.k8s.io | csidrivers
  read | node.k8s.io | runtimeclasses
  get | /healthz /livez /readyz /version
";

/// The verdict of the node authorizer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opinion {
    Allow,
    /// Another authorizer may still allow it; the reason is shown if none does.
    None(String),
}

/// The node that an identity stands for.
pub fn node_name(identity: &Identity) -> Option<&str> {
    let is_node = identity.groups.iter().any(|group| group == "system:nodes");
    identity.user.strip_prefix("system:node:").filter(|name| is_node && !name.is_empty())
}

/// Judges a request; `field_selector` is the one of a list or watch, as it stood in the query.
pub(crate) fn authorize(
    reader: &dyn Reader,
    request: &Attributes,
    field_selector: &str,
) -> Opinion {
    let Some(node) = node_name(&request.identity) else { return Opinion::None(String::new()) };
    let scope = Scope { reader, node, request };
    match (request.group.as_str(), request.resource.as_str()) {
        ("", "secrets") => scope.read_referred(references::Kind::Secret),
        ("", "configmaps") => scope.read_referred(references::Kind::ConfigMap),
        ("", "persistentvolumeclaims") if request.subresource == "status" => {
            scope.update_status(references::Kind::Claim)
        }
        ("", "persistentvolumeclaims") => scope.get_referred(references::Kind::Claim),
        ("", "persistentvolumes") => scope.get_referred(references::Kind::Volume),
        ("", "serviceaccounts") => scope.service_account(),
        ("", "nodes") => scope.node(),
        ("", "pods") => scope.pod(field_selector),
        ("storage.k8s.io", "volumeattachments") => scope.volume_attachment(),
        ("storage.k8s.io", "csinodes") => scope.own_by_name("a CSINode", "CSINode"),
        ("coordination.k8s.io", "leases") => scope.lease(),
        _ if rules().iter().any(|rule| rule.allows(request)) => Opinion::Allow,
        _ => Opinion::None(String::new()),
    }
}

fn rules() -> &'static [Rule] {
    static PARSED: OnceLock<Vec<Rule>> = OnceLock::new();
    PARSED.get_or_init(|| {
        RULES.lines().map(str::trim).filter(|line| !line.is_empty()).map(notation::rule).collect()
    })
}

struct Scope<'a> {
    reader: &'a dyn Reader,
    node: &'a str,
    request: &'a Attributes,
}

fn none(reason: &str) -> Opinion {
    Opinion::None(reason.to_owned())
}

fn allow_if(condition: bool, reason: &str) -> Opinion {
    if condition { Opinion::Allow } else { none(reason) }
}

impl Scope<'_> {
    fn verb_in(&self, verbs: &[&str]) -> bool {
        verbs.contains(&self.request.verb.as_str())
    }

    fn read_referred(&self, kind: references::Kind) -> Opinion {
        if !self.verb_in(&["get", "list", "watch"]) {
            return none("can only read resources of this type");
        }
        if !self.request.subresource.is_empty() {
            return none("cannot read subresource");
        }
        if self.request.namespace.is_empty() {
            return none("can only read namespaced object of this type");
        }
        self.referred(kind)
    }

    fn get_referred(&self, kind: references::Kind) -> Opinion {
        if !self.verb_in(&["get"]) {
            return none("can only get individual resources of this type");
        }
        if !self.request.subresource.is_empty() {
            return none("cannot get subresource");
        }
        self.referred(kind)
    }

    fn update_status(&self, kind: references::Kind) -> Opinion {
        if !self.verb_in(&["update", "patch"]) {
            return none("can only get/update/patch this type");
        }
        self.referred(kind)
    }

    fn referred(&self, kind: references::Kind) -> Opinion {
        if self.request.name.is_empty() {
            return none("No Object name found");
        }
        let is_referred = match kind {
            references::Kind::Volume => self.volume_is_claimed(),
            _ => self
                .pods(&self.request.namespace)
                .any(|pod| references::refers(&pod, kind, &self.request.name)),
        };
        allow_if(is_referred, &self.no_relationship())
    }

    fn no_relationship(&self) -> String {
        format!("no relationship found between node '{}' and this object", self.node)
    }

    /// The pods bound to this node, in one namespace or (empty) everywhere.
    fn pods(&self, namespace: &str) -> impl Iterator<Item = Arc<Value>> {
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        let pods = self.reader.list("", "pods", namespace);
        pods.into_iter().filter(|pod| text(pod, "/spec/nodeName") == self.node)
    }

    fn volume_is_claimed(&self) -> bool {
        let Some(volume) = self.reader.get("", "persistentvolumes", "", &self.request.name) else {
            return false;
        };
        let claim = text(&volume, "/spec/claimRef/name");
        let namespace = text(&volume, "/spec/claimRef/namespace");
        !claim.is_empty()
            && self
                .pods(namespace)
                .any(|pod| references::refers(&pod, references::Kind::Claim, claim))
    }

    fn service_account(&self) -> Opinion {
        match (self.request.verb.as_str(), self.request.subresource.as_str()) {
            ("get", "") => self.read_referred(references::Kind::ServiceAccount),
            ("create", "token") => self.referred(references::Kind::ServiceAccount),
            ("create", _) => none("can only create token subresource of serviceaccount"),
            _ => none("can only create tokens for individual service accounts"),
        }
    }

    fn node(&self) -> Opinion {
        match (self.request.subresource.as_str(), self.request.verb.as_str()) {
            // Which node it touches is checked by NodeRestriction, which sees the object.
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Opinion::Allow,
            ("", "get" | "list" | "watch") if self.request.name == self.node => Opinion::Allow,
            ("", "get" | "list" | "watch") if self.request.name.is_empty() => none(&format!(
                "node '{}' cannot read all nodes, only its own Node object",
                self.node
            )),
            ("", "get" | "list" | "watch") => none(&format!(
                "node '{}' cannot read '{}', only its own Node object",
                self.node, self.request.name
            )),
            _ => none(""),
        }
    }

    fn pod(&self, field_selector: &str) -> Opinion {
        match (self.request.subresource.as_str(), self.request.verb.as_str()) {
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                Opinion::Allow
            }
            ("", "list" | "watch") if selects_node(field_selector, self.node) => Opinion::Allow,
            ("", "list" | "watch") if self.request.name.is_empty() => {
                none("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "get" | "list" | "watch") => {
                let pod = self.reader.get("", "pods", &self.request.namespace, &self.request.name);
                let is_here = pod.is_some_and(|pod| text(&pod, "/spec/nodeName") == self.node);
                allow_if(is_here, &self.no_relationship())
            }
            _ => none(""),
        }
    }

    fn lease(&self) -> Opinion {
        if !self.verb_in(&["get", "create", "update", "patch", "delete"]) {
            return none("can only get, create, update, patch, or delete a node lease");
        }
        if self.request.namespace != "kube-node-lease" {
            return none("can only access leases in the \"kube-node-lease\" system namespace");
        }
        let is_own = self.request.verb == "create" || self.request.name == self.node;
        allow_if(is_own, "can only access node lease with the same name as the requesting node")
    }

    fn own_by_name(&self, what: &str, short: &str) -> Opinion {
        if !self.verb_in(&["get", "create", "update", "patch", "delete"]) {
            return none(&format!("can only get, create, update, patch, or delete {what}"));
        }
        if !self.request.subresource.is_empty() {
            return none(&format!("cannot authorize {short} subresources"));
        }
        let is_own = self.request.verb == "create" || self.request.name == self.node;
        allow_if(
            is_own,
            &format!("can only access {short} with the same name as the requesting node"),
        )
    }

    fn volume_attachment(&self) -> Opinion {
        if !self.verb_in(&["get"]) {
            return none("can only get individual resources of this type");
        }
        let attachment =
            self.reader.get("storage.k8s.io", "volumeattachments", "", &self.request.name);
        let is_here = attachment.is_some_and(|object| text(&object, "/spec/nodeName") == self.node);
        allow_if(is_here, &self.no_relationship())
    }
}

fn selects_node(field_selector: &str, node: &str) -> bool {
    field_selector.split(',').any(|term| {
        let value =
            term.strip_prefix("spec.nodeName=").map(|rest| rest.strip_prefix('=').unwrap_or(rest));
        value == Some(node)
    })
}
