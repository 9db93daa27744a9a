//! Decisions over resizes: what fits, what changes, what is shown.

use serde_json::json;

use super::*;
use crate::view::{PodView, SandboxView, State};

const MACHINE: Machine = Machine { cpu_milli: 2_000, memory_bytes: 1 << 30 };

/// Containers `NAME REQUESTS/LIMITS`, each `cpu,memory` with `-` for nothing; `!` before a resource's
/// request restarts the container when it changes.
fn pod_of(text: &str) -> Arc<Pod> {
    let amounts = |text: &str| {
        let named = ["cpu", "memory"].into_iter().zip(text.split(','));
        let said = named.filter(|(_, value)| *value != "-");
        said.map(|(name, value)| (name.to_owned(), json!(value.trim_start_matches('!'))))
            .collect::<serde_json::Map<_, _>>()
    };
    let containers: Vec<_> = text
        .split("; ")
        .map(|each| {
            let (name, sizes) = each.split_once(' ').unwrap();
            let (requests, limits) = sizes.split_once('/').unwrap();
            let policies: Vec<_> = ["cpu", "memory"]
                .into_iter()
                .zip(requests.split(','))
                .filter(|(_, value)| value.starts_with('!'))
                .map(|(name, _)| json!({"resourceName": name, "restartPolicy": "RestartContainer"}))
                .collect();
            json!({"name": name, "resizePolicy": policies,
                "resources": {"requests": amounts(requests), "limits": amounts(limits)}})
        })
        .collect();
    let object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": containers}});
    Arc::new(serde_json::from_value(object).unwrap())
}

/// All containers of the pod, running as they were started.
fn running(pod: &Pod) -> PodView {
    let sandbox =
        SandboxView { id: "s".into(), attempt: 0, is_ready: true, created_ms: 1, ips: Vec::new() };
    let containers = pod::containers(pod).map(|(_, container)| ContainerView {
        id: format!("{}0", container.name),
        name: container.name.clone(),
        sandbox_id: "s".into(),
        restarts: 0,
        state: State::Running,
        created_ms: 1,
        started_ms: 1,
        image: String::new(),
        image_id: String::new(),
        hash: String::new(),
        log_path: String::new(),
        user: None,
        actual: Actual::default(),
        annotations: BTreeMap::from([(STARTED_WITH.to_owned(), annotation(container))]),
    });
    PodView { sandboxes: vec![sandbox], containers: containers.collect() }
}

#[test]
fn node_gives_what_it_has_left() {
    let check = |from: &str, to: &str, others: u64, expected: &str| {
        let others = Need { cpu_milli: others, memory_bytes: 0 };
        let said = match decide(&pod_of(to), &pod_of(from), others, MACHINE) {
            Verdict::Same => "same".to_owned(),
            Verdict::Fits => "fits".to_owned(),
            Verdict::Deferred(message) => format!("later: {message}"),
            Verdict::Infeasible(message) => format!("never: {message}"),
        };
        assert_eq!(said, expected, "{from} -> {to} beside {others:?}");
    };
    check("a 100m,-/-,-", "a 100m,-/-,-", 0, "same");
    check("a 100m,-/-,-", "a 200m,-/-,-", 1_800, "fits");
    check("a 100m,-/-,-", "a 100m,-/300m,-", 5_000, "fits");
    // What does not grow is never refused, however full the node is.
    check("a 200m,1Gi/-,-", "a 100m,1Gi/-,-", 5_000, "fits");
    let text = "Node didn't have enough resource: cpu, requested: 201, used: 1800, capacity: 2000";
    check("a 100m,-/-,-", "a 201m,-/-,-", 1_800, &format!("later: {text}"));
    let text =
        "Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824";
    check("a -,1Gi/-,-", "a -,2Gi/-,-", 0, &format!("never: {text}"));
    check("a 1,-/-,-; b 1,-/-,-", "a 1500m,-/-,-; b 500m,-/-,-", 5_000, "fits");
    // Others that ask for more than a number holds, such as static ones.
    let text = format!(
        "Node didn't have enough resource: cpu, requested: 201, used: {}, capacity: 2000",
        u64::MAX
    );
    check("a 100m,-/-,-", "a 201m,-/-,-", u64::MAX, &format!("later: {text}"));
}

#[test]
fn running_containers_are_updated_or_started_again_as_their_policies_say() {
    let check = |from: &str, to: &str, expected: &str| {
        let view = running(&pod_of(from));
        let changes = changes(&pod_of(to), &view, &Record::default());
        let updates = changes.updates.iter().map(|update| update.id.clone());
        let restarts = changes.restarts.iter().map(|id| format!("restart {id}"));
        assert_eq!(updates.chain(restarts).collect::<Vec<_>>().join(", "), expected, "{to}");
    };
    check("a 100m,-/-,-", "a 0.1,-/-,-", "");
    check("a 100m,-/-,-", "a 200m,-/-,-", "a0");
    check("a !100m,8Mi/-,-", "a !200m,8Mi/-,-", "restart a0");
    check("a !100m,8Mi/-,-", "a !100m,9Mi/-,-", "a0");
    check("a 100m,!8Mi/-,8Mi", "a 100m,!8Mi/-,9Mi", "restart a0");
    // What is given back comes before what is taken.
    check("a 1,8Mi/1,8Mi; b 1,8Mi/1,8Mi", "a 1,9Mi/1,9Mi; b 1,7Mi/1,7Mi", "b0, a0");
}

#[test]
fn node_that_starts_again_knows_what_was_allocated() {
    let (old, new) = (pod_of("a 100m,-/-,-; b 1,-/-,-"), pod_of("a 200m,-/-,-; b 1,-/-,-"));
    let view = running(&old);
    // Without a record, containers tell what they were started with.
    let mut record = Record::default();
    assert_eq!(record.as_allocated(&new, &view), old);
    record.keep_running(&old, &view);
    record.allocate(&new);
    let record: Record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    assert_eq!(record.as_allocated(&old, &view), new);
    assert_eq!(changes(&new, &view, &record).updates.len(), 1);
    assert_eq!(record.as_updated(&new, &view), old);
}

#[test]
fn limit_below_what_is_used_waits() {
    let check = |from: &str, to: &str, used: u64, is_refused: bool| {
        let view = running(&pod_of(from));
        let changes = changes(&pod_of(to), &view, &Record::default());
        assert_eq!(refusal(&changes.updates[0], used).is_some(), is_refused, "{from} -> {to}");
    };
    check("a -,8Mi/-,9Mi", "a -,8Mi/-,8Mi", 8 << 20, true);
    check("a -,8Mi/-,9Mi", "a -,8Mi/-,8Mi", (8 << 20) - 1, false);
    check("a -,8Mi/-,-", "a -,8Mi/-,8Mi", 9 << 20, true);
    check("a -,8Mi/-,8Mi", "a -,8Mi/-,9Mi", 9 << 20, false);
    check("a 1,8Mi/-,-", "a 2,8Mi/-,-", 9 << 20, false);
}

#[test]
fn status_shows_what_the_runtime_says_and_else_what_was_given() {
    let (old, new) = (pod_of("a 100m,8Mi/200m,16Mi"), pod_of("a 1500m,9Mi/2,1536Ki"));
    let mut view = running(&old);
    let shown = |pod: &Pod, view: &PodView, record: &Record| {
        let shown = shown(&pod::spec(pod).containers[0], &view.containers[0], record);
        let text = |list: Option<BTreeMap<String, _>>| {
            let list: BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
                list.unwrap_or_default();
            list.into_values().map(|quantity| quantity.0).collect::<Vec<_>>().join(",")
        };
        format!("{}/{}", text(shown.requests), text(shown.limits))
    };
    let mut record = Record::default();
    assert_eq!(shown(&new, &view, &record), "100m,8Mi/200m,16Mi");
    view.containers[0].actual = Actual {
        cpu_request_milli: Some(1_500),
        cpu_limit_milli: Some(1_000),
        memory_limit_bytes: Some(1_536 << 10),
    };
    assert_eq!(shown(&new, &view, &record), "1500m,8Mi/1,1536Ki");
    record
        .updated
        .insert("a0".into(), new.spec.clone().unwrap().containers[0].resources.clone().unwrap());
    assert_eq!(shown(&new, &view, &record), "1500m,9Mi/1,1536Ki");
    // The kernel's least: the specification's word stands.
    let small = pod_of("a 1m,-/5m,-");
    let mut view = running(&small);
    view.containers[0].actual =
        Actual { cpu_request_milli: Some(2), cpu_limit_milli: Some(10), memory_limit_bytes: None };
    assert_eq!(shown(&small, &view, &Record::default()), "1m/5m");
}
