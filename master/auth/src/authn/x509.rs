//! A client certificate as an identity: the common name is the user, organizations are the groups.
//!
//! TLS has verified the chain against the client CA before; use and validity are checked again, so
//! that a certificate that expires during a long connection stops working.

use std::collections::BTreeMap;

use master_api::access::Identity;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authn::Refusal;

const SERIAL_KEY: &str = "authentication.kubernetes.io/credential-id";

/// The identity in a DER certificate at a moment in seconds since the Unix epoch.
pub(crate) fn identity(der: &[u8], now_s: i64) -> Result<Identity, Refusal> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|_| Refusal::Known("certificate is malformed".into()))?;
    let validity = certificate.validity();
    if now_s < validity.not_before.timestamp() {
        return Err(Refusal::Known("certificate is not yet valid".into()));
    }
    if now_s > validity.not_after.timestamp() {
        return Err(Refusal::Known("certificate has expired".into()));
    }
    let usage = certificate
        .extended_key_usage()
        .map_err(|_| Refusal::Known("extended key usage is malformed".into()))?;
    if !usage.is_some_and(|usage| usage.value.client_auth || usage.value.any) {
        return Err(Refusal::Known("certificate is not meant for client authentication".into()));
    }
    if certificate.is_ca() {
        return Err(Refusal::Known("a CA is no client".into()));
    }
    let subject = certificate.subject();
    let user = subject.iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or_default();
    if user.is_empty() {
        return Err(Refusal::Known("certificate has no common name".into()));
    }
    let organizations = subject.iter_organization().filter_map(|name| name.as_str().ok());
    let groups =
        organizations.map(str::to_owned).chain(["system:authenticated".to_owned()]).collect();
    let fingerprint = ring::digest::digest(&ring::digest::SHA256, der);
    let id = format!("X509SHA256={}", hex(fingerprint.as_ref()));
    let extra = BTreeMap::from([(SERIAL_KEY.to_owned(), vec![id])]);
    Ok(Identity { user: user.to_owned(), uid: String::new(), groups, extra })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
