//! ServiceAccount: every pod runs as one, which exists, and finds its token where clients look.

use master_api::status::ApiError;
use serde_json::{Value, json};

use crate::admission::{Operation, Plugin, Request, mountable_secrets};
use crate::authz::references;
use crate::json::{array_at, items, text};

const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Upstream's lifetime of a mounted token: an hour, and a mark that the pod did not ask for it.
const EXPIRATION_S: i64 = 3607;
/// Without vowels and digits that look alike, as generated names have it.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

#[derive(Debug)]
pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), ApiError> {
        if !request.is("", "pods") || request.operation != Operation::Create || is_mirror(pod) {
            return Ok(());
        }
        let spec = crate::json::object_at(pod, &["spec"]);
        let named = text(spec, "/serviceAccountName").to_owned();
        let name = if named.is_empty() { "default".to_owned() } else { named };
        let Some(account) = request.reader.get("", "serviceaccounts", request.namespace, &name)
        else {
            let namespace = request.namespace;
            return Err(request.forbidden(format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            )));
        };
        spec["serviceAccountName"] = json!(name);
        spec["serviceAccount"] = json!(name);
        let automount =
            |object: &Value| object.get("automountServiceAccountToken").and_then(Value::as_bool);
        if automount(spec).or_else(|| automount(&account)).unwrap_or(true) {
            mount_token(spec);
        }
        let secrets = items(&account, "/imagePullSecrets");
        if items(spec, "/imagePullSecrets").is_empty() && !secrets.is_empty() {
            spec["imagePullSecrets"] = json!(secrets);
        }
        Ok(())
    }

    fn validate(
        &self,
        request: &Request<'_>,
        pod: &Value,
        _warnings: &mut Vec<String>,
    ) -> Result<(), ApiError> {
        match (request.operation, request.is("", "pods")) {
            (Operation::Create, true) if is_mirror(pod) => check_mirror(request, pod),
            (Operation::Create, true) => limited(request, pod, mountable_secrets::refused_to_pod),
            (Operation::Update, false) if request.is("", "pods/ephemeralcontainers") => {
                limited(request, pod, mountable_secrets::refused_to_ephemeral)
            }
            _ => Ok(()),
        }
    }
}

/// A pod refers to secrets of its account only, if that says so.
fn limited(
    request: &Request<'_>,
    pod: &Value,
    refused: fn(&Value, &Value) -> Option<String>,
) -> Result<(), ApiError> {
    let name = text(pod, "/spec/serviceAccountName");
    let account = request.reader.get("", "serviceaccounts", request.namespace, name);
    let refusal = account
        .filter(|account| mountable_secrets::are_limited(account))
        .and_then(|account| refused(&account, pod));
    refusal.map_or(Ok(()), |why| Err(request.forbidden(why)))
}

fn check_mirror(request: &Request<'_>, pod: &Value) -> Result<(), ApiError> {
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return Err(request.forbidden("a mirror pod may not reference service accounts"));
    }
    if references::has_secrets(pod) {
        return Err(request.forbidden("a mirror pod may not reference secrets"));
    }
    let has_token = |volume: &Value| {
        items(volume, "/projected/sources")
            .iter()
            .any(|source| source.get("serviceAccountToken").is_some())
    };
    if items(pod, "/spec/volumes").iter().any(has_token) {
        let why = "a mirror pod may not use ServiceAccountToken volume projections";
        return Err(request.forbidden(why));
    }
    Ok(())
}

/// Whether a pod stands for one that a node runs from a file of its own.
pub(super) fn is_mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations")
        .is_some_and(|annotations| annotations.get("kubernetes.io/config.mirror").is_some())
}

fn mount_token(spec: &mut Value) {
    let existing = items(spec, "/volumes").iter().map(|volume| text(volume, "/name"));
    let existing =
        existing.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let has_volume = existing.is_some();
    let name = existing.unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", suffix()));
    let mut is_mounted = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let mounts = items(container, "/volumeMounts");
            if mounts.iter().any(|mount| text(mount, "/mountPath") == MOUNT_PATH) {
                continue;
            }
            let mount = json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH });
            array_at(container, &["volumeMounts"]).push(mount);
            is_mounted = true;
        }
    }
    if is_mounted && !has_volume {
        array_at(spec, &["volumes"]).push(volume(&name));
    }
}

fn volume(name: &str) -> Value {
    json!({ "name": name, "projected": { "defaultMode": 420, "sources": [
        { "serviceAccountToken": { "expirationSeconds": EXPIRATION_S, "path": "token" } },
        { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [
            { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } },
        ] } },
    ] } })
}

fn suffix() -> String {
    let mut number = store_env::rng::draw();
    let mut next = || {
        let digit = usize::try_from(number % 27).expect("a remainder of 27 fits");
        number /= 27;
        char::from(SUFFIX_ALPHABET[digit])
    };
    (0..5).map(|_| next()).collect()
}
