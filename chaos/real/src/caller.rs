//! A pod that asks the API all the time, as its service account, over the API's own service.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{LogParams, PostParams};
use kube::{Api, Client, Config};
use serde_json::json;
use store_env::clock::SystemClock;

/// The pod's name.
const NAME: &str = "caller";
/// A request that takes longer than this has failed.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// How long the pod may take from its creation to its first answer.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(60);

/// When an answer came, and how long after the one before; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub unix_ms: u64,
    pub gap_ms: u64,
}

/// Runs in the pod: asks for ever, on a new connection each time, and prints every answer.
pub(crate) async fn call() -> anyhow::Result<()> {
    let mut config = Config::incluster().context("this runs in a pod")?;
    config.cluster_url = "https://kubernetes.default".parse()?;
    let clock = SystemClock::shared();
    let mut last_ms = clock.monotonic_ms();
    loop {
        let client = Client::try_from(config.clone())?;
        // What only somebody with a valid token may ask.
        let answer = tokio::time::timeout(REQUEST_MAX, client.list_core_api_versions()).await;
        if matches!(answer, Ok(Ok(_))) {
            let now_ms = clock.monotonic_ms();
            println!("{} {}", clock.unix_ms(), now_ms - last_ms);
            last_ms = now_ms;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Starts the pod and waits for its first answer.
pub(crate) async fn start(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let program = std::env::current_exe()?.canonicalize()?;
    let ready = async {
        // A controller makes it, moments after the namespace.
        while accounts.get_opt("default").await?.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let directory = program.parent().context("the program has no directory")?;
        let pod = pod(&directory.display().to_string());
        pods.create(&PostParams::default(), &pod).await?;
        while answers(client, namespace).await.is_ok_and(|answers| answers.is_empty()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(FIRST_ANSWER_MAX, ready).await {
        Ok(started) => started,
        Err(_) => bail!("the pod that calls the API got no answer in {FIRST_ANSWER_MAX:?}"),
    }
}

/// This program, with the machine's own libraries.
fn pod(directory: &str) -> Pod {
    let mounts = [("/chaos", directory), ("/lib", "/usr/lib"), ("/lib64", "/usr/lib64")];
    let volume = |(index, (_, host)): (usize, &(&str, &str))| json!({ "name": format!("v{index}"), "hostPath": { "path": host, "type": "Directory" } });
    let mount = |(index, (path, _)): (usize, &(&str, &str))| json!({ "name": format!("v{index}"), "mountPath": path, "readOnly": true });
    let pod = json!({
        "metadata": { "name": NAME },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "volumes": mounts.iter().enumerate().map(volume).collect::<Vec<_>>(),
            "containers": [{
                "name": NAME,
                "image": "busybox",
                "imagePullPolicy": "IfNotPresent",
                "command": ["/chaos/kchaos-real", "call"],
                "volumeMounts": mounts.iter().enumerate().map(mount).collect::<Vec<_>>(),
            }],
        },
    });
    serde_json::from_value(pod).expect("a pod")
}

/// What the pod has seen so far.
pub(crate) async fn answers(client: &Client, namespace: &str) -> anyhow::Result<Vec<Answer>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let log = match pods.logs(NAME, &LogParams::default()).await {
        Ok(log) => log,
        // Not started yet.
        Err(kube::Error::Api(status)) if status.code == 400 => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(log.lines().filter_map(read).collect())
}

fn read(line: &str) -> Option<Answer> {
    let (unix_ms, gap_ms) = line.split_once(' ')?;
    Some(Answer { unix_ms: unix_ms.parse().ok()?, gap_ms: gap_ms.parse().ok()? })
}

/// The longest time without an answer that touches these moments; all of it, if there was none.
pub(crate) fn longest_gap_ms(answers: &[Answer], from_ms: u64, until_ms: u64) -> u64 {
    let touches =
        |it: &&Answer| it.unix_ms >= from_ms && it.unix_ms.saturating_sub(it.gap_ms) <= until_ms;
    let gaps = answers.iter().filter(touches).map(|it| it.gap_ms);
    gaps.max().unwrap_or(until_ms - from_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_is_the_longest_that_touches_the_window() {
        let answers: Vec<Answer> =
            ["100 10", "x", "130 30", "900 770", "910 10"].into_iter().filter_map(read).collect();
        assert_eq!(answers.len(), 4);
        assert_eq!(longest_gap_ms(&answers, 110, 120), 30);
        assert_eq!(longest_gap_ms(&answers, 120, 200), 770);
        assert_eq!(longest_gap_ms(&answers, 905, 999), 10);
        assert_eq!(longest_gap_ms(&answers, 1_000, 1_500), 500, "silence");
    }
}
