//! NodeRestriction: a node's agent changes its own node, lease and pods, and no other's.
//!
//! The authorizer lets nodes write these kinds at all; here, where the object is seen, it is decided
//! which ones.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master_api::access::Reader;
use master_api::status::ApiError;
use serde_json::Value;

use crate::admission::certificates;
use crate::admission::service_account::is_mirror;
use crate::admission::{Operation, Plugin, Request};
use crate::authz::{containers, node_name};
use crate::json::{is_true, items, text, text_map, texts};

/// Labels of the `kubernetes.io` and `k8s.io` domains that a node may set on itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const OWN_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

#[derive(Debug)]
pub(super) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        let Some(node) = node_name(request.identity) else { return Ok(()) };
        let check = Check { request, object, node };
        let verdict = match (request.group, request.resource) {
            ("", "pods") => check.pod(),
            ("", "nodes") => check.node(),
            ("", "serviceaccounts") if request.subresource == "token" => check.token(),
            ("coordination.k8s.io", "leases") => check.lease(),
            ("storage.k8s.io", "csinodes") => {
                check.own_name("can only access CSINode with the same name as the requesting node")
            }
            ("certificates.k8s.io", "certificatesigningrequests") => check.certificate(),
            _ => Ok(()),
        };
        verdict.map_err(|reason| request.forbidden(reason))
    }
}

struct Check<'a> {
    request: &'a Request<'a>,
    object: &'a Value,
    node: &'a str,
}

type Verdict = Result<(), String>;

impl Check<'_> {
    fn pod(&self) -> Verdict {
        let node = self.node;
        match (self.request.operation, self.request.subresource) {
            (Operation::Create, "") => self.mirror_pod(),
            (Operation::Delete, "") if !self.is_on_node(self.request.old) => {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            (Operation::Delete, "") => Ok(()),
            (Operation::Update, "status") => self.pod_status(),
            (Operation::Create, "eviction") => {
                let pod =
                    self.request.reader.get("", "pods", self.request.namespace, self.request.name);
                match pod.is_none_or(|pod| self.is_on_node(Some(&pod))) {
                    true => Ok(()),
                    false => Err(format!(
                        "node {node} can only evict pods with spec.nodeName set to itself"
                    )),
                }
            }
            (operation, "") => Err(format!(
                "unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods"
            )),
            (_, subresource) => Err(format!(
                "unexpected pod subresource {subresource:?}, only 'status' and 'eviction' are allowed"
            )),
        }
    }

    fn is_on_node(&self, pod: Option<&Value>) -> bool {
        pod.is_some_and(|pod| text(pod, "/spec/nodeName") == self.node)
    }

    fn pod_status(&self) -> Verdict {
        let node = self.node;
        if !self.is_on_node(self.request.old) {
            return Err(format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            ));
        }
        let old = self.request.old.map(|old| text_map(old, "/metadata/labels"));
        if old != Some(text_map(self.object, "/metadata/labels")) {
            return Err(format!("node {node:?} cannot update labels through pod status"));
        }
        Ok(())
    }

    fn mirror_pod(&self) -> Verdict {
        let (node, pod) = (self.node, self.object);
        if !is_mirror(pod) {
            return Err(format!(
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
            ));
        }
        if !self.is_on_node(Some(pod)) {
            return Err(format!(
                "node {node:?} can only create pods with spec.nodeName set to itself"
            ));
        }
        self.mirror_owner()?;
        let refers =
            |what: &str| Err(format!("node {node:?} can not create pods that reference {what}"));
        if !text(pod, "/spec/serviceAccountName").is_empty() {
            return refers("a service account");
        }
        let volumes = items(pod, "/spec/volumes");
        let has = |field: &str| {
            volumes.iter().any(|volume| volume.get(field).is_some_and(|value| !value.is_null()))
        };
        let has_in_env = |from: &str, key: &str| {
            containers(pod).any(|container| {
                items(container, "/envFrom").iter().any(|source| source.get(from).is_some())
                    || items(container, "/env")
                        .iter()
                        .any(|env| env.pointer(&format!("/valueFrom/{key}")).is_some())
            })
        };
        if has("secret")
            || has_in_env("secretRef", "secretKeyRef")
            || !items(pod, "/spec/imagePullSecrets").is_empty()
        {
            return refers("secrets");
        }
        if has("configMap") || has_in_env("configMapRef", "configMapKeyRef") {
            return refers("configmaps");
        }
        if has("persistentVolumeClaim") || has("ephemeral") {
            return refers("persistentvolumeclaims");
        }
        if has("projected") || !items(pod, "/spec/resourceClaims").is_empty() {
            return refers("projected volumes or resource claims");
        }
        Ok(())
    }

    fn mirror_owner(&self) -> Verdict {
        let node = self.node;
        match items(self.object, "/metadata/ownerReferences") {
            [] => Ok(()),
            [owner] => {
                let is_own = text(owner, "/apiVersion") == "v1"
                    && text(owner, "/kind") == "Node"
                    && text(owner, "/name") == node;
                if !is_own {
                    return Err(format!(
                        "node {node:?} can only create pods with an owner reference set to itself"
                    ));
                }
                if !is_true(owner, "/controller") {
                    return Err(format!(
                        "node {node:?} can only create pods with a controller owner reference set to itself"
                    ));
                }
                if is_true(owner, "/blockOwnerDeletion") {
                    return Err(format!(
                        "node {node:?} must not set blockOwnerDeletion on an owner reference"
                    ));
                }
                let own = self.request.reader.get("", "nodes", "", node);
                if own.is_some_and(|own| text(&own, "/metadata/uid") != text(owner, "/uid")) {
                    return Err(format!("node {node:?} UID mismatch: expected its own"));
                }
                Ok(())
            }
            _ => Err(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            )),
        }
    }

    fn node(&self) -> Verdict {
        let node = self.node;
        let own_name = text(self.object, "/metadata/name");
        let name = if self.request.name.is_empty() { own_name } else { self.request.name };
        if name != node {
            return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
        }
        match (self.request.operation, self.request.old) {
            (Operation::Create, _) => {
                let labels = text_map(self.object, "/metadata/labels").into_keys().collect();
                self.labels(labels, "set the following labels")?;
                if !items(self.object, "/metadata/ownerReferences").is_empty() {
                    return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
                }
                Ok(())
            }
            (Operation::Update, Some(old)) => {
                self.labels(changed_labels(old, self.object), "modify labels")?;
                let unchanged = |pointer: &str| {
                    let is_set = |value: &&Value| {
                        !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
                    };
                    old.pointer(pointer).filter(is_set)
                        == self.object.pointer(pointer).filter(is_set)
                };
                if !unchanged("/spec/taints") {
                    return Err(format!("node {node:?} is not allowed to modify taints"));
                }
                if !unchanged("/metadata/ownerReferences") {
                    return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn labels(&self, touched: BTreeSet<String>, what: &str) -> Verdict {
        let refused: Vec<String> =
            touched.into_iter().filter(|label| !is_own_label(label)).collect();
        match refused.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "node {:?} is not allowed to {what}: {}",
                self.node,
                refused.join(", ")
            )),
        }
    }

    fn token(&self) -> Verdict {
        check_token(self.request.reader, self.node, self.request.namespace, self.object)
    }

    fn lease(&self) -> Verdict {
        if self.request.namespace != "kube-node-lease" {
            return Err(
                "can only access leases in the \"kube-node-lease\" system namespace".to_owned()
            );
        }
        self.own_name("can only access node lease with the same name as the requesting node")
    }

    fn own_name(&self, refusal: &str) -> Verdict {
        let own_name = text(self.object, "/metadata/name");
        let name = if self.request.name.is_empty() { own_name } else { self.request.name };
        if name == self.node { Ok(()) } else { Err(refusal.to_owned()) }
    }

    /// A node asks for client certificates of its own name only.
    fn certificate(&self) -> Verdict {
        let is_create =
            self.request.operation == Operation::Create && self.request.subresource.is_empty();
        if !is_create || text(self.object, "/spec/signerName") != CLIENT_SIGNER {
            return Ok(());
        }
        let pem = STANDARD.decode(text(self.object, "/spec/request")).unwrap_or_default();
        let own = &self.request.identity.user;
        match certificates::subject(&pem) {
            Some((name, _)) if name == *own => Ok(()),
            _ => Err(format!("can only create a node CSR with CN={own}")),
        }
    }
}

/// Whether a node may have the token that it asks for: bound to a pod that runs there, and for
/// audiences that this pod names.
pub(crate) fn check_token(
    reader: &dyn Reader,
    node: &str,
    namespace: &str,
    request: &Value,
) -> Verdict {
    let to = |field: &str| text(request, &format!("/spec/boundObjectRef/{field}"));
    if to("kind") != "Pod" || to("apiVersion") != "v1" {
        return Err("node requested token not bound to a pod".to_owned());
    }
    if to("uid").is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let Some(pod) = reader.get("", "pods", namespace, to("name")) else {
        return Err(format!("pod {:?} not found", to("name")));
    };
    if text(&pod, "/metadata/uid") != to("uid") {
        let (asked, found) = (to("uid"), text(&pod, "/metadata/uid"));
        return Err(format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record ({found}). \
             The object might have been deleted and then recreated"
        ));
    }
    if text(&pod, "/spec/nodeName") != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    let projected =
        items(&pod, "/spec/volumes").iter().flat_map(|volume| items(volume, "/projected/sources"));
    let known: Vec<&str> =
        projected.map(|source| text(source, "/serviceAccountToken/audience")).collect();
    match texts(request, "/spec/audiences")
        .iter()
        .find(|audience| !known.contains(&audience.as_str()))
    {
        Some(audience) => Err(format!("audience {audience:?} not found in pod spec volume")),
        None => Ok(()),
    }
}

fn changed_labels(old: &Value, new: &Value) -> BTreeSet<String> {
    let (old, new) = (text_map(old, "/metadata/labels"), text_map(new, "/metadata/labels"));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

fn is_own_label(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return true };
    let within = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&label) || OWN_LABEL_DOMAINS.iter().any(|own| within(own))
}
