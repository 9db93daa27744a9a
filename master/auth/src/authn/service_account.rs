//! A verified service-account token as an identity, while what it is bound to still exists.
//!
//! # Invariants
//! - A token dies with its service account, pod, secret or node: same name with another uid is no
//!   match, and an object that has been terminating for longer than the leeway counts as gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use master_api::access::{Identity, Reader};
use serde_json::Value;

use crate::authn::Refusal;
use crate::json::text;
use crate::tokens::{Claims, Reference};

/// How long a terminating object still vouches for its tokens.
const TERMINATING_LEEWAY_S: i64 = 60;
const INVALIDATED: &str = "service account token has been invalidated";
const PREFIX: &str = "authentication.kubernetes.io";

/// Checks the objects that the claims refer to.
pub(crate) fn identity(
    reader: &dyn Reader,
    claims: &Claims,
    now_s: i64,
) -> Result<Identity, Refusal> {
    let private = &claims.kubernetes;
    let namespace = private.namespace.as_str();
    let account = &private.serviceaccount;
    let expected = user_name(namespace, &account.name);
    if claims.sub != expected {
        return Err(Refusal::Known(format!(
            "sub is {:?}, the service account {expected:?}",
            claims.sub
        )));
    }
    alive(reader, "serviceaccounts", namespace, account, now_s)?;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        extra.insert(format!("{PREFIX}/{key}"), vec![value.to_owned()]);
    };
    if let Some(pod) = &private.pod {
        alive(reader, "pods", namespace, pod, now_s)?;
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(secret) = &private.secret {
        alive(reader, "secrets", namespace, secret, now_s)?;
    }
    if let Some(node) = &private.node {
        if private.pod.is_none() {
            alive(reader, "nodes", "", node, now_s)?;
        }
        add("node-name", &node.name);
        if !node.uid.is_empty() {
            add("node-uid", &node.uid);
        }
    }
    if !claims.jti.is_empty() {
        add("credential-id", &format!("JTI={}", claims.jti));
    }
    Ok(Identity { user: expected, uid: account.uid.clone(), groups: groups(namespace), extra })
}

/// The user name of a service account.
pub(crate) fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The groups of every service account of a namespace.
pub(crate) fn groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]
}

fn alive(
    reader: &dyn Reader,
    resource: &str,
    namespace: &str,
    wanted: &Reference,
    now_s: i64,
) -> Result<Arc<Value>, Refusal> {
    let name = &wanted.name;
    let is_account = resource == "serviceaccounts";
    let Some(object) = reader.get("", resource, namespace, name) else {
        return Err(Refusal::Known(match is_account {
            true => format!("serviceaccounts {name:?} not found"),
            false => INVALIDATED.to_owned(),
        }));
    };
    let uid = text(&object, "/metadata/uid");
    if uid != wanted.uid {
        let claimed = &wanted.uid;
        return Err(Refusal::Known(match resource {
            "serviceaccounts" => {
                format!("service account UID ({uid}) does not match claim ({claimed})")
            }
            "pods" => {
                format!("pod UID ({uid}) does not match service account pod ref claim ({claimed})")
            }
            "secrets" => format!(
                "secret UID ({uid}) does not match service account secret ref claim ({claimed})"
            ),
            _ => format!(
                "node UID ({uid}) does not match service account node ref claim ({claimed})"
            ),
        }));
    }
    let deleted = text(&object, "/metadata/deletionTimestamp");
    if !deleted.is_empty() {
        let deleted_s = deleted.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
        if deleted_s + TERMINATING_LEEWAY_S < now_s {
            return Err(Refusal::Known(match is_account {
                true => format!("service account {namespace}/{name} has been deleted"),
                false => INVALIDATED.to_owned(),
            }));
        }
    }
    Ok(object)
}
