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
    assert!(refused.unwrap_err().contains("violates PodSecurity \"restrictd:latest\""));
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
