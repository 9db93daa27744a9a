//! What a service account that limits its pods lets them refer to: the secrets that it names itself
//! (annotation `kubernetes.io/enforce-mountable-secrets`). Pure.

use serde_json::Value;

use crate::json::{items, text};

const MARK: &str = "/metadata/annotations/kubernetes.io~1enforce-mountable-secrets";

/// Whether the pods of an account may only refer to its secrets.
pub(super) fn are_limited(account: &Value) -> bool {
    matches!(text(account, MARK), "1" | "t" | "T" | "TRUE" | "true" | "True")
}

/// Why a new pod may not have a secret that it refers to.
pub(super) fn refused_to_pod(account: &Value, pod: &Value) -> Option<String> {
    let owner = text(account, "/metadata/name");
    let is_listed = |list: &str, name: &str| {
        items(account, list).iter().any(|secret| text(secret, "/name") == name)
    };
    for volume in items(pod, "/spec/volumes") {
        let Some(secret) = volume.get("secret").filter(|secret| secret.is_object()) else {
            continue;
        };
        let name = text(secret, "/secretName");
        if !is_listed("/secrets", name) {
            return Some(format!(
                "volume with secret.secretName=\"{name}\" is not allowed because service account {owner} does not reference that secret"
            ));
        }
    }
    let of_lists = [("initContainers", "init container"), ("containers", "container")];
    of_lists.into_iter().find_map(|(list, noun)| refused_to(account, pod, list, noun)).or_else(|| {
        let pulls = items(pod, "/spec/imagePullSecrets").iter().enumerate();
        let mut strange =
            pulls.filter(|(_, secret)| !is_listed("/imagePullSecrets", text(secret, "/name")));
        strange.next().map(|(at, secret)| {
            let name = text(secret, "/name");
            format!(
                "imagePullSecrets[{at}].name=\"{name}\" is not allowed because service account {owner} does not reference that imagePullSecret"
            )
        })
    })
}

/// The same of its ephemeral containers.
pub(super) fn refused_to_ephemeral(account: &Value, pod: &Value) -> Option<String> {
    refused_to(account, pod, "ephemeralContainers", "ephemeral container")
}

fn refused_to(account: &Value, pod: &Value, list: &str, noun: &str) -> Option<String> {
    let is_own =
        |name: &str| items(account, "/secrets").iter().any(|secret| text(secret, "/name") == name);
    let owner = text(account, "/metadata/name");
    let refusal = |container: &Value, what: String, secret: &str| {
        let name = text(container, "/name");
        format!(
            "{noun} {name} with {what} referencing secret.secretName=\"{secret}\" is not allowed because service account {owner} does not reference that secret"
        )
    };
    let refers = |holder: &Value, pointer: &str| {
        let secret = holder.pointer(pointer).filter(|secret| secret.is_object())?;
        Some(text(secret, "/name").to_owned()).filter(|name| !is_own(name))
    };
    items(pod, &format!("/spec/{list}")).iter().find_map(|container| {
        let by_variable = items(container, "/env").iter().find_map(|env| {
            let secret = refers(env, "/valueFrom/secretKeyRef")?;
            let what = format!("envVar {}", text(env, "/name"));
            Some(refusal(container, what, &secret))
        });
        by_variable.or_else(|| {
            let mut sources = items(container, "/envFrom").iter();
            let secret = sources.find_map(|source| refers(source, "/secretRef"))?;
            Some(refusal(container, "envFrom".to_owned(), &secret))
        })
    })
}
