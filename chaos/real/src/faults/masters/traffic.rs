//! Real nodes with an app on real containers, that is asked all the time: while only masters are broken, or nodes cut
//! off from them, no request to it fails, nothing of it is started again, and none of its nodes is given up. In the
//! end each node still does what masters tell it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use http::Uri;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use store_env::task::Crew;
use tokio_util::sync::CancellationToken;

use crate::faults::machine::Machine;
use crate::load::{self, Ledger};

/// Where the app is.
const NAMESPACE: &str = "traffic";
const APP: &str = "app";
/// Of the images that every node has at hand.
const IMAGE: &str = "hello-node:v1";
const APP_PORT: u16 = 8080;
/// Where each node serves it.
const NODE_PORT: u16 = 30_080;
/// Keeps pods of the workloads on nodes that run nothing.
const TAINT: &str = "kchaos/real";

const READY_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Once all is healed, a node runs what it is told to within this.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// How many requests must have been answered.
const ANSWERED_LEAST: u64 = 200;

/// The app, and what those who ask it have heard.
#[derive(Debug)]
pub(crate) struct Traffic {
    nodes: Vec<String>,
    /// Its pods, and how often their containers have started again.
    pods: BTreeMap<String, i32>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    crew: Crew,
}

/// Lets machines join as nodes, and starts the app on them.
pub(crate) async fn start(
    client: &Client,
    master: &Machine,
    machines: &mut [Machine],
) -> anyhow::Result<Traffic> {
    let token = master.kctl(&["cluster", "token", "--as", "node"]).await?;
    let join = ["cluster", "join", "--as", "node", "--token", &token];
    try_join_all(machines.iter_mut().map(|machine| machine.set_up(&join))).await?;
    let nodes: Vec<_> = machines.iter().map(Machine::name).collect();
    let taint = Patch::Merge(json!({"spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]}}));
    for name in &nodes {
        Api::<Node>::all(client.clone()).patch(name, &PatchParams::default(), &taint).await?;
    }
    create(client, &nodes).await.context("the app cannot be created")?;
    let ready = async {
        loop {
            let pods = pods(client).await?;
            if let Some(pods) = pods.filter(|pods| pods.len() == nodes.len()) {
                return anyhow::Ok(pods);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let pods = tokio::time::timeout(READY_WITHIN, ready).await;
    let pods = pods.with_context(|| format!("the app is not ready after {READY_WITHIN:?}"))??;
    let urls = machines.iter().map(|it| format!("http://{}:{NODE_PORT}/", it.address()).parse());
    let urls = urls.collect::<Result<Vec<Uri>, _>>()?;
    for url in &urls {
        answers(url).await?;
    }
    let (ledger, stop, mut crew) =
        (Arc::new(Ledger::default()), CancellationToken::new(), Crew::new());
    for url in urls {
        crew.spawn(load::curl(url, ledger.clone(), stop.clone()));
    }
    Ok(Traffic { nodes, pods, ledger, stop, crew })
}

/// One pod on each node, behind a port of every node.
async fn create(client: &Client, nodes: &[String]) -> anyhow::Result<()> {
    let params = PostParams::default();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    Api::all(client.clone()).create(&params, &namespace).await?;
    let on = json!([{"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}]);
    let labels = json!({"app": APP});
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": APP},
        "spec": {
            "replicas": nodes.len(),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "tolerations": [{"key": TAINT, "operator": "Exists"}],
                "affinity": {
                    "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                        {"nodeSelectorTerms": [{"matchExpressions": on}]}},
                    "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                        [{"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"}]},
                },
                "containers": [{"name": APP, "image": IMAGE,
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": APP_PORT}, "periodSeconds": 1}}],
            }},
        },
    }))?;
    Api::namespaced(client.clone(), NAMESPACE).create(&params, &deployment).await?;
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": APP},
        "spec": {"type": "NodePort", "selector": labels,
            "ports": [{"port": APP_PORT, "targetPort": APP_PORT, "nodePort": NODE_PORT}]},
    }))?;
    Api::namespaced(client.clone(), NAMESPACE).create(&params, &service).await?;
    Ok(())
}

/// A new pod on each node, wherever the app's are not counted.
async fn late(client: &Client, nodes: &[String]) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    for node in nodes {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": format!("late-{node}")},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": APP, "image": IMAGE}],
            },
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
    }
    for node in nodes {
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.iter().flat_map(|it| it.conditions.iter().flatten());
            conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
        };
        while !is_ready(&pods.get(&format!("late-{node}")).await?) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// The app's pods by name and uid, and how often they have started again; nothing if one is not ready.
async fn pods(client: &Client) -> anyhow::Result<Option<BTreeMap<String, i32>>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pods = pods.list(&ListParams::default()).await?.items;
    let one = |pod: &Pod| {
        let status = pod.status.as_ref()?;
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|it| it.type_ == "Ready" && it.status == "True")?;
        let restarts = status.container_statuses.iter().flatten().map(|it| it.restart_count).sum();
        Some((format!("{} {}", pod.name_any(), pod.uid()?), restarts))
    };
    Ok(pods.iter().map(one).collect())
}

/// Waits until the app answers there.
async fn answers(url: &Uri) -> anyhow::Result<()> {
    let answered = async {
        while load::ask(url).await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let answered = tokio::time::timeout(READY_WITHIN, answered).await;
    answered.with_context(|| format!("{url} does not answer after {READY_WITHIN:?}"))
}

impl Traffic {
    /// Whether a pod is on one of these nodes, which do run it.
    pub(crate) fn runs_on(&self, node: &str) -> bool {
        self.nodes.iter().any(|name| name == node)
    }

    /// Ends it; fails if anybody who asked could tell that masters were broken, or if a node is not back.
    pub(crate) async fn judge(self, client: &Client) -> anyhow::Result<()> {
        let late = tokio::time::timeout(BACK_WITHIN, late(client, &self.nodes)).await;
        late.with_context(|| format!("not every node runs a new pod within {BACK_WITHIN:?}"))??;
        self.stop.cancel();
        self.crew.finish(Duration::from_secs(15)).await;
        let (answered, failed) =
            (self.ledger.answered.load(Ordering::Relaxed), self.ledger.failed.lock().await);
        println!("requests to the app: {answered} answered, {} failed", failed.len());
        if let Some(error) = failed.first() {
            anyhow::bail!("{} requests to the app failed, the first with: {error}", failed.len());
        }
        ensure!(answered >= ANSWERED_LEAST, "only {answered} requests to the app: go on longer");
        let pods = pods(client).await?.context("a pod of the app is not ready any more")?;
        ensure!(
            pods == self.pods,
            "the app's pods were {:?}, and are {pods:?}: name, uid, containers started again",
            self.pods
        );
        Ok(())
    }
}
