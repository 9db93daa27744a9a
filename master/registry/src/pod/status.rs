//! The STATUS that `kubectl get pods` prints: a summary of phase, conditions and containers.

use jiff::Timestamp;
use master_api::{meta, time};
use serde_json::Value;

/// What the columns READY, STATUS and RESTARTS say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) ready: String,
    pub(crate) status: String,
    pub(crate) restarts: String,
}

/// Restarts, and when the last one was.
#[derive(Clone, Copy, Debug, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += meta::number(container, &["restartCount"]).unwrap_or_default();
        let finished = meta::text(container, &["lastState", "terminated", "finishedAt"]);
        self.last = self.last.max(time::parse(finished));
    }

    fn shown(self, now: Timestamp) -> String {
        match (self.count, self.last) {
            (0, _) | (_, None) => self.count.to_string(),
            (count, last) => format!("{count} ({} ago)", time::age(last, now)),
        }
    }
}

pub(crate) fn summary(pod: &Value, now: Timestamp) -> Summary {
    let phase = meta::text(pod, &["status", "phase"]);
    let mut status = match meta::text(pod, &["status", "reason"]) {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    if condition(pod, "PodScheduled", "reason") == "SchedulingGated" {
        status = "SchedulingGated".to_owned();
    }
    let sidecars = meta::items(pod, &["spec", "initContainers"]).iter().filter(|c| is_sidecar(c));
    let total = meta::items(pod, &["spec", "containers"]).len() + sidecars.count();
    let init = initialization(pod);
    let mut ready = init.ready;
    let mut restarts = init.restarts;
    if init.problem.is_none() || condition(pod, "Initialized", "status") == "True" {
        restarts = init.sidecar_restarts;
        let main = containers(pod, init.problem.unwrap_or(status));
        status = main.status;
        ready += main.ready;
        for container in meta::items(pod, &["status", "containerStatuses"]) {
            restarts.add(container);
        }
    } else if let Some(problem) = init.problem {
        status = problem;
    }
    if meta::is_terminating(pod) {
        if meta::text(pod, &["status", "reason"]) == "NodeLost" {
            status = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            status = "Terminating".to_owned();
        }
    }
    Summary { ready: format!("{ready}/{total}"), status, restarts: restarts.shown(now) }
}

/// One field of a condition of the pod, or "".
pub(crate) fn condition<'a>(pod: &'a Value, kind: &str, field: &str) -> &'a str {
    let mut conditions = meta::items(pod, &["status", "conditions"]).iter();
    let found = conditions.find(|condition| condition["type"] == kind);
    found.map_or("", |condition| meta::text(condition, &[field]))
}

/// An init container that goes on beside the others.
pub(crate) fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

#[derive(Debug, Default)]
struct Initialization {
    /// `Init:1/2` and the like, while the init containers are not through.
    problem: Option<String>,
    ready: usize,
    restarts: Restarts,
    sidecar_restarts: Restarts,
}

fn initialization(pod: &Value) -> Initialization {
    let specs = meta::items(pod, &["spec", "initContainers"]);
    let mut found = Initialization::default();
    for (at, container) in meta::items(pod, &["status", "initContainerStatuses"]).iter().enumerate()
    {
        let name = meta::text(container, &["name"]);
        let is_sidecar = specs.iter().any(|spec| spec["name"] == name && is_sidecar(spec));
        found.restarts.add(container);
        if is_sidecar {
            found.sidecar_restarts.add(container);
        }
        let terminated = meta::at(container, &["state", "terminated"]);
        let exit_code = terminated.and_then(|state| meta::number(state, &["exitCode"]));
        if terminated.is_some() && exit_code.unwrap_or_default() == 0 {
            continue;
        }
        if is_sidecar && container["started"] == true {
            found.ready += usize::from(container["ready"] == true);
            continue;
        }
        let waiting = meta::text(container, &["state", "waiting", "reason"]);
        found.problem = Some(if let Some(state) = terminated {
            format!("Init:{}", ending(state))
        } else if !matches!(waiting, "" | "PodInitializing") {
            format!("Init:{waiting}")
        } else {
            format!("Init:{at}/{}", specs.len())
        });
        return found;
    }
    found
}

/// `Error`, `Signal:9`, `ExitCode:1`.
fn ending(terminated: &Value) -> String {
    let number = |field: &str| meta::number(terminated, &[field]).unwrap_or_default();
    match (meta::text(terminated, &["reason"]), number("signal")) {
        ("", 0) => format!("ExitCode:{}", number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

struct Containers {
    status: String,
    ready: usize,
}

fn containers(pod: &Value, mut status: String) -> Containers {
    let (mut ready, mut is_running, mut failure) = (0, false, None);
    for container in meta::items(pod, &["status", "containerStatuses"]).iter().rev() {
        let waiting = meta::text(container, &["state", "waiting", "reason"]);
        if !waiting.is_empty() {
            status = waiting.to_owned();
        } else if let Some(terminated) = meta::at(container, &["state", "terminated"]) {
            status = ending(terminated);
            if meta::number(terminated, &["exitCode"]).unwrap_or_default() != 0 {
                failure = Some(status.clone());
            }
        } else if container["ready"] == true && meta::at(container, &["state", "running"]).is_some()
        {
            is_running = true;
            ready += 1;
        }
    }
    if status == "Completed" {
        if is_running && condition(pod, "Ready", "status") == "True" {
            status = "Running".to_owned();
        } else if let Some(failure) = failure {
            status = failure;
        } else if is_running {
            status = "NotReady".to_owned();
        }
    }
    Containers { status, ready }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: &str, spec: Value, status: Value, expected: (&str, &str, &str)) {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        if name.starts_with("terminating") {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:59:00Z".into();
        }
        let Summary { ready, status, restarts } = summary(&pod, now);
        assert_eq!((&*ready, &*status, &*restarts), expected, "{name}");
    }

    fn running(ready: bool) -> Value {
        json!({"ready": ready, "restartCount": 0, "state": {"running": {}}})
    }

    fn ended(code: i64, reason: &str) -> Value {
        json!({"state": {"terminated": {"exitCode": code, "reason": reason}}})
    }

    #[test]
    fn status_follows_the_containers() {
        let one = || json!({"containers": [{"name": "a"}]});
        let two = || json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let crash = json!({"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:59:30Z"}}});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        #[rustfmt::skip]
        let cases = [
            ("new",         one(), json!({"phase": "Pending"}),                                                             ("0/1", "Pending", "0")),
            ("evicted",     one(), json!({"phase": "Failed", "reason": "Evicted"}),                                         ("0/1", "Evicted", "0")),
            ("up",          one(), json!({"phase": "Running", "containerStatuses": [running(true)]}),                       ("1/1", "Running", "0")),
            ("creating",    one(), json!({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}), ("0/1", "ContainerCreating", "0")),
            ("crashing",    one(), json!({"phase": "Running", "containerStatuses": [crash]}),                               ("0/1", "CrashLoopBackOff", "3 (30s ago)")),
            ("done",        one(), json!({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}),             ("0/1", "Completed", "0")),
            ("failed",      one(), json!({"phase": "Failed", "containerStatuses": [ended(1, "Error")]}),                    ("0/1", "Error", "0")),
            ("bare code",   one(), json!({"phase": "Failed", "containerStatuses": [ended(7, "")]}),                         ("0/1", "ExitCode:7", "0")),
            ("half done",   two(), json!({"phase": "Running", "containerStatuses": [ended(0, "Completed"), running(true)]}), ("1/2", "NotReady", "0")),
            ("half, ready", two(), json!({"phase": "Running", "conditions": ready, "containerStatuses": [ended(0, "Completed"), running(true)]}), ("1/2", "Running", "0")),
            ("terminating", one(), json!({"phase": "Running", "containerStatuses": [running(true)]}),                       ("1/1", "Terminating", "0")),
            ("terminating done", one(), json!({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}),        ("0/1", "Completed", "0")),
            ("gated",       one(), json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}), ("0/1", "SchedulingGated", "0")),
        ];
        for (name, spec, status, expected) in cases {
            check(name, spec, status, expected);
        }
    }

    #[test]
    fn init_containers_show_their_progress() {
        let spec = || json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
        let sidecar = || json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]});
        let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
        let started = json!({"name": "s", "started": true, "ready": true, "restartCount": 2, "state": {"running": {}}});
        #[rustfmt::skip]
        let cases = [
            ("first",   spec(), json!({"phase": "Pending", "initContainerStatuses": [waiting("PodInitializing")]}),                ("0/1", "Init:0/2", "0")),
            ("second",  spec(), json!({"phase": "Pending", "initContainerStatuses": [ended(0, ""), running(false)]}),              ("0/1", "Init:1/2", "0")),
            ("pull",    spec(), json!({"phase": "Pending", "initContainerStatuses": [waiting("ErrImagePull")]}),                   ("0/1", "Init:ErrImagePull", "0")),
            ("error",   spec(), json!({"phase": "Pending", "initContainerStatuses": [ended(1, "Error")]}),                         ("0/1", "Init:Error", "0")),
            ("code",    spec(), json!({"phase": "Pending", "initContainerStatuses": [ended(2, "")]}),                              ("0/1", "Init:ExitCode:2", "0")),
            ("sidecar", sidecar(), json!({"phase": "Running", "initContainerStatuses": [started], "containerStatuses": [running(true)]}), ("2/2", "Running", "2")),
        ];
        for (name, spec, status, expected) in cases {
            check(name, spec, status, expected);
        }
    }
}
