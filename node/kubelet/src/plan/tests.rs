//! The planner's table: policy, containers, runtime state → actions.

use k8s_openapi::api::core::v1::{PodSpec, PodStatus};

use super::*;

/// `init NAME`, `sidecar NAME` or `main NAME`, separated by commas.
fn pod_of(policy: &str, containers: &str) -> Pod {
    let mut spec = PodSpec { restart_policy: Some(policy.to_owned()), ..Default::default() };
    for (role, name) in containers.split(", ").map(|each| each.split_once(' ').unwrap()) {
        let mut container = Container { name: name.to_owned(), ..Default::default() };
        match role {
            "main" => spec.containers.push(container),
            _ => {
                container.restart_policy = (role == "sidecar").then(|| "Always".to_owned());
                spec.init_containers.get_or_insert_default().push(container);
            }
        }
    }
    let mut pod =
        Pod { spec: Some(spec), status: Some(PodStatus::default()), ..Default::default() };
    pod.metadata.name = Some("p".to_owned());
    pod
}

/// Oldest first: `+` a ready sandbox, `-` a dead one; then `NAME STATE` in the sandbox before it, where
/// STATE is `run`, `new`, `lost`, `sick`, `slow` (startup probe), `old` (image) or an exit code.
fn view_of(pod: &Pod, state: &str) -> (PodView, Health) {
    let (mut view, mut health) = (PodView::default(), Health::default());
    for (clock, word) in (1..).zip(state.split(", ").filter(|word| !word.is_empty())) {
        if let "+" | "-" = word {
            let attempt = u32::try_from(view.sandboxes.len()).unwrap();
            let id = format!("s{attempt}");
            let (is_ready, ips) = (word == "+", Vec::new());
            view.sandboxes.insert(0, SandboxView { id, attempt, is_ready, created_ms: clock, ips });
            continue;
        }
        let (name, what) = word.split_once(' ').unwrap();
        let restarts = view.containers.iter().filter(|found| found.name == name).count();
        let id = format!("{name}{restarts}");
        let exited = |code| State::Exited {
            code,
            reason: String::new(),
            message: String::new(),
            finished_ms: 1_000,
        };
        let state = match what {
            "new" => State::Created,
            "lost" => State::Unknown,
            "run" | "sick" | "slow" | "old" => State::Running,
            code => exited(code.parse().unwrap()),
        };
        match what {
            "sick" => drop(health.failed.insert(id.clone(), "probe failed".to_owned())),
            "slow" => drop(health.unstarted.insert(id.clone())),
            _ => {}
        }
        let hash = match what {
            "old" => "other".to_owned(),
            _ => pod::container_hash(pod::container(pod, name).unwrap().1),
        };
        let found = ContainerView {
            id,
            name: name.to_owned(),
            sandbox_id: view.sandboxes[0].id.clone(),
            restarts: u32::try_from(restarts).unwrap(),
            state,
            created_ms: clock,
            started_ms: clock,
            image: String::new(),
            image_id: String::new(),
            hash,
            log_path: String::new(),
            user: None,
            actual: Default::default(),
            annotations: BTreeMap::new(),
        };
        view.containers.insert(0, found);
    }
    (view, health)
}

fn show(plan: &Plan) -> String {
    let mut words: Vec<String> = Vec::new();
    for action in &plan.actions {
        words.push(match action {
            Action::StopSandbox { id } => format!("down {id}"),
            Action::CreateSandbox { attempt } => format!("up {attempt}"),
            Action::Stop { id, .. } => format!("stop {id}"),
            Action::Remove { id } | Action::RemoveSandbox { id } => format!("forget {id}"),
            Action::Resize { updates } => {
                updates.iter().map(|it| format!("resize {}", it.id)).collect()
            }
            Action::Start { name, restarts } => format!("start {name}{restarts}"),
        });
    }
    words.extend(plan.waiting.keys().map(|name| format!("wait {name}")));
    if plan.is_finished {
        words.push("finished".to_owned());
    }
    words.join(", ")
}

fn plan_of(policy: &str, containers: &str, state: &str, backoff: &Backoff) -> Plan {
    let pod = pod_of(policy, containers);
    let (view, health) = view_of(&pod, state);
    let changes = Changes::default();
    let (pod, view, health, changes) = (&pod, &view, &health, &changes);
    plan(&Inputs { pod, view, health, changes, backoff, now_ms: 2_000 })
}

#[track_caller]
fn check(policy: &str, containers: &str, state: &str, expected: &str) {
    assert_eq!(show(&plan_of(policy, containers, state, &Backoff::kubelet())), expected);
}

#[test]
fn pods_start_in_a_sandbox_and_stay() {
    check("Always", "main a", "", "up 0, start a0");
    check("Always", "main a, main b", "", "up 0, start a0, start b0");
    check("Always", "main a, main b", "+", "start a0, start b0");
    check("Always", "main a, main b", "+, a run", "start b0");
    check("Always", "main a, main b", "+, a run, b run", "");
    check("Always", "main a", "+, a new", "forget a0, start a0");
    check("Always", "main a", "+, a lost", "stop a0, forget a0, start a1");
}

#[test]
fn restart_policies_decide_over_ended_containers() {
    check("Always", "main a", "+, a 0", "start a1");
    check("Always", "main a", "+, a 1", "start a1");
    check("OnFailure", "main a", "+, a 1", "start a1");
    check("OnFailure", "main a", "+, a 0", "finished");
    check("Never", "main a", "+, a 1", "finished");
    check("Never", "main a, main b", "+, a 1, b run", "");
    check("OnFailure", "main a, main b", "+, a 0, b 1", "start b1");
}

#[test]
fn init_containers_run_one_by_one_before_all_others() {
    let pod = "init i, init j, main a";
    check("Always", pod, "", "up 0, start i0");
    check("Always", pod, "+, i run", "");
    check("Always", pod, "+, i 0", "start j0");
    check("Always", pod, "+, i 1", "start i1");
    check("Never", pod, "+, i 1", "finished");
    check("Always", pod, "+, i 0, j 0", "start a0");
    check("Always", pod, "+, i 0, j 0, a 1", "start a1");
    check("Always", pod, "+, a run", "");
}

#[test]
fn sidecars_start_in_order_and_are_kept_running() {
    let pod = "sidecar s, init i, main a";
    check("Never", pod, "", "up 0, start s0");
    check("Never", pod, "+, s slow", "");
    check("Never", pod, "+, s run", "start i0");
    check("Never", pod, "+, s run, i 0", "start a0");
    check("Never", pod, "+, s 1, i 0, a run", "start s1");
    check("Never", pod, "+, s run, i 0, a 0", "finished");
}

#[test]
fn dead_sandboxes_are_replaced_with_everything_in_them() {
    check("Always", "main a", "-", "up 1, start a0");
    check("Always", "main a", "-, a 137", "up 1, start a1");
    check("Never", "main a", "-, a 137", "finished");
    check("OnFailure", "main a", "-, a 0", "finished");
    check("Always", "init i, main a", "-, i 0, a 137", "up 1, start i1");
    check("Always", "init i, main a", "-, i 0, a 137, +, i 0", "start a1, forget i0");
    check("Always", "main a", "-, a run", "down s0, up 1");
    check("Always", "main a", "+, a 1, +, a run", "down s0");
}

#[test]
fn unfit_containers_are_stopped_first() {
    check("Always", "main a", "+, a sick", "stop a0");
    check("Always", "main a", "+, a old", "stop a0");
    check("Always", "sidecar s, main a", "+, s sick, a run", "stop s0");
}

#[test]
fn one_ended_container_of_a_name_is_kept() {
    check("Always", "main a", "+, a 1, a 1, a run", "forget a0");
    check("Always", "main a", "+, a 1, a 1", "start a2, forget a0");
    check("Always", "main a", "-, +, a run", "forget s0");
}

#[test]
fn failing_container_waits_for_its_back_off() {
    let mut backoff = Backoff::kubelet();
    backoff.tried("a", 500, 900);
    let plan = plan_of("Always", "main a, main b", "+, a 1, b run", &backoff);
    assert_eq!(show(&plan), "wait a");
    assert_eq!(plan.wake_ms, Some(11_000));
    let (reason, message) = &plan.waiting["a"];
    assert_eq!(reason, "CrashLoopBackOff");
    assert_eq!(message, "back-off 10s restarting failed container=a pod=p_default()");
}
