//! The configuration of a pod's sandbox: its network, names, namespaces and cgroup.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, SeccompProfile};
use node_cri::v1;

use crate::config::Config;
use crate::pod;
use crate::resolv;
use crate::view;

/// What the runtime is to make for the pod.
pub(crate) fn config(
    pod: &Pod,
    attempt: u32,
    config: &Config,
    cgroup_parent: &str,
    machine_resolv: &str,
) -> v1::PodSandboxConfig {
    let (namespace, name, uid) = (pod::namespace(pod), pod::name(pod), pod::uid(pod));
    let logs = config.pod_logs_dir(namespace, name, uid);
    let hostname = match (pod::is_host_network(pod), pod::fqdn(pod, &config.cluster_domain)) {
        // It is in the node's UTS namespace, whose name is not the pod's to set.
        (true, _) => String::new(),
        (false, Some(fqdn)) if pod::spec(pod).set_hostname_as_fqdn == Some(true) => fqdn,
        _ => pod::hostname(pod),
    };
    let mut labels = pod::labels(pod);
    labels.extend(identity(pod));
    let mut annotations = pod::annotations(pod);
    annotations.insert(view::GRACE_PERIOD.to_owned(), pod::grace_s(pod).to_string());
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            attempt,
        }),
        hostname,
        log_directory: logs.display().to_string(),
        dns_config: Some(resolv::dns_config(pod, config, machine_resolv)),
        port_mappings: port_mappings(pod),
        labels: labels.into_iter().collect(),
        annotations: annotations.into_iter().collect(),
        linux: Some(linux(pod, cgroup_parent)),
        windows: None,
    }
}

/// The labels by which a pod's sandboxes and containers are found again.
pub(crate) fn identity(pod: &Pod) -> BTreeMap<String, String> {
    BTreeMap::from([
        (view::POD_NAME.to_owned(), pod::name(pod).to_owned()),
        (view::POD_NAMESPACE.to_owned(), pod::namespace(pod).to_owned()),
        (view::POD_UID.to_owned(), pod::uid(pod).to_owned()),
    ])
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    if pod::is_host_network(pod) {
        return Vec::new();
    }
    let ports = pod::containers(pod).flat_map(|(_, container)| container.ports.iter().flatten());
    let mapped = ports.filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => v1::Protocol::Udp,
            Some("SCTP") => v1::Protocol::Sctp,
            _ => v1::Protocol::Tcp,
        };
        port.host_port.filter(|port| *port > 0).map(|host_port| v1::PortMapping {
            protocol: protocol.into(),
            container_port: port.container_port,
            host_port,
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
    });
    mapped.collect()
}

/// Which namespaces the pod's containers share with the node or among each other.
pub(crate) fn namespaces(pod: &Pod) -> v1::NamespaceOption {
    let spec = pod::spec(pod);
    let node_or = |is_host: Option<bool>, otherwise: v1::NamespaceMode| -> i32 {
        if is_host == Some(true) { v1::NamespaceMode::Node.into() } else { otherwise.into() }
    };
    let pid = match spec.share_process_namespace {
        Some(true) => v1::NamespaceMode::Pod,
        _ => v1::NamespaceMode::Container,
    };
    v1::NamespaceOption {
        network: node_or(spec.host_network, v1::NamespaceMode::Pod),
        pid: node_or(spec.host_pid, pid),
        ipc: node_or(spec.host_ipc, v1::NamespaceMode::Pod),
        ..Default::default()
    }
}

/// Groups that every process of the pod belongs to.
pub(crate) fn groups(pod: &Pod) -> Vec<i64> {
    let Some(context) = &pod::spec(pod).security_context else { return Vec::new() };
    let mut groups: Vec<i64> = context.supplemental_groups.iter().flatten().copied().collect();
    groups.extend(context.fs_group);
    groups
}

pub(crate) fn int(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

/// A seccomp profile as CRI names it; none is unconfined, as upstream has it.
pub(crate) fn seccomp(profile: Option<&SeccompProfile>) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (kind, localhost_ref) = match profile {
        Some(found) if found.type_ == "RuntimeDefault" => {
            (ProfileType::RuntimeDefault, String::new())
        }
        Some(found) if found.type_ == "Localhost" => {
            let file = found.localhost_profile.clone().unwrap_or_default();
            (ProfileType::Localhost, format!("/var/lib/kubelet/seccomp/{file}"))
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    v1::SecurityProfile { profile_type: kind.into(), localhost_ref }
}

fn linux(pod: &Pod, cgroup_parent: &str) -> v1::LinuxPodSandboxConfig {
    let context = pod::spec(pod).security_context.clone().unwrap_or_default();
    let is_privileged = pod::containers(pod).any(|(_, container)| {
        container.security_context.as_ref().and_then(|context| context.privileged) == Some(true)
    });
    let default = SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None };
    let sysctls = context.sysctls.iter().flatten();
    v1::LinuxPodSandboxConfig {
        cgroup_parent: cgroup_parent.to_owned(),
        security_context: Some(v1::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(pod)),
            run_as_user: int(context.run_as_user),
            run_as_group: int(context.run_as_group.filter(|_| context.run_as_user.is_some())),
            supplemental_groups: groups(pod),
            privileged: is_privileged,
            seccomp: Some(seccomp(Some(&default))),
            ..Default::default()
        }),
        sysctls: sysctls.map(|each| (each.name.clone(), each.value.clone())).collect(),
        ..Default::default()
    }
}
