//! Statuses by what the runtime has: phases, conditions, container states.

use serde_json::json;

use super::*;
use k8s_openapi::api::core::v1::ContainerStatus;

use crate::resize::{Progress, Record};
use crate::view::{ContainerView, SandboxView, State};

fn pod_of(policy: &str, spec: serde_json::Value) -> Pod {
    let mut object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec});
    object["spec"]["restartPolicy"] = json!(policy);
    serde_json::from_value(object).unwrap()
}

/// `NAME STATE`, oldest first, where STATE is `run`, `new` or an exit code.
fn view_of(state: &str) -> PodView {
    let ips = vec!["10.244.1.5".parse().unwrap()];
    let sandbox = SandboxView { id: "s".into(), attempt: 0, is_ready: true, created_ms: 1, ips };
    let mut view = PodView { sandboxes: vec![sandbox], containers: Vec::new() };
    for word in state.split(", ").filter(|word| !word.is_empty()) {
        let (name, what) = word.split_once(' ').unwrap();
        let restarts = view.containers.iter().filter(|found| found.name == name).count();
        let state = match what {
            "run" => State::Running,
            "new" => State::Created,
            code => State::Exited {
                code: code.parse().unwrap(),
                reason: if code == "137" { "OOMKilled".into() } else { String::new() },
                message: String::new(),
                finished_ms: 5_000,
            },
        };
        let found = ContainerView {
            id: format!("{name}{restarts}"),
            name: name.to_owned(),
            sandbox_id: "s".into(),
            restarts: u32::try_from(restarts).unwrap(),
            state,
            created_ms: 1_000,
            started_ms: 2_000,
            image: String::new(),
            image_id: String::new(),
            hash: String::new(),
            log_path: String::new(),
            user: None,
            actual: Default::default(),
            annotations: BTreeMap::new(),
        };
        view.containers.insert(0, found);
    }
    view
}

struct Case<'a> {
    pod: &'a Pod,
    view: &'a PodView,
    waiting: BTreeMap<String, Waiting>,
    is_terminated: bool,
    verdict: Option<Waiting>,
    before: PodStatus,
    record: Record,
}

fn status_of(case: &Case<'_>) -> PodStatus {
    let running: BTreeSet<String> = case.view.running().map(|found| found.id.clone()).collect();
    derive(&Inputs {
        pod: case.pod,
        view: case.view,
        before: &case.before,
        waiting: &case.waiting,
        ready: &running,
        started: &running,
        messages: &BTreeMap::new(),
        record: &case.record,
        progress: &Progress::default(),
        is_terminated: case.is_terminated,
        verdict: case.verdict.as_ref(),
        host_ip: "192.0.2.10".parse().unwrap(),
        now_ms: 10_000,
    })
}

fn case<'a>(pod: &'a Pod, view: &'a PodView) -> Case<'a> {
    let (waiting, before, record) = Default::default();
    Case { pod, view, waiting, is_terminated: false, verdict: None, before, record }
}

fn condition(status: &PodStatus, kind: &str) -> String {
    let mut all = status.conditions.iter().flatten();
    let found = all.find(|found| found.type_ == kind).unwrap();
    format!("{} {}", found.status, found.reason.as_deref().unwrap_or("-"))
}

#[track_caller]
fn check(policy: &str, state: &str, is_terminated: bool, phase: &str, ready: &str) {
    let pod = pod_of(policy, json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let view = view_of(state);
    let status = status_of(&Case { is_terminated, ..case(&pod, &view) });
    assert_eq!(status.phase.as_deref(), Some(phase), "{policy}: {state}");
    assert_eq!(condition(&status, "Ready"), ready, "{policy}: {state}");
}

#[test]
fn phase_and_readiness_follow_from_the_containers() {
    check("Always", "", false, "Pending", "False ContainersNotReady");
    check("Always", "a run, b new", false, "Pending", "False ContainersNotReady");
    check("Always", "a run, b run", false, "Running", "True -");
    check("Always", "a run, b 1", false, "Running", "False ContainersNotReady");
    check("Always", "a 0, b 0", false, "Running", "False ContainersNotReady");
    check("OnFailure", "a 0, b 1", false, "Running", "False ContainersNotReady");
    check("OnFailure", "a 0, b 0", false, "Succeeded", "False PodCompleted");
    check("Never", "a 0, b 1", false, "Failed", "False PodFailed");
    check("Never", "a 0, b run", false, "Running", "False ContainersNotReady");
    check("Always", "a 0, b 143", true, "Failed", "False PodFailed");
    check("Always", "a 0, b 0", true, "Succeeded", "False PodCompleted");
}

/// Masters that gave the node up have ended the pod; its containers run.
#[test]
fn pod_that_somebody_ended_stays_so_while_its_containers_come_down() {
    let view = view_of("a run");
    let ended = |phase: &str| PodStatus {
        phase: Some(phase.to_owned()),
        reason: Some("Lost".to_owned()),
        nominated_node_name: Some("other".to_owned()),
        ..PodStatus::default()
    };
    let told = |before: PodStatus, shown: PodStatus| {
        let mut pod = pod_of("Always", json!({"containers": [{"name": "a"}]}));
        pod.status = Some(shown);
        let status = status_of(&Case { before, ..case(&pod, &view) });
        assert_eq!(status.nominated_node_name, None);
        (status.phase.unwrap(), status.reason)
    };
    let lost = || Some("Lost".to_owned());
    assert_eq!(told(ended("Running"), ended("Failed")), ("Failed".to_owned(), lost()));
    assert_eq!(told(ended("Failed"), ended("Running")), ("Failed".to_owned(), lost()));
    assert_eq!(told(ended("Running"), ended("Succeeded")), ("Succeeded".to_owned(), None));
    assert_eq!(told(ended("Running"), ended("Running")), ("Running".to_owned(), None));
    assert_eq!(told(ended("Succeeded"), ended("Failed")), ("Failed".to_owned(), lost()));
    // Whatever they end with.
    let check = |shown: &str, state: &str| {
        let mut pod = pod_of("Always", json!({"containers": [{"name": "a"}]}));
        pod.status = Some(ended(shown));
        let (view, before) = (view_of(state), ended(shown));
        let status = status_of(&Case { before, is_terminated: true, ..case(&pod, &view) });
        assert_eq!(status.phase.as_deref(), Some(shown), "{state}");
    };
    check("Failed", "a 0");
    check("Succeeded", "a 137");
}

#[test]
fn pod_has_not_ended_while_a_container_comes_back_by_its_own_rules() {
    let check = |policy: &str, own: serde_json::Value, code: i32, phase: &str| {
        let mut main = json!({"name": "a"});
        main.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let (pod, view) =
            (pod_of(policy, json!({"containers": [main]})), view_of(&format!("a {code}")));
        let status = status_of(&case(&pod, &view));
        assert_eq!(status.phase.as_deref(), Some(phase), "{policy} {own} {code}");
        let is_finished = crate::plan::is_finished(&pod, &view);
        assert_eq!(is_finished, phase != "Running", "{policy} {own} {code}");
    };
    check("Never", json!({"restartPolicy": "Always"}), 0, "Running");
    check("Never", json!({"restartPolicy": "Always"}), 1, "Running");
    check("Never", json!({"restartPolicy": "OnFailure"}), 1, "Running");
    check("Never", json!({"restartPolicy": "OnFailure"}), 0, "Succeeded");
    check("Always", json!({"restartPolicy": "Never"}), 1, "Failed");
    let ruled = |operator: &str| {
        let rule =
            json!({"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}});
        json!({"restartPolicy": "Never", "restartPolicyRules": [rule]})
    };
    check("Always", ruled("In"), 42, "Running");
    check("Always", ruled("In"), 1, "Failed");
    check("Never", ruled("NotIn"), 1, "Running");
    check("Never", ruled("NotIn"), 42, "Failed");
}

/// One that ended well when it was stopped for other limits.
#[test]
fn pod_has_not_ended_while_a_resized_container_is_started_again() {
    let (pod, view) = (pod_of("OnFailure", json!({"containers": [{"name": "a"}]})), view_of("a 0"));
    let phase = |record: Record| status_of(&Case { record, ..case(&pod, &view) }).phase;
    assert_eq!(phase(Record::default()).as_deref(), Some("Succeeded"));
    let stopped = [("a".to_owned(), "a0".to_owned())].into();
    assert_eq!(phase(Record { stopped, ..Record::default() }).as_deref(), Some("Running"));
}

#[test]
fn init_containers_keep_a_pod_pending() {
    let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    let check = |state: &str, phase: &str, initialized: &str, reason: &str| {
        let pod = pod_of("Never", spec.clone());
        let view = view_of(state);
        let status = status_of(&case(&pod, &view));
        assert_eq!(status.phase.as_deref(), Some(phase), "{state}");
        assert_eq!(condition(&status, "Initialized"), initialized, "{state}");
        let main = status.container_statuses.unwrap().remove(0);
        let why = |status: ContainerStatus| status.state.and_then(|state| state.waiting?.reason);
        assert_eq!(why(main).as_deref().unwrap_or("-"), reason, "{state}");
        let init = status.init_container_statuses.unwrap().remove(0);
        let expected = if state.is_empty() { Some("PodInitializing") } else { None };
        assert_eq!(why(init).as_deref(), expected, "{state}");
    };
    check("i run", "Pending", "False ContainersNotInitialized", "PodInitializing");
    check("", "Pending", "False ContainersNotInitialized", "PodInitializing");
    check("i 0", "Pending", "True -", "PodInitializing");
    check("i 1", "Failed", "False ContainersNotInitialized", "PodInitializing");
    check("i 0, a run", "Running", "True -", "-");
    check("i 0, a 0", "Succeeded", "True PodCompleted", "-");
}

#[test]
fn crash_loop_shows_the_wait_and_the_end_before_it() {
    let pod = pod_of("Always", json!({"containers": [{"name": "a"}]}));
    let view = view_of("a 1, a 137");
    let mut case = case(&pod, &view);
    let waiting = ("CrashLoopBackOff".to_owned(), "back-off 10s".to_owned());
    case.waiting.insert("a".into(), waiting);
    let container = status_of(&case).container_statuses.unwrap().remove(0);
    assert_eq!(container.restart_count, 1);
    let reason = container.state.unwrap().waiting.unwrap().reason.unwrap();
    let last = container.last_state.unwrap().terminated.unwrap();
    assert_eq!((reason.as_str(), last.exit_code), ("CrashLoopBackOff", 137));
    assert_eq!(last.reason.as_deref(), Some("OOMKilled"));
}

#[test]
fn verdict_of_the_node_fails_the_pod() {
    let pod = pod_of("Always", json!({"containers": [{"name": "a"}]}));
    let view = view_of("a run");
    let verdict = Some(("DeadlineExceeded".to_owned(), "too long".to_owned()));
    let goes = Case { verdict, ..case(&pod, &view) };
    // As long as something of it runs, nobody is to take its place.
    let status = status_of(&goes);
    assert_eq!((status.phase.as_deref(), status.reason), (Some("Running"), None));
    let status = status_of(&Case { is_terminated: true, ..goes });
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn conditions_of_others_and_moments_of_change_are_kept() {
    let pod = pod_of("Always", json!({"containers": [{"name": "a"}]}));
    let view = view_of("a run");
    let mut before = status_of(&case(&pod, &view));
    let gate = serde_json::from_value(json!({"type": "team/gate", "status": "True"})).unwrap();
    before.conditions.as_mut().unwrap().push(gate);
    let running: BTreeSet<String> = ["a0".to_owned()].into();
    let after = derive(&Inputs {
        pod: &pod,
        view: &view,
        before: &before,
        waiting: &BTreeMap::new(),
        ready: &running,
        started: &running,
        messages: &BTreeMap::new(),
        record: &Record::default(),
        progress: &Progress::default(),
        is_terminated: false,
        verdict: None,
        host_ip: "192.0.2.10".parse().unwrap(),
        now_ms: 99_000,
    });
    assert_eq!(after, before);
}
