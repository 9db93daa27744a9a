//! The other kinds that make pods: jobs, daemons, numbered sets.

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::nodes::add;
use crate::world::{World, template, until};

#[tokio::test(flavor = "multi_thread")]
async fn job_completes_when_its_pods_have_succeeded() {
    let world = World::start().await;
    let mut template = template("work:1");
    template["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"metadata": {"name": "j"}, "spec": {
        "completions": 3, "parallelism": 2, "template": template}});
    world.create::<Job>(job).await;
    until(2, async || world.pods("work:1").await.len()).await;
    let succeeded = json!({"status": {"phase": "Succeeded"}});
    until((Some(3), true), async || {
        for pod in world.pods("work:1").await {
            let name = pod.metadata.name.unwrap();
            let patch = Patch::Strategic(&succeeded);
            drop(world.api::<Pod>().patch_status(&name, &PatchParams::default(), &patch).await);
        }
        let status = world.api::<Job>().get("j").await.unwrap().status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        (status.succeeded, conditions.iter().any(|condition| condition.type_ == "Complete"))
    })
    .await;
    let pods = world.pods("work:1").await;
    let is_free = |pod: &Pod| pod.metadata.finalizers.iter().flatten().count() == 0;
    assert!(pods.iter().all(is_free), "nothing holds the pods");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn daemon_runs_on_each_node_and_numbered_pods_come_in_order() {
    let world = World::start().await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    for name in ["node-1", "node-2"] {
        add(&world, name).await;
    }
    let daemon = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "template": template("daemon:1")}});
    world.create::<DaemonSet>(daemon).await;
    until(2, async || world.pods("daemon:1").await.len()).await;
    nodes.delete("node-2", &Default::default()).await.unwrap();

    let mut template = template("db:1");
    template["metadata"]["labels"] = json!({"app": "db"});
    let set = json!({"metadata": {"name": "db"}, "spec": {"replicas": 2, "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}}, "template": template}});
    world.create::<StatefulSet>(set).await;
    let names = async || {
        let pods = world.pods("db:1").await;
        pods.into_iter().filter_map(|pod| pod.metadata.name).collect::<Vec<_>>()
    };
    until(vec!["db-0".to_owned()], names).await;
    world.make_ready("db:1").await;
    until(vec!["db-0".to_owned(), "db-1".to_owned()], names).await;
    world.end().await;
}
