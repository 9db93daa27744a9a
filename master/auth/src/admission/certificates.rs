//! Certificate requests: who may approve and sign for a signer, and what no signer may be asked for.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master_api::access::Attributes;
use master_api::status::ApiError;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::admission::{Operation, Plugin, Request};
use crate::authz::{Authorizer, SUPERUSERS};
use crate::json::text;

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

#[derive(Debug)]
pub(super) struct Certificates {
    authorizer: Arc<Authorizer>,
}

impl Certificates {
    pub(super) fn new(authorizer: Arc<Authorizer>) -> Self {
        Self { authorizer }
    }

    /// Whether the user may `verb` for a signer, or for all signers of its domain.
    fn may(&self, request: &Request<'_>, verb: &str, signer: &str) -> bool {
        let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
        let mut names = std::iter::once(signer.to_owned()).chain(domain);
        names.any(|name| {
            let asked = Attributes {
                identity: request.identity.clone(),
                verb: verb.to_owned(),
                group: GROUP.to_owned(),
                version: "*".to_owned(),
                resource: "signers".to_owned(),
                name,
                ..Attributes::default()
            };
            self.authorizer.authorize(&asked).allowed
        })
    }
}

impl Plugin for Certificates {
    fn validate(
        &self,
        request: &Request<'_>,
        object: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        if request.group != GROUP || request.resource != RESOURCE {
            return Ok(());
        }
        let stored = request.old.unwrap_or(object);
        let signer = text(stored, "/spec/signerName");
        match (request.operation, request.subresource) {
            (Operation::Create, "") if signer == CLIENT_SIGNER && asks_for_superuser(object) => {
                Err(request.forbidden(format!(
                    "use of {CLIENT_SIGNER} signer with {SUPERUSERS} group is not allowed"
                )))
            }
            (Operation::Update, "approval") if !self.may(request, "approve", signer) => {
                Err(request.forbidden(format!(
                    "user not permitted to approve requests with signerName {signer:?}"
                )))
            }
            (Operation::Update, "status")
                if is_signed(request, object) && !self.may(request, "sign", signer) =>
            {
                Err(request.forbidden(format!(
                    "user not permitted to sign requests with signerName {signer:?}"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Whether this update is what a signer does: it sets the certificate, or fails the request.
fn is_signed(request: &Request<'_>, object: &Value) -> bool {
    let field = |object: Option<&Value>, pointer: &str| {
        object.and_then(|object| object.pointer(pointer).cloned())
    };
    let changes = |pointer: &str| field(request.old, pointer) != field(Some(object), pointer);
    changes("/status/certificate") || changes("/status/conditions")
}

fn asks_for_superuser(object: &Value) -> bool {
    let Ok(pem) = STANDARD.decode(text(object, "/spec/request")) else { return false };
    subject(&pem)
        .is_some_and(|(_, organizations)| organizations.iter().any(|group| group == SUPERUSERS))
}

/// Common name and organizations of a certificate request in PEM.
pub(super) fn subject(pem: &[u8]) -> Option<(String, Vec<String>)> {
    let pem = Pem::iter_from_buffer(pem).next()?.ok()?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &request.certification_request_info.subject;
    let name = subject.iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or_default();
    let organizations = subject.iter_organization().filter_map(|name| name.as_str().ok());
    Some((name.to_owned(), organizations.map(str::to_owned).collect()))
}
