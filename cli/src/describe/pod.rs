//! A pod: its containers, what they wait for, what they see.

use master_api::jsonpath::shown;
use serde_json::Value;

use super::{Page, controller_of, head, labels};
use crate::object::{items, text};
use crate::print::human;

pub(super) fn describe(page: &mut Page, pod: &Value) {
    let (spec, status, metadata) = (&pod["spec"], &pod["status"], &pod["metadata"]);
    head(page, pod);
    page.line(0, "Priority", spec["priority"].as_i64().unwrap_or(0).to_string());
    if let Some(class) = spec["priorityClassName"].as_str() {
        page.line(0, "Priority Class Name", class);
    }
    page.line(0, "Service Account", text(&spec["serviceAccountName"]));
    page.line(
        0,
        "Node",
        match (text(&spec["nodeName"]), text(&status["hostIP"])) {
            ("", _) => "<none>".to_owned(),
            (node, ip) => format!("{node}/{ip}"),
        },
    );
    if let Some(time) = status["startTime"].as_str() {
        page.line(0, "Start Time", human::long_time(time));
    }
    labels(page, pod);
    match metadata["deletionTimestamp"].as_str() {
        Some(time) => {
            page.line(0, "Status", format!("Terminating (lasts {})", human::age(Some(time))));
            let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
            page.line(0, "Termination Grace Period", format!("{grace}s"));
        }
        None => page.line(0, "Status", text(&status["phase"])),
    }
    for (key, field) in [("Reason", "reason"), ("Message", "message")] {
        if let Some(value) = status[field].as_str().filter(|value| !value.is_empty()) {
            page.line(0, key, value);
        }
    }
    page.line(0, "IP", text(&status["podIP"]));
    match items(&status["podIPs"]) {
        [] => page.line(0, "IPs", "<none>"),
        ips => {
            page.raw(0, "IPs:");
            ips.iter().for_each(|ip| page.line(1, "IP", text(&ip["ip"])));
        }
    }
    if let Some(owner) = controller_of(pod) {
        page.line(0, "Controlled By", owner);
    }
    containers(page, "Init Containers", &spec["initContainers"], &status["initContainerStatuses"]);
    containers(page, "Containers", &spec["containers"], &status["containerStatuses"]);
    containers(
        page,
        "Ephemeral Containers",
        &spec["ephemeralContainers"],
        &status["ephemeralContainerStatuses"],
    );
    page.conditions_of_pod(&status["conditions"]);
    volumes(page, 0, &spec["volumes"]);
    if let Some(class) = status["qosClass"].as_str() {
        page.line(0, "QoS Class", class);
    }
    page.pairs(0, "Node-Selectors", &spec["nodeSelector"]);
    tolerations(page, &spec["tolerations"]);
}

/// A workload's pod template, below its own line.
pub(super) fn template(page: &mut Page, template: &Value) {
    page.raw(0, "Pod Template:");
    page.pairs(1, "Labels", &template["metadata"]["labels"]);
    let annotations = &template["metadata"]["annotations"];
    if annotations.as_object().is_some_and(|map| !map.is_empty()) {
        page.annotations(1, "Annotations", annotations);
    }
    let spec = &template["spec"];
    if let Some(account) = spec["serviceAccountName"].as_str() {
        page.line(1, "Service Account", account);
    }
    for (title, field) in [("Init Containers", "initContainers"), ("Containers", "containers")] {
        if items(&spec[field]).is_empty() {
            continue;
        }
        page.raw(1, format!("{title}:"));
        for container in items(&spec[field]) {
            // Not two levels in, but one space: that is how kubectl prints it.
            page.raw(1, format!(" {}:", text(&container["name"])));
            one_container(page, container, None);
        }
    }
    volumes(page, 1, &spec["volumes"]);
    page.pairs(1, "Node-Selectors", &spec["nodeSelector"]);
    let tolerations: Vec<_> = items(&spec["tolerations"]).iter().map(toleration).collect();
    page.list("  Tolerations:", "  ", &tolerations);
}

/// A template alone, for `rollout history --revision`.
pub fn template_text(template_value: &Value) -> String {
    let mut page = Page::default();
    template(&mut page, template_value);
    page.text
}

fn containers(page: &mut Page, title: &str, specs: &Value, statuses: &Value) {
    if items(specs).is_empty() {
        return;
    }
    page.raw(0, format!("{title}:"));
    for container in items(specs) {
        let status = items(statuses).iter().find(|status| status["name"] == container["name"]);
        page.raw(1, format!("{}:", text(&container["name"])));
        one_container(page, container, status);
    }
}

fn one_container(page: &mut Page, container: &Value, status: Option<&Value>) {
    if let Some(status) = status {
        page.line(2, "Container ID", text(&status["containerID"]));
    }
    page.line(2, "Image", text(&container["image"]));
    if let Some(status) = status {
        page.line(2, "Image ID", text(&status["imageID"]));
    }
    let ports = |field: &str| -> Vec<String> {
        let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
        items(&container["ports"])
            .iter()
            .map(|port| format!("{}/{}", port[field].as_u64().unwrap_or(0), protocol(port)))
            .collect()
    };
    let joined =
        |list: Vec<String>| if list.is_empty() { "<none>".to_owned() } else { list.join(", ") };
    let plural = if items(&container["ports"]).len() > 1 { "s" } else { "" };
    page.line(2, &format!("Port{plural}"), joined(ports("containerPort")));
    page.line(2, &format!("Host Port{plural}"), joined(ports("hostPort")));
    for (key, field) in [("Command", "command"), ("Args", "args")] {
        if !items(&container[field]).is_empty() {
            page.raw(2, format!("{key}:"));
            for word in items(&container[field]) {
                text(word).lines().for_each(|line| page.raw(3, line));
            }
        }
    }
    if let Some(status) = status {
        state(page, "State", &status["state"]);
        if status["lastState"].as_object().is_some_and(|last| !last.is_empty()) {
            state(page, "Last State", &status["lastState"]);
        }
        page.line(2, "Ready", if status["ready"] == true { "True" } else { "False" });
        page.line(2, "Restart Count", status["restartCount"].as_i64().unwrap_or(0).to_string());
    }
    for (key, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let quantities = container["resources"][field].as_object();
        if let Some(quantities) = quantities.filter(|quantities| !quantities.is_empty()) {
            page.raw(2, format!("{key}:"));
            quantities.iter().for_each(|(name, quantity)| page.line(3, name, shown(quantity)));
        }
    }
    for (key, field) in [
        ("Liveness", "livenessProbe"),
        ("Readiness", "readinessProbe"),
        ("Startup", "startupProbe"),
    ] {
        if container[field].is_object() {
            page.line(2, key, probe(&container[field]));
        }
    }
    environment(page, container);
    mounts(page, container);
}

fn state(page: &mut Page, key: &str, state: &Value) {
    let time = |value: &Value| human::long_time(text(value));
    if let Some(running) = state.get("running") {
        page.line(2, key, "Running");
        page.line(3, "Started", time(&running["startedAt"]));
    } else if let Some(waiting) = state.get("waiting") {
        page.line(2, key, "Waiting");
        for (key, field) in [("Reason", "reason"), ("Message", "message")] {
            if let Some(value) = waiting[field].as_str().filter(|value| !value.is_empty()) {
                page.line(3, key, value);
            }
        }
    } else if let Some(ended) = state.get("terminated") {
        page.line(2, key, "Terminated");
        for (key, field) in [("Reason", "reason"), ("Message", "message")] {
            if let Some(value) = ended[field].as_str().filter(|value| !value.is_empty()) {
                page.line(3, key, value);
            }
        }
        page.line(3, "Exit Code", ended["exitCode"].as_i64().unwrap_or(0).to_string());
        page.line(3, "Started", time(&ended["startedAt"]));
        page.line(3, "Finished", time(&ended["finishedAt"]));
    } else {
        page.line(2, key, "Waiting");
    }
}

/// `http-get http://:8080/healthz delay=0s timeout=1s period=10s #success=1 #failure=3`
fn probe(probe: &Value) -> String {
    let number = |field: &str, default: i64| probe[field].as_i64().unwrap_or(default);
    let how = if let Some(http) = probe.get("httpGet") {
        let scheme = text(&http["scheme"]).to_lowercase();
        let scheme = if scheme.is_empty() { "http".to_owned() } else { scheme };
        format!(
            "http-get {scheme}://{}:{}{}",
            text(&http["host"]),
            shown(&http["port"]),
            text(&http["path"])
        )
    } else if let Some(tcp) = probe.get("tcpSocket") {
        format!("tcp-socket {}:{}", text(&tcp["host"]), shown(&tcp["port"]))
    } else if let Some(exec) = probe.get("exec") {
        let words: Vec<_> = items(&exec["command"]).iter().map(text).collect();
        format!("exec [{}]", words.join(" "))
    } else if let Some(grpc) = probe.get("grpc") {
        format!("grpc <pod>:{} {}", shown(&grpc["port"]), text(&grpc["service"]))
    } else {
        "unknown".to_owned()
    };
    format!(
        "{how} delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3),
    )
}

fn environment(page: &mut Page, container: &Value) {
    for source in items(&container["envFrom"]) {
        let (kind, from) = match (source.get("configMapRef"), source.get("secretRef")) {
            (Some(from), _) => ("ConfigMap", from),
            (_, Some(from)) => ("Secret", from),
            _ => continue,
        };
        page.raw(2, "Environment Variables from:");
        page.raw(
            3,
            format!("{}\t{kind}\tOptional: {}", text(&from["name"]), from["optional"] == true),
        );
    }
    if items(&container["env"]).is_empty() {
        page.line(2, "Environment", "<none>");
        return;
    }
    page.raw(2, "Environment:");
    for entry in items(&container["env"]) {
        let from = &entry["valueFrom"];
        let value = if let Some(field) = from.get("fieldRef") {
            format!(
                " ({}:{})",
                field["apiVersion"].as_str().unwrap_or("v1"),
                text(&field["fieldPath"])
            )
        } else if let Some(resource) = from.get("resourceFieldRef") {
            format!(" ({})", text(&resource["resource"]))
        } else if let Some(key) = from.get("secretKeyRef") {
            key_reference(key, "secret")
        } else if let Some(key) = from.get("configMapKeyRef") {
            key_reference(key, "config map")
        } else {
            text(&entry["value"]).to_owned()
        };
        page.line(3, text(&entry["name"]), value);
    }
}

fn key_reference(key: &Value, kind: &str) -> String {
    format!(
        "<set to the key '{}' in {kind} '{}'>  Optional: {}",
        text(&key["key"]),
        text(&key["name"]),
        key["optional"] == true
    )
}

fn mounts(page: &mut Page, container: &Value) {
    if items(&container["volumeMounts"]).is_empty() {
        page.line(2, "Mounts", "<none>");
        return;
    }
    page.raw(2, "Mounts:");
    for mount in items(&container["volumeMounts"]) {
        let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
        let path =
            mount["subPath"].as_str().map(|path| format!(",path={path:?}")).unwrap_or_default();
        page.raw(
            3,
            format!("{} from {} ({mode}{path})", text(&mount["mountPath"]), text(&mount["name"])),
        );
    }
}

fn volumes(page: &mut Page, level: usize, volumes: &Value) {
    if items(volumes).is_empty() {
        page.line(level, "Volumes", "<none>");
        return;
    }
    page.raw(level, "Volumes:");
    for volume in items(volumes) {
        page.raw(level + 1, format!("{}:", text(&volume["name"])));
        let Some((kind, source)) =
            volume.as_object().into_iter().flatten().find(|(key, _)| *key != "name")
        else {
            continue;
        };
        volume_source(page, level + 2, kind, source);
    }
}

fn volume_source(page: &mut Page, level: usize, kind: &str, source: &Value) {
    match kind {
        "configMap" => {
            page.line(level, "Type", "ConfigMap (a volume populated by a ConfigMap)");
            page.line(level, "Name", text(&source["name"]));
            page.line(level, "Optional", (source["optional"] == true).to_string());
        }
        "secret" => {
            page.line(level, "Type", "Secret (a volume populated by a Secret)");
            page.line(level, "SecretName", text(&source["secretName"]));
            page.line(level, "Optional", (source["optional"] == true).to_string());
        }
        "emptyDir" => {
            page.line(
                level,
                "Type",
                "EmptyDir (a temporary directory that shares a pod's lifetime)",
            );
            page.line(level, "Medium", text(&source["medium"]));
            page.line(level, "SizeLimit", source["sizeLimit"].as_str().unwrap_or("<unset>"));
        }
        "hostPath" => {
            page.line(level, "Type", "HostPath (bare host directory volume)");
            page.line(level, "Path", text(&source["path"]));
            page.line(level, "HostPathType", text(&source["type"]));
        }
        "persistentVolumeClaim" => {
            page.line(level, "Type", "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)");
            page.line(level, "ClaimName", text(&source["claimName"]));
            page.line(level, "ReadOnly", (source["readOnly"] == true).to_string());
        }
        "projected" => {
            page.line(
                level,
                "Type",
                "Projected (a volume that contains injected data from multiple sources)",
            );
            for one in items(&source["sources"]) {
                if let Some(token) = one.get("serviceAccountToken") {
                    page.line(level, "TokenExpirationSeconds", shown(&token["expirationSeconds"]));
                } else if let Some(config) = one.get("configMap") {
                    page.line(level, "ConfigMapName", text(&config["name"]));
                    let optional = config["optional"].as_bool().map(|value| value.to_string());
                    page.line(level, "ConfigMapOptional", optional.as_deref().unwrap_or("<nil>"));
                } else if let Some(secret) = one.get("secret") {
                    page.line(level, "SecretName", text(&secret["name"]));
                } else if one.get("downwardAPI").is_some() {
                    page.line(level, "DownwardAPI", "true");
                }
            }
        }
        "downwardAPI" => page.line(
            level,
            "Type",
            "DownwardAPI (a volume populated by information about the pod)",
        ),
        other => page.line(level, "Type", other),
    }
}

fn tolerations(page: &mut Page, tolerations: &Value) {
    let lines: Vec<_> = items(tolerations).iter().map(toleration).collect();
    page.list("Tolerations:", "", &lines);
}

fn toleration(one: &Value) -> String {
    let mut line = text(&one["key"]).to_owned();
    if let Some(value) = one["value"].as_str().filter(|value| !value.is_empty()) {
        line.push_str(&format!("={value}"));
    }
    if let Some(effect) = one["effect"].as_str().filter(|effect| !effect.is_empty()) {
        line.push_str(&format!(":{effect}"));
    }
    if one["operator"] == "Exists" && one["value"].as_str().is_none_or(str::is_empty) {
        line.push_str(if line.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = one["tolerationSeconds"].as_i64() {
        line.push_str(&format!(" for {seconds}s"));
    }
    line
}

impl Page {
    fn conditions_of_pod(&mut self, conditions: &Value) {
        if items(conditions).is_empty() {
            return;
        }
        self.raw(0, "Conditions:");
        self.raw(1, "Type\tStatus");
        for condition in items(conditions) {
            self.raw(1, format!("{} \t{} ", text(&condition["type"]), text(&condition["status"])));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pod_is_laid_out_as_kubectl_lays_it_out() {
        let pod = json!({
            "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web", "tier": "x"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": true}]},
            "spec": {"serviceAccountName": "default", "nodeName": "node-1", "containers": [{"name": "c", "image": "i:1",
                "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "b"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}]}],
                "volumes": [{"name": "v", "emptyDir": {}}],
                "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]},
            "status": {"phase": "Running", "podIP": "10.244.0.5", "hostIP": "10.88.0.1", "podIPs": [{"ip": "10.244.0.5"}], "qosClass": "BestEffort",
                "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2, "containerID": "containerd://1", "imageID": "sha256:2",
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}],
                "conditions": [{"type": "Ready", "status": "True"}]},
        });
        let mut page = Page::default();
        describe(&mut page, &pod);
        let wanted = "\
Name:             web
Namespace:        default
Priority:         0
Service Account:  default
Node:             node-1/10.88.0.1
Labels:           app=web
                  tier=x
Annotations:      <none>
Status:           Running
IP:               10.244.0.5
IPs:
  IP:           10.244.0.5
Controlled By:  ReplicaSet/web-1
Containers:
  c:
    Container ID:  containerd://1
    Image:         i:1
    Image ID:      sha256:2
    Port:          80/TCP
    Host Port:     0/TCP
    State:         Waiting
      Reason:      CrashLoopBackOff
    Last State:    Terminated
      Reason:      OOMKilled
      Exit Code:   137
      Started:     
      Finished:    
    Ready:         True
    Restart Count: 2
";
        let got = page.lay_out();
        assert!(
            got.starts_with(
                wanted
                    .trim_end_matches("    Restart Count: 2\n")
                    .split("Containers:")
                    .next()
                    .unwrap()
            ),
            "{got}"
        );
        for line in [
            "    State:          Waiting",
            "      Reason:       CrashLoopBackOff",
            "      Exit Code:    137",
            "    Environment:",
            "      A:  b",
            "      /v from v (ro)",
            "  Type    Status",
            "  Ready   True ",
            "Tolerations:     k:NoExecute op=Exists for 300s",
        ] {
            assert!(got.lines().any(|got| got == line), "{line}\nin\n{got}");
        }
    }
}
