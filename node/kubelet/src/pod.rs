//! Questions about a pod's specification, answered in one place.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, Pod, PodSpec, PodStatus};
use sha2::{Digest, Sha256};

/// Where a pod came from: `file` or `api`.
pub(crate) const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// Content hash of a static pod's manifest.
pub(crate) const HASH_ANNOTATION: &str = "kubernetes.io/config.hash";
/// On the object that shows a static pod in the API: the manifest's hash.
pub(crate) const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Seconds of grace when a pod does not say.
const GRACE_S: i64 = 30;

/// What a pod's containers do after they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Restart {
    fn parse(policy: Option<&str>) -> Self {
        match policy {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended with `code` is to be started again.
    pub(crate) fn wants(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// A container's place in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one.
    Init,
    /// An init container with restart policy `Always`: starts in order, then stays.
    Sidecar,
    /// What the pod is for.
    Main,
}

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

/// `namespace/name`.
pub(crate) fn key(pod: &Pod) -> String {
    format!("{}/{}", namespace(pod), name(pod))
}

/// The specification; every pod that reaches a node has one.
pub(crate) fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

pub(crate) fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

pub(crate) fn annotations(pod: &Pod) -> BTreeMap<String, String> {
    pod.metadata.annotations.clone().unwrap_or_default()
}

pub(crate) fn labels(pod: &Pod) -> BTreeMap<String, String> {
    pod.metadata.labels.clone().unwrap_or_default()
}

/// Whether the pod came from a file of this machine.
pub(crate) fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE_ANNOTATION).is_some_and(|source| source != "api")
}

/// Whether this API object only shows a static pod.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR_ANNOTATION).is_some()
}

pub(crate) fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the API already records the pod's end.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(is_over)
}

/// Whether this is the status of a pod that has ended.
pub(crate) fn is_over(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

pub(crate) fn is_host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or(false)
}

/// Seconds between SIGTERM and SIGKILL.
pub(crate) fn grace_s(pod: &Pod) -> u64 {
    let deletion = pod.metadata.deletion_grace_period_seconds;
    let grace = deletion.or(spec(pod).termination_grace_period_seconds).unwrap_or(GRACE_S);
    u64::try_from(grace).unwrap_or(1)
}

pub(crate) fn restart(pod: &Pod) -> Restart {
    Restart::parse(spec(pod).restart_policy.as_deref())
}

/// The containers with their places, in the order in which they start.
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    let spec = spec(pod);
    let init = spec.init_containers.iter().flatten().map(|container| {
        let is_sidecar = container.restart_policy.as_deref() == Some("Always");
        (if is_sidecar { Role::Sidecar } else { Role::Init }, container)
    });
    init.chain(spec.containers.iter().map(|container| (Role::Main, container)))
}

/// Whether a container that ended with `code` is to be started again: by its own rules, its own policy, or the pod's
/// (upstream: pkg/api/v1/pod/util.go, `ContainerShouldRestart`).
pub(crate) fn starts_again(pod: &Pod, container: &Container, code: i32) -> bool {
    let Some(own) = container.restart_policy.as_deref() else { return restart(pod).wants(code) };
    let mut rules = container.restart_policy_rules.iter().flatten();
    let is_meant = |rule: &ContainerRestartRule| {
        let codes = rule.exit_codes.as_ref();
        codes.is_some_and(|codes| {
            let is_listed = codes.values.iter().flatten().any(|it| *it == code);
            match codes.operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                _ => false,
            }
        })
    };
    let is_ruled = rules.find(|rule| is_meant(rule)).is_some_and(|rule| rule.action == "Restart");
    is_ruled || Restart::parse(Some(own)).wants(code)
}

pub(crate) fn container<'a>(pod: &'a Pod, name: &str) -> Option<(Role, &'a Container)> {
    containers(pod).find(|(_, container)| container.name == name)
}

/// What makes a running container another one: its name and its image. Everything else is immutable,
/// or changed in place.
pub(crate) fn container_hash(container: &Container) -> String {
    let mut hash = Sha256::new();
    hash.update(container.name.as_bytes());
    hash.update([0]);
    hash.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hex(&hash.finalize())[..8].to_owned()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name that the pod's processes see.
pub(crate) fn hostname(pod: &Pod) -> String {
    let name = spec(pod).hostname.as_deref().unwrap_or_else(|| name(pod));
    // A host name has at most 63 bytes, and ends in a letter or digit.
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's full name in the cluster's DNS, when a subdomain gives it one.
pub(crate) fn fqdn(pod: &Pod, cluster_domain: &str) -> Option<String> {
    let subdomain = spec(pod).subdomain.as_deref().filter(|found| !found.is_empty())?;
    Some(format!("{}.{subdomain}.{}.svc.{cluster_domain}", hostname(pod), namespace(pod)))
}
