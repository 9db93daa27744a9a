//! Pod Security Standards.

use super::*;

/// A cluster whose namespace `a` enforces a level.
fn enforcing(level: &str) -> Arc<Objects> {
    let objects = cluster();
    let mut namespace = core("Namespace", "a");
    namespace["metadata"]["labels"] = json!({ "pod-security.kubernetes.io/enforce": level });
    objects.put(namespace);
    objects
}

/// A pod that the restricted level accepts, changed by `change` at the pod's and `container`'s level.
fn hardened(spec: Value, container: Value) -> Value {
    let mut pod = core("Pod", "a/p");
    pod["spec"] = json!({
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{ "name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } } }],
    });
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    for (key, value) in container.as_object().unwrap() {
        match (value.as_object(), pod["spec"]["containers"][0][key].as_object_mut()) {
            (Some(value), Some(own)) => own.extend(value.clone()),
            _ => pod["spec"]["containers"][0][key] = value.clone(),
        }
    }
    pod
}

fn check(level: &str, pod: Value, broken: &str) {
    let refusal = match broken {
        "" => String::new(),
        broken => {
            format!("pods \"p\" is forbidden: violates PodSecurity \"{level}:latest\": {broken}")
        }
    };
    as_root(&enforcing(level)).check("create core pods a/p", pod, None, &refusal);
}

#[test]
fn the_baseline_keeps_pods_off_the_node() {
    let security = |context: Value| hardened(json!({}), json!({ "securityContext": context }));
    let table = [
        (hardened(json!({}), json!({})), ""),
        (pod("a/p", ""), ""),
        (
            hardened(json!({ "hostNetwork": true, "hostPID": true }), json!({})),
            "host namespaces (hostNetwork=true, hostPID=true)",
        ),
        (
            hardened(
                json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/" } }] }),
                json!({}),
            ),
            "hostPath volumes (volume \"v\")",
        ),
        (
            security(json!({ "privileged": true })),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            security(json!({ "capabilities": { "add": ["SYS_ADMIN", "CHOWN"] } })),
            "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            security(json!({ "procMount": "Unmasked" })),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            security(json!({ "seccompProfile": { "type": "Unconfined" } })),
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            security(json!({ "seLinuxOptions": { "type": "spc_t" } })),
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\")",
        ),
        (
            hardened(json!({}), json!({ "ports": [{ "containerPort": 80, "hostPort": 80 }] })),
            "hostPort (container \"c\" uses hostPort 80)",
        ),
        (
            hardened(
                json!({ "securityContext": { "sysctls": [{ "name": "kernel.msgmax", "value": "1" }] } }),
                json!({}),
            ),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            hardened(
                json!({}),
                json!({ "livenessProbe": { "httpGet": { "host": "169.254.169.254", "port": 80 } } }),
            ),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"169.254.169.254\")",
        ),
    ];
    for (pod, broken) in table {
        check("baseline", pod, broken);
    }
}

#[test]
fn every_kind_of_container_is_looked_at() {
    for (list, name) in [("initContainers", "i"), ("ephemeralContainers", "e")] {
        let container = json!([{ "name": name, "securityContext": { "privileged": true } }]);
        let broken =
            format!("privileged (container {name:?} must not set securityContext.privileged=true)");
        check("baseline", hardened(json!({ list: container }), json!({})), &broken);
    }
}

#[test]
fn the_restricted_level_wants_hardened_pods() {
    check("restricted", hardened(json!({}), json!({})), "");
    check(
        "restricted",
        pod("a/p", ""),
        "allowPrivilegeEscalation != false (container \"main\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"main\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"main\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"main\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
    let volume = json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/" } }] });
    check(
        "restricted",
        hardened(volume, json!({})),
        "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")",
    );
    check(
        "restricted",
        hardened(json!({}), json!({ "securityContext": { "runAsUser": 0 } })),
        "runAsUser=0 (container \"c\" must not set runAsUser=0)",
    );
    check(
        "restricted",
        hardened(json!({}), json!({ "securityContext": { "runAsNonRoot": false } })),
        "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)",
    );
}

#[test]
fn a_misspelt_level_is_the_strictest() {
    let refused =
        as_root(&enforcing("restrictd")).run("create core pods a/p", &mut pod("a/p", ""), None);
    assert!(refused.unwrap_err().contains("violates PodSecurity \"restricted:latest\""));
}

#[test]
fn no_way_around_by_updates_and_ephemeral_containers() {
    let objects = enforcing("baseline");
    let root = as_root(&objects);
    let old = hardened(json!({}), json!({}));
    let debugging = hardened(
        json!({ "ephemeralContainers": [{ "name": "e", "securityContext": { "privileged": true } }] }),
        json!({}),
    );
    assert!(
        root.run("update core pods/ephemeralcontainers a/p", &mut debugging.clone(), Some(&old))
            .is_err()
    );
    assert!(root.run("update core pods a/p", &mut debugging.clone(), Some(&old)).is_err());
    let mut labelled = debugging.clone();
    labelled["metadata"]["labels"] = json!({ "app": "x" });
    root.check("update core pods a/p", labelled, Some(&debugging), "");
}

#[test]
fn workloads_are_warned_of() {
    let objects = enforcing("baseline");
    let mut deployment = json!({ "metadata": { "name": "d" }, "spec": { "template": { "spec": { "hostNetwork": true, "containers": [{ "name": "c" }] } } } });
    let warnings =
        as_root(&objects).run("create apps deployments a/d", &mut deployment, None).unwrap();
    assert_eq!(
        warnings,
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"]
    );
}

fn labelled(name: &str, labels: &[(&str, &str)]) -> Value {
    let mut namespace = core("Namespace", name);
    for (mode, value) in labels {
        namespace["metadata"]["labels"][format!("pod-security.kubernetes.io/{mode}")] =
            json!(value);
    }
    namespace
}

#[test]
fn a_level_is_what_it_was_at_its_version() {
    let objects = cluster();
    let root = as_root(&objects);
    let check = |version: &str, mut pod: Value, expected: &[&str]| {
        objects.put(labelled("a", &[("enforce", "restricted"), ("enforce-version", version)]));
        let refusal = root.run("create core pods a/p", &mut pod, None).err().unwrap_or_default();
        let (_, broken) = refusal.split_once("\": ").unwrap_or_default();
        let reasons: Vec<&str> =
            broken.split("), ").filter_map(|part| part.split(" (").next()).collect();
        let reasons: Vec<&str> = reasons.into_iter().filter(|reason| !reason.is_empty()).collect();
        assert_eq!(reasons, expected, "{version}: {refusal}");
    };
    let plain = || pod("a/p", "");
    check("v1.7", plain(), &["runAsNonRoot != true"]);
    check("v1.18", plain(), &["allowPrivilegeEscalation != false", "runAsNonRoot != true"]);
    check(
        "v1.21",
        plain(),
        &["allowPrivilegeEscalation != false", "runAsNonRoot != true", "seccompProfile"],
    );
    let root_user = || hardened(json!({}), json!({ "securityContext": { "runAsUser": 0 } }));
    check("v1.22", root_user(), &[]);
    check("v1.23", root_user(), &["runAsUser=0"]);
    let mut own_root = root_user();
    own_root["spec"]["hostUsers"] = json!(false);
    check("v1.34", own_root.clone(), &["runAsUser=0"]);
    check("v1.35", own_root.clone(), &[]);
    check("latest", own_root.clone(), &[]);
    own_root["spec"]["containers"][0]["securityContext"]["procMount"] = json!("Unmasked");
    check("latest", own_root, &["procMount"]);
    let mut windows = plain();
    windows["spec"]["os"] = json!({ "name": "windows" });
    check("latest", windows.clone(), &["runAsNonRoot != true"]);
    check(
        "v1.24",
        windows,
        &[
            "allowPrivilegeEscalation != false",
            "unrestricted capabilities",
            "runAsNonRoot != true",
            "seccompProfile",
        ],
    );
    let sysctl = |name: &str| {
        let sysctls = json!([{ "name": name, "value": "1" }]);
        let mut pod = hardened(json!({}), json!({}));
        pod["spec"]["securityContext"]["sysctls"] = sysctls;
        pod
    };
    check("v1.31", sysctl("net.ipv4.tcp_rmem"), &["forbidden sysctls"]);
    check("v1.32", sysctl("net.ipv4.tcp_rmem"), &[]);
}

#[test]
fn what_is_warned_of_follows_what_is_enforced() {
    let objects = cluster();
    let root = as_root(&objects);
    let mut deployment = json!({ "metadata": { "name": "d" }, "spec": { "template": { "spec": {
        "hostNetwork": true, "containers": [{ "name": "c" }] } } } });
    let mut check = |labels: &[(&str, &str)], expected: Option<&str>| {
        objects.put(labelled("a", labels));
        let warnings = root.run("create apps deployments a/d", &mut deployment, None).unwrap();
        let levels: Vec<&str> = warnings.iter().filter_map(|one| one.split('"').nth(1)).collect();
        assert_eq!(levels, Vec::from_iter(expected), "{labels:?}");
    };
    check(&[("enforce", "baseline")], Some("baseline:latest"));
    check(&[("enforce", "baseline"), ("enforce-version", "v1.30")], Some("baseline:v1.30"));
    check(&[("enforce", "baseline"), ("warn", "restricted")], Some("restricted:latest"));
    check(&[("enforce", "restricted"), ("warn", "privileged")], None);
    check(&[("enforce", "restrictd")], None);
    check(&[("warn", "baselin")], None);
    check(&[("audit", "restricted")], None);
}

#[test]
fn who_raises_a_level_is_told_of_pods_that_break_it() {
    let objects = cluster();
    let root = as_root(&objects);
    for name in ["p1", "p2"] {
        objects.put(pod(&format!("a/{name}"), ""));
    }
    let mut bad = pod("a/bad", "");
    bad["spec"]["hostNetwork"] = json!(true);
    objects.put(bad);
    let change = |old: &[(&str, &str)], new: &[(&str, &str)]| {
        let (old, mut new) = (labelled("a", old), labelled("a", new));
        root.run("update core namespaces a", &mut new, Some(&old))
    };
    let baseline = [("enforce", "baseline")];
    let head = |level: &str| {
        format!(
            "existing pods in namespace \"a\" violate the new PodSecurity enforce level \"{level}:latest\""
        )
    };
    assert_eq!(change(&[], &baseline), Ok(vec![head("baseline"), "bad: host namespaces".into()]));
    let all = "allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile";
    assert_eq!(
        change(&baseline, &[("enforce", "restricted")]),
        Ok(vec![
            head("restricted"),
            format!("bad: host namespaces, {all}"),
            format!("p1 (and 1 other pod): {all}"),
        ])
    );
    assert_eq!(change(&[("enforce", "restricted")], &baseline), Ok(vec![]), "it is relaxed");
    assert_eq!(change(&baseline, &[("enforce", "baseline"), ("warn", "restricted")]), Ok(vec![]));
    assert_eq!(
        change(&[], &[("enforce", "restrictd"), ("warn-version", "1.30")]),
        Err("Namespace \"a\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"restrictd\": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.30\": must be \"latest\" or \"v1.x\"]".into())
    );
    let wrong = [("enforce", "restrictd")];
    assert!(change(&wrong, &wrong).is_ok(), "it was there before");
}

#[test]
fn an_account_may_limit_its_pods_to_its_secrets() {
    let objects = cluster();
    let root = as_root(&objects);
    let mut account = core("ServiceAccount", "a/strict");
    account["metadata"]["annotations"] =
        json!({ "kubernetes.io/enforce-mountable-secrets": "true" });
    account["secrets"] = json!([{ "name": "own" }]);
    account["imagePullSecrets"] = json!([{ "name": "pull" }]);
    objects.put(account);
    let run = |account: &str, spec: Value| {
        let mut pod = pod("a/p", "");
        pod["spec"]["serviceAccountName"] = json!(account);
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        root.run("create core pods a/p", &mut pod, None).map(drop)
    };
    let refused = |why: &str| {
        let whose = "is not allowed because service account strict does not reference that";
        Err(format!("pods \"p\" is forbidden: {why} {whose}"))
    };
    let volume =
        |name: &str| json!({ "volumes": [{ "name": "v", "secret": { "secretName": name } }] });
    assert_eq!(run("strict", volume("own")), Ok(()));
    let strange = refused("volume with secret.secretName=\"x\"");
    assert_eq!(run("strict", volume("x")), strange.map_err(|e: String| e + " secret"));
    assert_eq!(run("runner", volume("x")), Ok(()));
    let variable = json!({ "initContainers": [{ "name": "i", "env": [
        { "name": "V", "valueFrom": { "secretKeyRef": { "name": "x", "key": "k" } } }] }] });
    let strange = refused("init container i with envVar V referencing secret.secretName=\"x\"");
    assert_eq!(run("strict", variable), strange.map_err(|e: String| e + " secret"));
    let pull = |name: &str| json!({ "imagePullSecrets": [{ "name": name }] });
    assert_eq!(run("strict", pull("pull")), Ok(()));
    let strange = refused("imagePullSecrets[0].name=\"own\"");
    assert_eq!(run("strict", pull("own")), strange.map_err(|e: String| e + " imagePullSecret"));

    let mut debugged = pod("a/p", "");
    debugged["spec"]["serviceAccountName"] = json!("strict");
    debugged["spec"]["ephemeralContainers"] =
        json!([{ "name": "e", "envFrom": [{ "secretRef": { "name": "x" } }] }]);
    let line = "update core pods/ephemeralcontainers a/p";
    let strange = refused("ephemeral container e with envFrom referencing secret.secretName=\"x\"");
    let old = pod("a/p", "");
    let found = root.run(line, &mut debugged, Some(&old)).map(drop);
    assert_eq!(found, strange.map_err(|e: String| e + " secret"));

    let mut mirror = pod("a/p", "n1");
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    mirror["spec"]["serviceAccountName"] = Value::Null;
    mirror["spec"]["volumes"] = json!([{ "name": "v", "secret": { "secretName": "x" } }]);
    root.check(
        "create core pods a/p",
        mirror,
        None,
        "pods \"p\" is forbidden: a mirror pod may not reference secrets",
    );
}
