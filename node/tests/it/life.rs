//! Pods from manifest to end on real containers, through deaths of the agent and of containerd.

use std::time::Duration;

use node_cri::Runtime;

use crate::lab::{Lab, kill_9, read};

#[tokio::test(flavor = "multi_thread")]
async fn static_pods_run_through_deaths_of_agent_and_containerd() {
    let mut lab = Lab::new().await;
    lab.apply(
        "web",
        "{containers: [{name: hello, image: 'hello-node:v1',
            env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
                  {name: GREETING, value: 'hello $(WHO)'}],
            resources: {limits: {cpu: 200m, memory: 64Mi}},
            volumeMounts: [{name: shared, mountPath: /shared}, {name: shared, mountPath: /part, subPath: a/b}]},
          {name: side, image: 'busybox:1', command: [sh, -c, 'echo side here; sleep 3600'],
            securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}},
            volumeMounts: [{name: shared, mountPath: /shared}]}],
          volumes: [{name: shared, emptyDir: {medium: Memory, sizeLimit: 1Mi}}],
          securityContext: {fsGroup: 2000}}",
    );
    let (hello, side) = (lab.running("hello").await, lab.running("side").await);
    what_the_containers_see(&lab, &hello.id, &side.id).await;

    lab.kill_agent();
    kill_9(lab.containerd_pid().unwrap());
    lab.until("containerd is dead", async |lab| lab.containerd_pid().is_none()).await;
    lab.start_agent();
    lab.until("containerd is back", async |lab| lab.runtime.version().await.is_ok()).await;
    kill_9(lab.containerd_pid().unwrap());
    lab.until("and again", async |lab| lab.runtime.version().await.is_ok()).await;
    assert_eq!(lab.running("hello").await.id, hello.id);
    assert_eq!(lab.running("side").await.id, side.id);
    assert_eq!(lab.exec(&hello.id, "cat /part/file").await, "kept");

    lab.remove("web");
    lab.until("the pod is gone", async |lab| {
        lab.runtime.list_sandboxes(Default::default()).await.is_ok_and(|all| all.is_empty())
    })
    .await;
    lab.until("and its files", async |lab| {
        std::fs::read_dir(lab.path("kubelet/pods")).unwrap().next().is_none()
    })
    .await;
    assert_eq!(std::fs::read_dir(lab.path("kubelet/logs/pods")).unwrap().count(), 0);
}

async fn what_the_containers_see(lab: &Lab, hello: &str, side: &str) {
    lab.until("hello-node answers", async |lab| {
        let command = ["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"].map(str::to_owned);
        let answer = lab.runtime.exec_sync(hello, command.to_vec(), Duration::from_secs(5)).await;
        answer.is_ok_and(|answer| {
            String::from_utf8_lossy(&answer.stdout)
                .starts_with("Hello from hello-node v1, pod web-it")
        })
    })
    .await;
    assert_eq!(lab.exec(hello, "echo $GREETING").await, "hello web-it");
    assert_eq!(lab.exec(hello, "hostname; ls -d /shared/a/b").await, "web-it\n/shared/a/b");
    assert_eq!(lab.exec(hello, "echo kept > /part/file; cat /shared/a/b/file").await, "kept");
    assert_eq!(lab.exec(side, "id -u; id -G").await, "1000\n0 2000");
    assert_eq!(
        lab.exec(side, "cat /shared/a/b/file; touch /shared/x; stat -c %g /shared/x").await,
        "kept\n2000"
    );
    assert_eq!(lab.exec(side, "touch /x 2>/dev/null || echo read-only").await, "read-only");
    let score: i32 = lab.exec(hello, "cat /proc/self/oom_score_adj").await.parse().unwrap();
    assert!((3..1_000).contains(&score), "{score}");
    let log = side_log(lab);
    assert!(log.ends_with(" stdout F side here\n"), "{log:?}");
}

fn side_log(lab: &Lab) -> String {
    let pods = std::fs::read_dir(lab.path("kubelet/logs/pods")).unwrap();
    let pod = pods.flatten().next().unwrap().path();
    read(&pod.join("side/0.log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_fail_are_restarted_for_every_reason() {
    let lab = Lab::new().await;
    lab.apply(
        "failing",
        "{hostNetwork: true, terminationGracePeriodSeconds: 1, containers: [
          {name: hungry, image: 'busybox:1', command: [sh, -c, 'sleep 1; tail /dev/zero'],
            resources: {limits: {memory: 16Mi}}},
          {name: code, image: 'busybox:1', command: [sh, -c, 'echo words > /dev/termination-log; exit 3']},
          {name: sick, image: 'busybox:1', command: [sleep, '3600'],
            livenessProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 2}}],
          initContainers: [{name: first, image: 'busybox:1', command: ['true']}]}",
    );
    let ended = async |lab: &Lab, name: &str, code: i32, reason: &str| {
        lab.until(&format!("{name} ended with {code} {reason}"), async |lab| {
            lab.containers(name).await.iter().any(|found| {
                !found.is_running && found.status.exit_code == code && found.status.reason == reason
            })
        })
        .await;
    };
    ended(&lab, "first", 0, "Completed").await;
    ended(&lab, "hungry", 137, "OOMKilled").await;
    ended(&lab, "code", 3, "Error").await;
    ended(&lab, "sick", 137, "Error").await;
    for name in ["hungry", "code", "sick"] {
        lab.until(&format!("{name} was started again"), async |lab| {
            lab.containers(name).await.first().is_some_and(|found| found.attempt >= 1)
        })
        .await;
    }
    assert_eq!(lab.containers("first").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_node_leaves_nothing_and_comes_back_with_its_pods() {
    let mut lab = Lab::new().await;
    lab.apply(
        "web",
        "{containers: [{name: c, image: 'busybox:1', command: [sleep, '3600']}],
          terminationGracePeriodSeconds: 1}",
    );
    let before = lab.running("c").await;
    lab.kill_agent();
    // Even where nothing is left that could stop the containers.
    kill_9(lab.containerd_pid().unwrap());
    lab.stop_all();
    assert_eq!(lab.left(), Vec::<String>::new());
    lab.start_agent();
    let after = lab.running("c").await;
    assert_eq!(after.attempt, before.attempt + 1);
}
