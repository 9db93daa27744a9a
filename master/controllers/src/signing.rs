//! Approves and signs the certificates that nodes ask for, and clears old requests away.
//!
//! Watches: `CertificateSigningRequest`. Writes: its approval and status; deletes old ones.
//!
//! # Invariants
//! - A node gets certificates for itself only: its own user name, and as a server the addresses that
//!   its Node object shows.
//! - Nobody becomes `system:masters` by a request.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition as Condition,
};
use k8s_openapi::api::core::v1::Node;
use store_env::task::Group;

use crate::context::{CsrSubject, Cx, SignRequest};
use crate::controller::{Controller, Requeue};
use crate::error::{Error, Forgive};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const NODE_USER: &str = "system:node:";
const NODES: &str = "system:nodes";
const BOOTSTRAPPERS: &str = "system:bootstrappers";
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Settled requests are kept this long, unsettled ones a day.
const KEEP_SETTLED_S: i64 = 3_600;
const KEEP_PENDING_S: i64 = 86_400;

/// Starts the controller.
pub(crate) fn start(cx: &Cx, group: &mut Group) {
    Controller::new("certificate-controller", cx, group)
        .of(&cx.informers.signing_requests)
        .run(2, reconcile);
}

async fn reconcile(cx: Cx, name: String) -> Result<Requeue, Error> {
    let Some(request) = cx.informers.signing_requests.get(&name) else {
        return Ok(Requeue::OnChange);
    };
    let left = age_left(&request, cx.now());
    if left.is_zero() {
        return cx.delete(&*request).await.or_gone().map(|()| Requeue::OnChange);
    }
    let pem = String::from_utf8_lossy(&request.spec.request.0).into_owned();
    let signer = request.spec.signer_name.as_str();
    if ![CLIENT, KUBELET_CLIENT, KUBELET_SERVING].contains(&signer) || has(&request, "Denied") {
        return Ok(Requeue::After(left));
    }
    let subject = match cx.config.signer.inspect(&pem) {
        Ok(subject) => subject,
        Err(error) => return fail(&cx, &request, error).await.map(|()| Requeue::After(left)),
    };
    let mut current = (*request).clone();
    if !has(&current, "Approved") {
        let node = cx.informers.nodes.get(subject.common_name.trim_start_matches(NODE_USER));
        if !may_approve(&current, &subject, node.as_deref()) {
            // The node may yet show its addresses.
            let soon =
                if signer == KUBELET_SERVING { Duration::from_secs(5).min(left) } else { left };
            return Ok(Requeue::After(soon));
        }
        let approved =
            condition("Approved", "AutoApproved", "Auto approving a node's certificate.", &cx);
        current.status.get_or_insert_default().conditions.get_or_insert_default().push(approved);
        current = cx.replace_part("approval", &current).await?;
    }
    let has_certificate =
        current.status.as_ref().is_some_and(|status| status.certificate.is_some());
    if has_certificate || has(&current, "Failed") {
        return Ok(Requeue::After(left));
    }
    match profile(&current, &subject, pem).and_then(|profile| cx.config.signer.sign(&profile)) {
        Ok(chain) => {
            let certificate = Some(ByteString(chain.into_bytes()));
            current.status.get_or_insert_default().certificate = certificate;
            cx.replace_status(&current).await?;
        }
        Err(error) => fail(&cx, &current, error).await?,
    }
    Ok(Requeue::After(left))
}

async fn fail(cx: &Cx, request: &CertificateSigningRequest, error: String) -> Result<(), Error> {
    if has(request, "Failed") {
        return Ok(());
    }
    let mut failed = request.clone();
    let conditions = failed.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.push(condition("Failed", "SignerValidationFailure", &error, cx));
    cx.replace_status(&failed).await.or_gone()
}

fn condition(kind: &str, reason: &str, message: &str, cx: &Cx) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(cx.now_s()),
        last_transition_time: Some(cx.now_s()),
    }
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == kind && c.status == "True")
}

/// How long the request is still kept.
fn age_left(request: &CertificateSigningRequest, now: Timestamp) -> Duration {
    let is_settled = ["Approved", "Denied", "Failed"].iter().any(|kind| has(request, kind));
    let keep_s = if is_settled { KEEP_SETTLED_S } else { KEEP_PENDING_S };
    let made = request.metadata.creation_timestamp.as_ref();
    let age_s = made.map_or(0, |made| now.as_second() - made.0.as_second());
    Duration::from_secs(u64::try_from(keep_s - age_s).unwrap_or(0))
}

/// Whether a node asks for what is its own. Certificates for people need a person's approval.
fn may_approve(
    request: &CertificateSigningRequest,
    subject: &CsrSubject,
    node: Option<&Node>,
) -> bool {
    let spec = &request.spec;
    let user = spec.username.as_deref().unwrap_or_default();
    let in_group = |name: &str| spec.groups.iter().flatten().any(|group| group == name);
    let names_a_node =
        subject.common_name.len() > NODE_USER.len() && subject.common_name.starts_with(NODE_USER);
    if !names_a_node || subject.organizations != [NODES] {
        return false;
    }
    let is_self = user == subject.common_name && in_group(NODES);
    match spec.signer_name.as_str() {
        KUBELET_CLIENT => {
            subject.alt_names.is_empty()
                && uses(request, "client auth")
                && (is_self || in_group(BOOTSTRAPPERS))
        }
        KUBELET_SERVING => {
            let owned = |name: &String| node.is_some_and(|node| is_address(node, name));
            is_self
                && uses(request, "server auth")
                && !subject.alt_names.is_empty()
                && subject.alt_names.iter().all(owned)
        }
        _ => false,
    }
}

/// The usages are those of a node's certificate: `wanted`, and nothing beyond signing with the key.
fn uses(request: &CertificateSigningRequest, wanted: &str) -> bool {
    let usages = request.spec.usages.clone().unwrap_or_default();
    let known = ["key encipherment", "digital signature", wanted];
    usages.iter().any(|usage| usage == wanted)
        && usages.iter().all(|usage| known.contains(&usage.as_str()))
}

fn is_address(node: &Node, name: &str) -> bool {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    node.metadata.name.as_deref() == Some(name)
        || addresses.into_iter().flatten().any(|address| address.address == name)
}

/// What the certificate will say.
fn profile(
    request: &CertificateSigningRequest,
    subject: &CsrSubject,
    csr_pem: String,
) -> Result<SignRequest, String> {
    let is_serving = request.spec.signer_name == KUBELET_SERVING;
    if subject.organizations.iter().any(|group| group == "system:masters") {
        return Err("system:masters is not given out by request".to_owned());
    }
    if subject.organizations.len() > 1 {
        return Err("a certificate has one organization at most".to_owned());
    }
    let asked_s = request.spec.expiration_seconds.and_then(|s| u64::try_from(s).ok());
    let lifetime = asked_s.map_or(YEAR, |s| Duration::from_secs(s.max(600)).min(YEAR));
    Ok(SignRequest {
        csr_pem,
        common_name: subject.common_name.clone(),
        organization: subject.organizations.first().cloned(),
        alt_names: if is_serving { subject.alt_names.clone() } else { Vec::new() },
        is_serving,
        lifetime,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{at, object, time};

    fn request(
        signer: &str,
        user: &str,
        group: &str,
        usages: &[&str],
    ) -> CertificateSigningRequest {
        object(json!({"metadata": {"name": "r", "creationTimestamp": time(1_000)}, "spec": {
            "request": "", "signerName": signer, "username": user, "groups": [group],
            "usages": usages}}))
    }

    fn subject(name: &str, group: &str, alt_names: &[&str]) -> CsrSubject {
        CsrSubject {
            common_name: name.to_owned(),
            organizations: vec![group.to_owned()],
            alt_names: alt_names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn node_gets_client_certificates_for_itself_only() {
        let usages = ["digital signature", "client auth"];
        let table = [
            ("system:node:a", NODES, "system:node:a", NODES, true),
            ("system:node:b", NODES, "system:node:a", NODES, false),
            ("system:bootstrap:x", BOOTSTRAPPERS, "system:node:a", NODES, true),
            ("alice", "users", "system:node:a", NODES, false),
            ("system:node:a", NODES, "admin", "system:masters", false),
            ("system:node:a", NODES, "system:node:a", "system:masters", false),
            ("system:node:a", NODES, "system:node:", NODES, false),
        ];
        for (user, group, name, organization, expected) in table {
            let request = request(KUBELET_CLIENT, user, group, &usages);
            let got = may_approve(&request, &subject(name, organization, &[]), None);
            assert_eq!(got, expected, "{user} asks for {name}, {organization}");
        }
        let server = request(KUBELET_CLIENT, "system:node:a", NODES, &["server auth"]);
        assert!(!may_approve(&server, &subject("system:node:a", NODES, &[]), None));
    }

    #[test]
    fn serving_certificate_is_for_the_addresses_that_the_node_shows() {
        let node: Node = object(json!({"metadata": {"name": "a"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.1"}]}}));
        let request =
            request(KUBELET_SERVING, "system:node:a", NODES, &["digital signature", "server auth"]);
        let table: [(&[&str], Option<&Node>, bool); 5] = [
            (&["a", "10.0.0.1"], Some(&node), true),
            (&["10.0.0.2"], Some(&node), false),
            (&["a", "kubernetes.default"], Some(&node), false),
            (&[], Some(&node), false),
            (&["10.0.0.1"], None, false),
        ];
        for (names, node, expected) in table {
            let got = may_approve(&request, &subject("system:node:a", NODES, names), node);
            assert_eq!(got, expected, "{names:?}");
        }
    }

    #[test]
    fn nobody_becomes_a_master_by_request() {
        let request = request(CLIENT, "alice", "users", &["client auth"]);
        let wish = subject("root", "system:masters", &[]);
        assert!(profile(&request, &wish, String::new()).is_err());
        let wish = subject("alice", "users", &["10.0.0.1"]);
        let profile = profile(&request, &wish, String::new()).unwrap();
        assert_eq!((profile.is_serving, profile.alt_names.len()), (false, 0));
        assert_eq!(profile.lifetime, YEAR);
    }

    #[test]
    fn old_requests_are_cleared_away() {
        let mut request = request(CLIENT, "alice", "users", &[]);
        assert_eq!(age_left(&request, at(1_000)).as_secs(), 86_400);
        request.status = object(json!({"conditions": [{"type": "Denied", "status": "True"}]}));
        assert_eq!(age_left(&request, at(1_000)).as_secs(), 3_600);
        assert!(age_left(&request, at(4_600)).is_zero());
    }
}
