//! The restricted level: what a hardened pod looks like.

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::unmasked_proc;
use super::{
    KNOWS_USER_NAMESPACES, NEVER, Rule, Violation, bad_containers, is_for_windows,
    is_in_user_namespace, named, quoted, setters, values, volumes,
};
use crate::authz::containers;
use crate::json::{number, text, texts};

/// Every check of this level beside those kept from the baseline, in upstream's order.
pub(super) const CHECKS: [Rule; 7] = [
    Rule { check: allow_privilege_escalation, since: 8, replaced: NEVER },
    Rule { check: capabilities, since: 22, replaced: NEVER },
    Rule { check: unmasked_proc, since: KNOWS_USER_NAMESPACES, replaced: NEVER },
    Rule { check: restricted_volumes, since: 0, replaced: NEVER },
    Rule { check: run_as_non_root, since: 0, replaced: NEVER },
    Rule { check: run_as_user, since: 23, replaced: NEVER },
    Rule { check: seccomp, since: 19, replaced: NEVER },
];

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn flag(holder: &Value, pointer: &str) -> Option<bool> {
    holder.pointer(pointer).and_then(Value::as_bool)
}

fn allow_privilege_escalation(pod: &Value, minor: u32) -> Option<Violation> {
    if is_for_windows(pod, minor) {
        return None;
    }
    let bad = bad_containers(pod, |one| {
        flag(one, "/securityContext/allowPrivilegeEscalation") != Some(false)
    });
    let detail = || {
        format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            named("container", &bad)
        )
    };
    (!bad.is_empty())
        .then(|| Violation { reason: "allowPrivilegeEscalation != false", detail: detail() })
}

fn capabilities(pod: &Value, minor: u32) -> Option<Violation> {
    if is_for_windows(pod, minor) {
        return None;
    }
    let added = |container: &Value| -> Vec<String> {
        let added = texts(container, "/securityContext/capabilities/add").into_iter();
        added.filter(|one| one != "NET_BIND_SERVICE").collect()
    };
    let keeps = bad_containers(pod, |one| {
        !texts(one, "/securityContext/capabilities/drop").contains(&"ALL".to_owned())
    });
    let adds = bad_containers(pod, |container| !added(container).is_empty());
    let mut details = Vec::new();
    if !keeps.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            named("container", &keeps)
        ));
    }
    if !adds.is_empty() {
        let found: BTreeSet<String> = containers(pod).flat_map(added).collect();
        let found: Vec<String> = found.into_iter().collect();
        let who = named("container", &adds);
        details.push(format!(
            "{who} must not include {} in securityContext.capabilities.add",
            quoted(&found)
        ));
    }
    (!details.is_empty())
        .then(|| Violation { reason: "unrestricted capabilities", detail: details.join("; ") })
}

fn restricted_volumes(pod: &Value, _minor: u32) -> Option<Violation> {
    let kind = |volume: &Value| {
        let fields = volume.as_object().into_iter().flatten();
        let mut kinds = fields
            .filter(|(key, value)| *key != "name" && !value.is_null())
            .map(|(key, _)| key.clone());
        kinds.next().unwrap_or_else(|| "unknown".to_owned())
    };
    let is_bad = |volume: &&Value| !VOLUMES.contains(&kind(volume).as_str());
    let bad: Vec<&Value> = volumes(pod).iter().filter(is_bad).collect();
    if bad.is_empty() {
        return None;
    }
    let names: Vec<String> = bad.iter().map(|volume| text(volume, "/name").to_owned()).collect();
    let kinds: BTreeSet<String> = bad.iter().map(|volume| kind(volume)).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let detail =
        format!("{} {verb} {}", named("volume", &names), named("restricted volume type", &kinds));
    Some(Violation { reason: "restricted volume types", detail })
}

fn run_as_non_root(pod: &Value, minor: u32) -> Option<Violation> {
    if is_in_user_namespace(pod, minor) {
        return None;
    }
    let of_pod = flag(pod, "/spec/securityContext/runAsNonRoot");
    let of = |container: &Value| flag(container, "/securityContext/runAsNonRoot");
    let says_root = bad_containers(pod, |container| of(container) == Some(false));
    let reason = "runAsNonRoot != true";
    if let Some(who) = setters(of_pod == Some(false), &says_root) {
        return Some(Violation {
            reason,
            detail: format!("{who} must not set securityContext.runAsNonRoot=false"),
        });
    }
    let silent = bad_containers(pod, |container| of_pod != Some(true) && of(container).is_none());
    let detail = || {
        format!("pod or {} must set securityContext.runAsNonRoot=true", named("container", &silent))
    };
    (!silent.is_empty()).then(|| Violation { reason, detail: detail() })
}

fn run_as_user(pod: &Value, minor: u32) -> Option<Violation> {
    if is_in_user_namespace(pod, minor) {
        return None;
    }
    let of_pod = number(pod, "/spec/securityContext/runAsUser") == Some(0);
    let bad =
        bad_containers(pod, |container| number(container, "/securityContext/runAsUser") == Some(0));
    let who = setters(of_pod, &bad)?;
    Some(Violation { reason: "runAsUser=0", detail: format!("{who} must not set runAsUser=0") })
}

fn seccomp(pod: &Value, minor: u32) -> Option<Violation> {
    if is_for_windows(pod, minor) {
        return None;
    }
    let is_good = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let pointer = "/securityContext/seccompProfile/type";
    let of_pod = text(pod, "/spec/securityContext/seccompProfile/type").to_owned();
    let is_bad = |kind: &str| !kind.is_empty() && !is_good(kind);
    let bad = bad_containers(pod, |container| is_bad(text(container, pointer)));
    let reason = "seccompProfile";
    if let Some(who) = setters(is_bad(&of_pod), &bad) {
        let found: BTreeSet<String> =
            values(pod, pointer).into_iter().chain([of_pod]).filter(|kind| is_bad(kind)).collect();
        let found: Vec<String> = found.into_iter().collect();
        let detail =
            format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&found));
        return Some(Violation { reason, detail });
    }
    let silent =
        bad_containers(pod, |container| !is_good(&of_pod) && text(container, pointer).is_empty());
    let who = named("container", &silent);
    let detail = || {
        format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        )
    };
    (!silent.is_empty()).then(|| Violation { reason, detail: detail() })
}
