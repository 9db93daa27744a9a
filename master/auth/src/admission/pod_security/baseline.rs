//! The baseline level: no known ways to take over the node.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    KNOWS_USER_NAMESPACES, NEVER, Rule, Violation, bad_containers, is_in_user_namespace, named,
    quoted, setters, values, volumes,
};
use crate::authz::containers;
use crate::json::{is_true, items, number, text, text_map, texts};

/// Every check of this level, in upstream's order.
pub(super) const CHECKS: [Rule; 12] = [
    Rule { check: app_armor, since: 0, replaced: NEVER },
    Rule { check: capabilities, since: 0, replaced: 22 },
    Rule { check: host_namespaces, since: 0, replaced: NEVER },
    Rule { check: host_path, since: 0, replaced: 0 },
    Rule { check: host_ports, since: 0, replaced: NEVER },
    Rule { check: host_probes, since: 34, replaced: NEVER },
    Rule { check: privileged, since: 0, replaced: NEVER },
    Rule { check: proc_mount, since: 0, replaced: KNOWS_USER_NAMESPACES },
    Rule { check: se_linux, since: 0, replaced: NEVER },
    Rule { check: seccomp, since: 0, replaced: 19 },
    Rule { check: sysctls, since: 0, replaced: NEVER },
    Rule { check: windows_host_process, since: 0, replaced: NEVER },
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
/// With the minor version since which each is allowed.
const SE_LINUX_TYPES: [(&str, u32); 5] = [
    ("", 0),
    ("container_t", 0),
    ("container_init_t", 0),
    ("container_kvm_t", 0),
    ("container_engine_t", 31),
];
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn is_allowed(known: &[(&str, u32)], name: &str, minor: u32) -> bool {
    known.iter().any(|(allowed, since)| *allowed == name && minor >= *since)
}

fn list(found: BTreeSet<String>) -> Vec<String> {
    found.into_iter().collect()
}

fn app_armor(pod: &Value, _minor: u32) -> Option<Violation> {
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

fn capabilities(pod: &Value, _minor: u32) -> Option<Violation> {
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

fn host_namespaces(pod: &Value, _minor: u32) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let set = fields.into_iter().filter(|field| is_true(pod, &format!("/spec/{field}")));
    let set: Vec<String> = set.map(|field| format!("{field}=true")).collect();
    (!set.is_empty()).then(|| Violation { reason: "host namespaces", detail: set.join(", ") })
}

fn host_path(pod: &Value, _minor: u32) -> Option<Violation> {
    let bad: Vec<String> = volumes(pod)
        .iter()
        .filter(|volume| volume.get("hostPath").is_some_and(Value::is_object))
        .map(|volume| text(volume, "/name").to_owned())
        .collect();
    (!bad.is_empty())
        .then(|| Violation { reason: "hostPath volumes", detail: named("volume", &bad) })
}

fn host_ports(pod: &Value, _minor: u32) -> Option<Violation> {
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

fn host_probes(pod: &Value, _minor: u32) -> Option<Violation> {
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

fn privileged(pod: &Value, _minor: u32) -> Option<Violation> {
    let bad = bad_containers(pod, |container| is_true(container, "/securityContext/privileged"));
    let detail =
        || format!("{} must not set securityContext.privileged=true", named("container", &bad));
    (!bad.is_empty()).then(|| Violation { reason: "privileged", detail: detail() })
}

fn proc_mount(pod: &Value, minor: u32) -> Option<Violation> {
    if is_in_user_namespace(pod, minor) { None } else { unmasked_proc(pod, minor) }
}

/// The same, whoever root is.
pub(super) fn unmasked_proc(pod: &Value, _minor: u32) -> Option<Violation> {
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

fn se_linux(pod: &Value, minor: u32) -> Option<Violation> {
    let is_bad = |holder: &Value, base: &str| {
        let field = |name: &str| text(holder, &format!("{base}/seLinuxOptions/{name}"));
        !is_allowed(&SE_LINUX_TYPES, field("type"), minor)
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
        .filter(|one| !is_allowed(&SE_LINUX_TYPES, one, minor));
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

fn seccomp(pod: &Value, _minor: u32) -> Option<Violation> {
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

fn sysctls(pod: &Value, minor: u32) -> Option<Violation> {
    let names =
        items(pod, "/spec/securityContext/sysctls").iter().map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> = names.filter(|name| !is_allowed(&SYSCTLS, name, minor)).collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}

fn windows_host_process(pod: &Value, _minor: u32) -> Option<Violation> {
    let of_pod = is_true(pod, "/spec/securityContext/windowsOptions/hostProcess");
    let bad = bad_containers(pod, |container| {
        is_true(container, "/securityContext/windowsOptions/hostProcess")
    });
    let who = setters(of_pod, &bad)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Violation { reason: "hostProcess", detail })
}
