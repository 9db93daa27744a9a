//! The baseline level: no known ways to take over the node.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Check, Violation, bad_containers, named, quoted, setters, values, volumes};
use crate::authz::containers;
use crate::json::{is_true, items, number, text, text_map, texts};

/// Every check of this level, in upstream's order.
pub(super) const CHECKS: [Check; 13] = [
    app_armor,
    capabilities,
    host_namespaces,
    host_path,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    se_linux,
    seccomp,
    sysctls,
    windows_host_process,
    git_repo,
];

/// Those that the restricted level does not replace by stricter ones.
pub(super) const CHECKS_KEPT: [Check; 9] = [
    app_armor,
    host_namespaces,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    se_linux,
    sysctls,
    windows_host_process,
];

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SE_LINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const SYSCTLS: [&str; 11] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
];
const SYSCTL_WMEM: &str = "net.ipv4.tcp_wmem";

fn list(found: BTreeSet<String>) -> Vec<String> {
    found.into_iter().collect()
}

fn app_armor(pod: &Value) -> Option<Violation> {
    let is_bad = |kind: &str| !matches!(kind, "" | "RuntimeDefault" | "Localhost");
    let pointer = "/securityContext/appArmorProfile/type";
    let of_pod = text(pod, "/spec/securityContext/appArmorProfile/type");
    let bad = bad_containers(pod, |container| is_bad(text(container, pointer)));
    let annotated = text_map(pod, "/metadata/annotations").into_iter().any(|(key, value)| {
        key.starts_with("container.apparmor.security.beta.kubernetes.io/")
            && !(value.is_empty() || value == "runtime/default" || value.starts_with("localhost/"))
    });
    let who =
        setters(is_bad(of_pod), &bad).or_else(|| annotated.then(|| "annotation".to_owned()))?;
    let detail =
        format!("{who} must not set AppArmor profile type to an unconfined or unknown one");
    Some(Violation { reason: "forbidden AppArmor profile", detail })
}

fn capabilities(pod: &Value) -> Option<Violation> {
    let extra = |container: &Value| -> Vec<String> {
        let added = texts(container, "/securityContext/capabilities/add").into_iter();
        added.filter(|one| !CAPABILITIES.contains(&one.as_str())).collect()
    };
    let bad = bad_containers(pod, |container| !extra(container).is_empty());
    if bad.is_empty() {
        return None;
    }
    let found = list(containers(pod).flat_map(extra).collect());
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        named("container", &bad),
        quoted(&found)
    );
    Some(Violation { reason: "non-default capabilities", detail })
}

fn host_namespaces(pod: &Value) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let set = fields.into_iter().filter(|field| is_true(pod, &format!("/spec/{field}")));
    let set: Vec<String> = set.map(|field| format!("{field}=true")).collect();
    (!set.is_empty()).then(|| Violation { reason: "host namespaces", detail: set.join(", ") })
}

fn host_path(pod: &Value) -> Option<Violation> {
    let bad: Vec<String> = volumes(pod)
        .iter()
        .filter(|volume| volume.get("hostPath").is_some_and(Value::is_object))
        .map(|volume| text(volume, "/name").to_owned())
        .collect();
    (!bad.is_empty())
        .then(|| Violation { reason: "hostPath volumes", detail: named("volume", &bad) })
}

/// Its hooks run on the node; no longer served by nodes, and refused here all the same.
fn git_repo(pod: &Value) -> Option<Violation> {
    let bad: Vec<String> = volumes(pod)
        .iter()
        .filter(|volume| volume.get("gitRepo").is_some_and(Value::is_object))
        .map(|volume| text(volume, "/name").to_owned())
        .collect();
    (!bad.is_empty())
        .then(|| Violation { reason: "gitRepo volumes", detail: named("volume", &bad) })
}

fn host_ports(pod: &Value) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<i64> {
        items(container, "/ports")
            .iter()
            .filter_map(|port| number(port, "/hostPort"))
            .filter(|port| *port != 0)
            .collect()
    };
    let bad = bad_containers(pod, |container| !ports(container).is_empty());
    if bad.is_empty() {
        return None;
    }
    let found = list(containers(pod).flat_map(ports).map(|port| port.to_string()).collect());
    let (verb, noun) = (
        if bad.len() == 1 { "uses" } else { "use" },
        if found.len() == 1 { "hostPort" } else { "hostPorts" },
    );
    let detail = format!("{} {verb} {noun} {}", named("container", &bad), found.join(", "));
    Some(Violation { reason: "hostPort", detail })
}

fn host_probes(pod: &Value) -> Option<Violation> {
    let hosts = |container: &Value| -> Vec<String> {
        let probes = [
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle/postStart",
            "lifecycle/preStop",
        ];
        let places = probes.into_iter().flat_map(|probe| {
            [format!("/{probe}/httpGet/host"), format!("/{probe}/tcpSocket/host")]
        });
        places
            .map(|place| text(container, &place).to_owned())
            .filter(|host| !host.is_empty())
            .collect()
    };
    let bad = bad_containers(pod, |container| !hosts(container).is_empty());
    if bad.is_empty() {
        return None;
    }
    let found = list(containers(pod).flat_map(hosts).collect());
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let detail =
        format!("{} {verb} {}", named("container", &bad), named("probe or lifecycle host", &found));
    Some(Violation { reason: "probe or lifecycle host", detail })
}

fn privileged(pod: &Value) -> Option<Violation> {
    let bad = bad_containers(pod, |container| is_true(container, "/securityContext/privileged"));
    let detail =
        || format!("{} must not set securityContext.privileged=true", named("container", &bad));
    (!bad.is_empty()).then(|| Violation { reason: "privileged", detail: detail() })
}

fn proc_mount(pod: &Value) -> Option<Violation> {
    let pointer = "/securityContext/procMount";
    let bad = bad_containers(pod, |container| !matches!(text(container, pointer), "" | "Default"));
    if bad.is_empty() {
        return None;
    }
    let found: Vec<String> =
        values(pod, pointer).into_iter().filter(|value| value != "Default").collect();
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        named("container", &bad),
        quoted(&found)
    );
    Some(Violation { reason: "procMount", detail })
}

fn se_linux(pod: &Value) -> Option<Violation> {
    let is_bad = |holder: &Value, base: &str| {
        let field = |name: &str| text(holder, &format!("{base}/seLinuxOptions/{name}"));
        !SE_LINUX_TYPES.contains(&field("type"))
            || !field("user").is_empty()
            || !field("role").is_empty()
    };
    let bad = bad_containers(pod, |container| is_bad(container, "/securityContext"));
    let who = setters(is_bad(pod, "/spec/securityContext"), &bad)?;
    let of_containers = values(pod, "/securityContext/seLinuxOptions/type");
    let of_pod = text(pod, "/spec/securityContext/seLinuxOptions/type").to_owned();
    let types = of_containers
        .into_iter()
        .chain([of_pod])
        .filter(|one| !SE_LINUX_TYPES.contains(&one.as_str()));
    let types = list(types.collect());
    let what = if types.is_empty() {
        "user or role may not be set".to_owned()
    } else {
        named("type", &types)
    };
    Some(Violation {
        reason: "seLinuxOptions",
        detail: format!("{who} set forbidden securityContext.seLinuxOptions: {what}"),
    })
}

fn seccomp(pod: &Value) -> Option<Violation> {
    let is_bad = |kind: &str| !matches!(kind, "" | "RuntimeDefault" | "Localhost");
    let pointer = "/securityContext/seccompProfile/type";
    let of_pod = text(pod, "/spec/securityContext/seccompProfile/type").to_owned();
    let bad = bad_containers(pod, |container| is_bad(text(container, pointer)));
    let who = setters(is_bad(&of_pod), &bad)?;
    let found = values(pod, pointer).into_iter().chain([of_pod]).filter(|kind| is_bad(kind));
    let detail = format!(
        "{who} must not set securityContext.seccompProfile.type to {}",
        quoted(&list(found.collect()))
    );
    Some(Violation { reason: "seccompProfile", detail })
}

fn sysctls(pod: &Value) -> Option<Violation> {
    let names =
        items(pod, "/spec/securityContext/sysctls").iter().map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> =
        names.filter(|name| !SYSCTLS.contains(name) && *name != SYSCTL_WMEM).collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}

fn windows_host_process(pod: &Value) -> Option<Violation> {
    let of_pod = is_true(pod, "/spec/securityContext/windowsOptions/hostProcess");
    let bad = bad_containers(pod, |container| {
        is_true(container, "/securityContext/windowsOptions/hostProcess")
    });
    let who = setters(of_pod, &bad)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation { reason: "hostProcess", detail })
}
