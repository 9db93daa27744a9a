//! What a pod refers to by name: secrets, config maps, claims, its service account.
//!
//! The node authorizer derives access from it, so a place left out here denies, and never allows.

use serde_json::Value;

use crate::json::{items, text};

/// A kind of object that pods refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Secret,
    ConfigMap,
    Claim,
    Volume,
    ServiceAccount,
}

/// Whether the pod refers to the object of that kind and name in its own namespace.
pub(crate) fn refers(pod: &Value, kind: Kind, name: &str) -> bool {
    match kind {
        Kind::ServiceAccount => text(pod, "/spec/serviceAccountName") == name,
        Kind::Claim => items(pod, "/spec/volumes").iter().any(|volume| claim(pod, volume) == name),
        Kind::ConfigMap => refers_to_config(
            pod,
            name,
            ["/configMap/name", "/configMapRef/name", "/configMapKeyRef/name"],
        ),
        Kind::Secret => {
            refers_to_config(pod, name, ["/secret/name", "/secretRef/name", "/secretKeyRef/name"])
                || items(pod, "/spec/imagePullSecrets")
                    .iter()
                    .any(|secret| text(secret, "/name") == name)
                || items(pod, "/spec/volumes")
                    .iter()
                    .any(|volume| volume_secrets(volume).contains(&name))
        }
        Kind::Volume => false,
    }
}

/// Whether the pod refers to any secret.
pub(crate) fn has_secrets(pod: &Value) -> bool {
    let has = |holder: &Value, pointer: &str| holder.pointer(pointer).is_some_and(Value::is_object);
    let by_volume = |volume: &Value| {
        !volume_secrets(volume).is_empty()
            || items(volume, "/projected/sources").iter().any(|source| has(source, "/secret"))
    };
    let by_container = |container: &Value| {
        items(container, "/envFrom").iter().any(|source| has(source, "/secretRef"))
            || items(container, "/env").iter().any(|env| has(env, "/valueFrom/secretKeyRef"))
    };
    !items(pod, "/spec/imagePullSecrets").is_empty()
        || items(pod, "/spec/volumes").iter().any(by_volume)
        || containers(pod).any(by_container)
}

/// The names of all claims of a pod's volumes, those made for ephemeral volumes included.
fn claim(pod: &Value, volume: &Value) -> String {
    if volume.get("ephemeral").is_some() {
        return format!("{}-{}", text(pod, "/metadata/name"), text(volume, "/name"));
    }
    text(volume, "/persistentVolumeClaim/claimName").to_owned()
}

/// `paths`: in a volume or a projected source, in `envFrom`, in `env[].valueFrom`.
fn refers_to_config(pod: &Value, name: &str, paths: [&str; 3]) -> bool {
    let [in_volume, in_env_from, in_env] = paths;
    let by_volume = items(pod, "/spec/volumes").iter().any(|volume| {
        text(volume, in_volume) == name
            || items(volume, "/projected/sources")
                .iter()
                .any(|source| text(source, in_volume) == name)
    });
    by_volume
        || containers(pod).any(|container| {
            items(container, "/envFrom").iter().any(|source| text(source, in_env_from) == name)
                || items(container, "/env")
                    .iter()
                    .any(|env| env.get("valueFrom").is_some_and(|from| text(from, in_env) == name))
        })
}

/// Secrets that volumes name elsewhere than in a projected source.
fn volume_secrets(volume: &Value) -> Vec<&str> {
    let places = [
        "/secret/secretName",
        "/csi/nodePublishSecretRef/name",
        "/azureFile/secretName",
        "/cephfs/secretRef/name",
        "/flexVolume/secretRef/name",
        "/iscsi/secretRef/name",
        "/rbd/secretRef/name",
        "/scaleIO/secretRef/name",
        "/storageos/secretRef/name",
    ];
    places.into_iter().map(|place| text(volume, place)).filter(|name| !name.is_empty()).collect()
}

/// All containers of a pod: init, ordinary and ephemeral.
pub(crate) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
    lists.into_iter().flat_map(|list| items(pod, list))
}
