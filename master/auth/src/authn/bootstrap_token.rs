//! Bootstrap tokens: short secrets with which a machine joins, kept as Secrets in `kube-system`.
//!
//! # Invariants
//! - The secret half is compared in constant time; the id half only finds the Secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use master_api::access::{Identity, Reader};
use serde_json::Value;

use crate::authn::Refusal;
use crate::json::text;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Whether a string has the form `abcdef.0123456789abcdef`.
pub(crate) fn is_one(token: &str) -> bool {
    let is_part = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    token.split_once('.').is_some_and(|(id, secret)| is_part(id, 6) && is_part(secret, 16))
}

/// The identity of a token's holder.
pub(crate) fn identity(reader: &dyn Reader, token: &str, now_s: i64) -> Result<Identity, Refusal> {
    let refused = |why: &str| Err(Refusal::Unknown(format!("bootstrap token: {why}")));
    let Some((id, secret)) = token.split_once('.') else { return refused("malformed") };
    let Some(object) = reader.get("", "secrets", NAMESPACE, &format!("bootstrap-token-{id}"))
    else {
        return refused("unknown");
    };
    let is_deleted = object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
    if text(&object, "/type") != TYPE || is_deleted || data(&object, "token-id") != id {
        return refused("unknown");
    }
    if !is_equal_in_constant_time(&data(&object, "token-secret"), secret) {
        return refused("wrong secret");
    }
    let expiration = data(&object, "expiration");
    if !expiration.is_empty() {
        let Ok(expires) = expiration.parse::<jiff::Timestamp>() else {
            return refused("unreadable expiration");
        };
        if expires.as_second() <= now_s {
            return refused("expired");
        }
    }
    if data(&object, "usage-bootstrap-authentication") != "true" {
        return refused("not meant for authentication");
    }
    let mut groups = vec![GROUP.to_owned()];
    let extra_groups = data(&object, "auth-extra-groups");
    for group in extra_groups.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        if !group.starts_with(&format!("{GROUP}:")) {
            return refused("extra groups outside system:bootstrappers:");
        }
        groups.push(group.to_owned());
    }
    groups.push("system:authenticated".to_owned());
    Ok(Identity { user: format!("system:bootstrap:{id}"), groups, ..Identity::default() })
}

fn data(secret: &Value, key: &str) -> String {
    let encoded = secret
        .get("data")
        .and_then(|data| data.get(key))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let decoded = STANDARD.decode(encoded).unwrap_or_default();
    String::from_utf8(decoded).unwrap_or_default()
}

/// Compares digests, so that neither a common prefix nor the length shows in the time it takes.
fn is_equal_in_constant_time(a: &str, b: &str) -> bool {
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let (a, b) = (digest(a), digest(b));
    let difference = a.as_ref().iter().zip(b.as_ref()).fold(0, |found, (a, b)| found | (a ^ b));
    difference == 0
}
