//! The other kinds that make pods: jobs, daemons, numbered sets.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PropagationPolicy};
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
async fn job_takes_orphans_that_match_and_lets_go_of_strays() {
    let world = World::start().await;
    let mut template = template("work:1");
    template["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"metadata": {"name": "j"}, "spec": {"parallelism": 2, "template": template}});
    let uid = world.create::<Job>(job).await.metadata.uid;
    until(2, async || world.pods("work:1").await.len()).await;
    let name = world.pods("work:1").await[0].metadata.name.clone().unwrap();
    let pod = async || world.api::<Pod>().get(&name).await.unwrap().metadata;
    let owner = async || pod().await.owner_references.unwrap_or_default().pop().map(|it| it.uid);
    let held = async || pod().await.finalizers.unwrap_or_default();

    let orphan = json!({"metadata": {"ownerReferences": null, "finalizers": null}});
    world.patch::<Pod>(&name, orphan).await;
    until(uid.clone(), owner).await;
    assert_eq!(held().await, ["batch.kubernetes.io/job-tracking"]);

    world.patch::<Pod>(&name, json!({"metadata": {"labels": null}})).await;
    until(None, owner).await;
    assert!(held().await.is_empty(), "nobody counts it any more");
    until(3, async || world.pods("work:1").await.len()).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_a_deleted_job_leaves_behind_are_held_by_nobody() {
    let world = World::start().await;
    let mut template = template("work:1");
    template["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"metadata": {"name": "j"}, "spec": {"parallelism": 2, "template": template}});
    world.create::<Job>(job).await;
    until(2, async || world.pods("work:1").await.len()).await;
    let orphan = PropagationPolicy::Orphan;
    let leave = DeleteParams { propagation_policy: Some(orphan), ..DeleteParams::default() };
    world.api::<Job>().delete("j", &leave).await.unwrap();
    until(vec![(0, 0); 2], async || {
        let pods = world.pods("work:1").await.into_iter().map(|pod| pod.metadata);
        let count = |meta: kube::core::ObjectMeta| {
            (
                meta.owner_references.map_or(0, |all| all.len()),
                meta.finalizers.map_or(0, |all| all.len()),
            )
        };
        pods.map(count).collect::<Vec<_>>()
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn index_that_fails_does_not_take_the_others_with_it_and_others_jobs_are_left_alone() {
    let world = World::start().await;
    let mut template = template("work:1");
    template["spec"]["restartPolicy"] = json!("Never");
    let spec = json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2,
        "backoffLimitPerIndex": 0, "template": template});
    let mut other = spec.clone();
    other["managedBy"] = json!("example.com/other");
    world.create::<Job>(json!({"metadata": {"name": "other"}, "spec": other})).await;
    world.create::<Job>(json!({"metadata": {"name": "j"}, "spec": spec})).await;
    let ends = [("0", "Failed"), ("1", "Succeeded")];
    let status = async |name: &str| world.api::<Job>().get(name).await.unwrap().status;
    let expected = (Some("0".to_owned()), Some("1".to_owned()), Some("FailedIndexes".to_owned()));
    until(expected, async || {
        for pod in world.pods("work:1").await {
            let meta = pod.metadata;
            let index =
                &meta.annotations.as_ref().unwrap()["batch.kubernetes.io/job-completion-index"];
            let (_, phase) = ends.into_iter().find(|(of, _)| of == index).unwrap();
            let patch = Patch::Strategic(json!({"status": {"phase": phase}}));
            let name = meta.name.unwrap();
            drop(world.api::<Pod>().patch_status(&name, &PatchParams::default(), &patch).await);
        }
        let status = status("j").await.unwrap_or_default();
        let mut conditions = status.conditions.unwrap_or_default().into_iter();
        let failed = conditions.find(|condition| condition.type_ == "Failed");
        (status.failed_indexes, status.completed_indexes, failed.and_then(|failed| failed.reason))
    })
    .await;
    assert_eq!(status("other").await.unwrap_or_default(), Default::default());
    assert_eq!(world.pods("work:1").await.len(), 2);
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

#[tokio::test(flavor = "multi_thread")]
async fn daemon_has_a_revision_for_each_template_and_goes_back_to_one() {
    let world = World::start().await;
    add(&world, "node-1").await;
    let daemon = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "template": template("daemon:1")}});
    world.create::<DaemonSet>(daemon).await;
    // Number and hash of each, the newest last.
    let revisions = async || {
        let list = world.api::<ControllerRevision>().list(&Default::default()).await.unwrap();
        let mut found: Vec<(i64, String)> = list
            .items
            .into_iter()
            .map(|it| {
                (it.revision, it.metadata.labels.unwrap()["controller-revision-hash"].clone())
            })
            .collect();
        found.sort();
        found
    };
    let running = async |image: &str| {
        let pods = world.pods(image).await.into_iter();
        let hashes = pods.filter_map(|pod| pod.metadata.labels?.remove("controller-revision-hash"));
        hashes.collect::<Vec<_>>()
    };
    until(1, async || running("daemon:1").await.len()).await;
    let first = revisions().await;
    assert_eq!(first.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
    assert_eq!(running("daemon:1").await, [first[0].1.clone()]);
    let change = async |image: &str| {
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
        let patch = Patch::Strategic(patch);
        world.api::<DaemonSet>().patch("d", &Default::default(), &patch).await.unwrap();
    };
    change("daemon:2").await;
    until(1, async || running("daemon:2").await.len()).await;
    let second = revisions().await;
    assert_eq!((second.len(), second[1].0), (2, 2));
    change("daemon:1").await;
    until(vec![first[0].1.clone()], async || running("daemon:1").await).await;
    // The same revision, with the greatest number.
    assert_eq!(revisions().await, [second[1].clone(), (3, first[0].1.clone())]);
    world.end().await;
}
