//! The life of objects, with the `kube` crate.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::world::{World, send};

fn config_map(name: &str, label: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"color": label}}, "data": {"a": "b"}
    }))
    .unwrap()
}

fn pod(name: &str, node: &str) -> Pod {
    let mut pod = json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false},
    });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    serde_json::from_value(pod).unwrap()
}

async fn namespace(client: &kube::Client, name: &str) {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
}

/// The next `count` events as `ADDED name`.
async fn events<S>(stream: &mut S, count: usize) -> Vec<String>
where
    S: futures::Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin,
{
    let name = |map: ConfigMap| map.metadata.name.unwrap_or_default();
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.try_next()).await;
        seen.push(match next.expect("an event in time").unwrap().expect("the watch goes on") {
            WatchEvent::Added(map) => format!("ADDED {}", name(map)),
            WatchEvent::Modified(map) => format!("MODIFIED {}", name(map)),
            WatchEvent::Deleted(map) => format!("DELETED {}", name(map)),
            WatchEvent::Bookmark(_) => "BOOKMARK".to_owned(),
            WatchEvent::Error(status) => format!("ERROR {}", status.code),
        });
    }
    seen
}

#[tokio::test]
async fn config_map_is_created_read_listed_replaced_and_deleted() {
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "a");
    let made = maps.create(&PostParams::default(), &config_map("x", "red")).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    let version = made.metadata.resource_version.clone().unwrap();
    assert_eq!(maps.get("x").await.unwrap().metadata.resource_version, Some(version));
    let list = maps.list(&ListParams::default().labels("color=red")).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert!(maps.list(&ListParams::default().labels("color=blue")).await.unwrap().items.is_empty());

    let mut changed = made.clone();
    changed.data.as_mut().unwrap().insert("c".into(), "d".into());
    let changed = maps.replace("x", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(changed.metadata.resource_version, made.metadata.resource_version);
    let same = maps.replace("x", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(same.metadata.resource_version, changed.metadata.resource_version);
    let stale = maps.replace("x", &PostParams::default(), &made).await.unwrap_err();
    assert!(stale.to_string().contains("the object has been modified"), "{stale}");

    maps.delete("x", &DeleteParams::default()).await.unwrap();
    let gone = maps.get("x").await.unwrap_err();
    assert!(gone.to_string().contains("configmaps \"x\" not found"), "{gone}");
    world.end().await;
}

#[tokio::test]
async fn watch_tells_of_changes_from_a_version_on() {
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "a");
    let first = maps.create(&PostParams::default(), &config_map("x", "red")).await.unwrap();
    let version = first.metadata.resource_version.clone().unwrap();
    let mut all = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let mut red =
        maps.watch(&WatchParams::default().labels("color=red"), &version).await.unwrap().boxed();
    let mut now = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();

    maps.create(&PostParams::default(), &config_map("y", "red")).await.unwrap();
    let mut blue = first.clone();
    blue.metadata.labels.as_mut().unwrap().insert("color".into(), "blue".into());
    maps.replace("x", &PostParams::default(), &blue).await.unwrap();
    maps.delete("y", &DeleteParams::default()).await.unwrap();

    assert_eq!(events(&mut all, 3).await, ["ADDED y", "MODIFIED x", "DELETED y"]);
    assert_eq!(events(&mut red, 3).await, ["ADDED y", "DELETED x", "DELETED y"]);
    let told = events(&mut now, 5).await;
    assert_eq!(told, ["ADDED x", "BOOKMARK", "ADDED y", "MODIFIED x", "DELETED y"]);
    world.end().await;
}

#[tokio::test]
async fn generated_names_differ() {
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "a");
    let mut map = config_map("", "red");
    map.metadata.name = None;
    map.metadata.generate_name = Some("web-".into());
    let one = maps.create(&PostParams::default(), &map).await.unwrap().metadata.name.unwrap();
    let two = maps.create(&PostParams::default(), &map).await.unwrap().metadata.name.unwrap();
    assert!(one != two && one.starts_with("web-") && two.starts_with("web-"));
    world.end().await;
}

#[tokio::test]
async fn scheduled_pod_goes_after_its_grace_period_and_others_at_once() {
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let account = json!({"metadata": {"name": "default"}});
    let account: k8s_openapi::api::core::v1::ServiceAccount =
        serde_json::from_value(account).unwrap();
    let accounts: Api<_> = Api::namespaced(client.clone(), "a");
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "a");
    pods.create(&PostParams::default(), &pod("waiting", "")).await.unwrap();
    pods.create(&PostParams::default(), &pod("running", "node-1")).await.unwrap();
    for name in ["waiting", "running"] {
        pods.delete(name, &DeleteParams::default()).await.unwrap();
    }
    assert!(pods.get_opt("waiting").await.unwrap().is_none());
    let dying = pods.get("running").await.unwrap().metadata;
    assert_eq!(dying.deletion_grace_period_seconds, Some(30));
    assert!(dying.deletion_timestamp.is_some());
    pods.delete("running", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(pods.get_opt("running").await.unwrap().is_none());
    world.end().await;
}

#[tokio::test]
async fn finalizer_holds_an_object_until_it_is_taken_off() {
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "a");
    let mut map = config_map("x", "red");
    map.metadata.finalizers = Some(vec!["example.com/hold".into()]);
    maps.create(&PostParams::default(), &map).await.unwrap();
    maps.delete("x", &DeleteParams::default()).await.unwrap();
    let mut held = maps.get("x").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    held.metadata.finalizers = None;
    maps.replace("x", &PostParams::default(), &held).await.unwrap();
    assert!(maps.get_opt("x").await.unwrap().is_none());
    world.end().await;
}

#[tokio::test]
async fn client_in_process_obeys_the_same_rules() {
    let world = World::start().await;
    let admin = world.admin();
    namespace(&admin, "a").await;
    let nobody = master_api::access::Identity { user: "nobody".into(), ..Default::default() };
    let maps: Api<ConfigMap> = Api::namespaced(world.server.client(nobody, None), "a");
    let refused = maps.list(&ListParams::default()).await.unwrap_err();
    assert!(
        refused.to_string().contains("User \"nobody\" cannot list resource \"configmaps\""),
        "{refused}"
    );

    let trusted = master_api::access::Identity {
        user: "system:apiserver".into(),
        groups: vec!["system:masters".into()],
        ..Default::default()
    };
    let fenced = world.server.client(trusted.clone(), Some(store_handle::Term(9)));
    let maps: Api<ConfigMap> = Api::namespaced(fenced, "a");
    let late = maps.create(&PostParams::default(), &config_map("x", "red")).await.unwrap_err();
    assert!(late.to_string().contains("no longer leads"), "{late}");
    let maps: Api<ConfigMap> =
        Api::namespaced(world.server.client(trusted, Some(store_handle::Term(1))), "a");
    maps.create(&PostParams::default(), &config_map("x", "red")).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn watch_ends_when_the_server_stops() {
    let world = World::start().await;
    let maps: Api<ConfigMap> = Api::all(world.admin());
    let mut watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    world.end().await;
    let end = async { while let Ok(Some(_)) = watch.try_next().await {} };
    tokio::time::timeout(Duration::from_secs(10), end).await.expect("in time");
}

#[tokio::test]
async fn namespace_goes_once_its_finalizer_is_gone() {
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let all: Api<Namespace> = Api::all(client.clone());
    all.delete("a", &DeleteParams::default()).await.unwrap();
    let dying = all.get("a").await.unwrap();
    assert_eq!(dying.status.unwrap().phase.as_deref(), Some("Terminating"));
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "a");
    let refused = maps.create(&PostParams::default(), &config_map("x", "red")).await.unwrap_err();
    assert!(refused.to_string().contains("being terminated"), "{refused}");
    let mut last = all.get("a").await.unwrap();
    last.spec.as_mut().unwrap().finalizers = None;
    let body = serde_json::to_vec(&last).unwrap();
    let request = http::Request::put("/api/v1/namespaces/a/finalize")
        .header("content-type", "application/json")
        .body(body)
        .unwrap();
    client.request::<Namespace>(request).await.unwrap();
    assert!(all.get_opt("a").await.unwrap().is_none());
    world.end().await;
}

#[tokio::test]
async fn events_are_one_kind_in_two_groups() {
    use k8s_openapi::api::core::v1::Event as CoreEvent;
    use k8s_openapi::api::events::v1::Event;
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let event: CoreEvent = serde_json::from_value(json!({
        "metadata": {"name": "e", "namespace": "a"}, "reason": "Started", "message": "hello",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "a"}, "type": "Normal",
        "source": {"component": "test"}, "count": 1,
    }))
    .unwrap();
    let core: Api<CoreEvent> = Api::namespaced(client.clone(), "a");
    core.create(&PostParams::default(), &event).await.unwrap();
    let new: Api<Event> = Api::namespaced(client, "a");
    assert_eq!(new.get("e").await.unwrap().note.as_deref(), Some("hello"));
    let listed = new.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items[0].regarding.as_ref().unwrap().name.as_deref(), Some("p"));
    let selected = ListParams::default().fields("involvedObject.name=p,reason=Started");
    assert_eq!(core.list(&selected).await.unwrap().items.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn many_writers_of_one_object_lose_nothing() {
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "a");
    maps.create(&PostParams::default(), &config_map("x", "red")).await.unwrap();
    let patches = (0..20).map(|index| {
        let maps = maps.clone();
        async move {
            let patch = json!({"data": {format!("k{index}"): "v"}});
            let params = kube::api::PatchParams::default();
            maps.patch("x", &params, &kube::api::Patch::Merge(&patch)).await.unwrap();
        }
    });
    futures::future::join_all(patches).await;
    assert_eq!(maps.get("x").await.unwrap().data.unwrap().len(), 21);
    world.end().await;
}

#[tokio::test]
async fn pod_is_bound_once() {
    let world = World::start().await;
    let client = world.admin();
    namespace(&client, "a").await;
    let account = json!({"metadata": {"name": "default"}});
    let account: k8s_openapi::api::core::v1::ServiceAccount =
        serde_json::from_value(account).unwrap();
    let accounts: Api<_> = Api::namespaced(client.clone(), "a");
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), "a");
    pods.create(&PostParams::default(), &pod("p", "")).await.unwrap();
    let bind = |node: &str| {
        let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
        let request = http::Request::post("/api/v1/namespaces/a/pods/p/binding")
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&binding).unwrap())
            .unwrap();
        client.request::<serde_json::Value>(request)
    };
    bind("n1").await.unwrap();
    let again = bind("n2").await.unwrap_err();
    assert!(again.to_string().contains("already assigned to node \"n1\""), "{again}");
    assert_eq!(pods.get("p").await.unwrap().spec.unwrap().node_name.as_deref(), Some("n1"));
    world.end().await;
}

#[tokio::test]
async fn new_objects_have_what_clients_count_on_and_nothing_empty() {
    let world = World::bootstrapped().await;
    let client = world.admin();
    let metadata = json!({"name": "new", "labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": []});
    let selector = json!({"matchLabels": {"a": "b"}});
    let template = json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i", "env": [], "ports": []}], "volumes": []}});
    let workload = json!({"spec": {"selector": selector, "template": template}});
    let budget = json!({"spec": {"minAvailable": 1, "selector": selector}});
    #[rustfmt::skip]
    let cases = [
        // path                                                  body                  its status, as kube-apiserver answers
        ("/api/v1/namespaces/default/configmaps",                json!({"data": {}}),  Value::Null),
        ("/api/v1/namespaces/default/resourcequotas",            json!({"spec": {}}),  json!({})),
        ("/apis/apps/v1/namespaces/default/deployments",         workload.clone(),     json!({})),
        ("/apis/apps/v1/namespaces/default/replicasets",         workload.clone(),     json!({"replicas": 0})),
        ("/apis/apps/v1/namespaces/default/statefulsets",        workload.clone(),     json!({"replicas": 0, "availableReplicas": 0})),
        ("/apis/apps/v1/namespaces/default/daemonsets",          workload,
         json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0})),
        ("/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget,
         json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0})),
    ];
    for (path, mut body, status) in cases {
        body["metadata"] = metadata.clone();
        let json = ("content-type", "application/json");
        let made = send(&client, &format!("POST {path}"), &[json], body.to_string()).await.json;
        assert_eq!(made["status"], status, "{path}");
        for field in ["labels", "finalizers", "ownerReferences"] {
            assert!(made["metadata"].get(field).is_none(), "{path}: {field}");
        }
        let pod = &made["spec"]["template"]["spec"];
        assert!(
            pod.get("volumes").is_none() && pod["containers"][0].get("env").is_none(),
            "{path}"
        );
        assert!(made.get("data").is_none(), "{path}");
        // Nothing is different the second time: an update that brings the same is none.
        let one = format!("{path}/new");
        let again = send(&client, &format!("PUT {one}"), &[json], made.to_string()).await.json;
        assert_eq!(
            again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"],
            "{path}"
        );
        let merge = ("content-type", "application/merge-patch+json");
        let patch = json!({"metadata": {"labels": {}, "ownerReferences": []}}).to_string();
        let patched = send(&client, &format!("PATCH {one}"), &[merge], patch).await.json;
        assert_eq!(
            patched["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"],
            "{path}"
        );
    }
    world.end().await;
}

/// As kube-apiserver 1.36.3 answers the same creations.
#[tokio::test]
async fn what_nobody_gave_is_filled_in_as_upstream_does() {
    let world = World::bootstrapped().await;
    let client = world.admin();
    let pod =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let rule = json!({"apiGroups": ["x"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["y"]});
    let webhook = json!({"name": "a.b.c", "clientConfig": {"url": "https://x/y"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "rules": [rule]});
    let policy = json!({"validations": [{"expression": "true"}], "matchConstraints": {"resourceRules": [rule]}});
    let service = json!({"group": "x.y", "version": "v1", "service": {"name": "a", "namespace": "b"},
        "groupPriorityMinimum": 100, "versionPriority": 10, "insecureSkipTLSVerify": true});
    let scaled = json!({"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"});
    let volume = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}});
    let cron = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": pod}}});
    let in_default = |group: &str, plural: &str| format!("{group}/namespaces/default/{plural}");
    #[rustfmt::skip]
    let cases = [
        // path                                                    spec or more                         where                                              what
        (in_default("/apis/batch/v1", "cronjobs"),                 json!({"spec": cron}),               "/spec/jobTemplate/spec/backoffLimit",             None),
        (in_default("/apis/batch/v1", "cronjobs"),                 json!({"spec": cron}),               "/spec/jobTemplate/metadata",                      Some(json!({}))),
        (in_default("/apis/batch/v1", "cronjobs"),                 json!({"spec": cron}),               "/spec/jobTemplate/spec/template/spec/dnsPolicy",  Some("ClusterFirst".into())),
        (in_default("/apis/batch/v1", "jobs"),                     json!({"spec": {"template": pod}}),  "/metadata/labels/job-name",                       Some("new".into())),
        (in_default("/apis/autoscaling/v1", "horizontalpodautoscalers"), json!({"spec": {"maxReplicas": 3, "scaleTargetRef": scaled}}), "/spec/targetCPUUtilizationPercentage", Some(80.into())),
        ("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations".into(), json!({"webhooks": [webhook]}), "/webhooks/0/reinvocationPolicy", Some("Never".into())),
        ("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations".into(), json!({"webhooks": [webhook]}), "/webhooks/0/reinvocationPolicy", None),
        ("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies".into(), json!({"spec": policy}), "/spec/matchConstraints/resourceRules/0/scope", Some("*".into())),
        ("/apis/apiregistration.k8s.io/v1/apiservices".into(),     json!({"metadata": {"name": "v1.x.y"}, "spec": service}), "/spec/service/port",         Some(443.into())),
        ("/api/v1/persistentvolumes".into(),                       json!({"spec": volume}),             "/status/phase",                                   Some("Pending".into())),
        (in_default("/apis/discovery.k8s.io/v1", "endpointslices"), json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}), "/endpoints/0/conditions", Some(json!({}))),
        (in_default("/api/v1", "events"),                          json!({"involvedObject": {"namespace": "default"}}), "/reportingComponent",             Some("".into())),
        (in_default("/api/v1", "events"),                          json!({"involvedObject": {"namespace": "default"}}), "/firstTimestamp",                 Some(Value::Null)),
        (in_default("/api/v1", "events"),                          json!({"involvedObject": {"namespace": "default"}}), "/metadata/managedFields/0/fieldsV1", Some(json!({"f:involvedObject": {}}))),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles".into(), json!({"rules": []}),                "/rules",                                          Some(Value::Null)),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles".into(), json!({}),                           "/metadata/managedFields",                         None),
        ("/apis/storage.k8s.io/v1/csidrivers".into(),              json!({"spec": {}}),                 "/metadata/generation",                            None),
        (in_default("/api/v1", "configmaps"),                      json!({"metadata": {"name": "new", "generation": 4}}), "/metadata/generation",          Some(4.into())),
        (in_default("/apis/apps/v1", "daemonsets"),                json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}), "/metadata/annotations", Some(json!({"deprecated.daemonset.template.generation": "1"}))),
    ];
    for (path, mut body, place, expected) in cases {
        if body.get("metadata").is_none() {
            body["metadata"] = json!({"name": "new"});
        }
        let json = ("content-type", "application/json");
        let line = format!("POST {path}?dryRun=All");
        let made = send(&client, &line, &[json], body.to_string()).await;
        assert_eq!(made.code, 201, "{path}: {}", made.text);
        assert_eq!(made.json.pointer(place), expected.as_ref(), "{path}: {place}");
        if path.ends_with("persistentvolumes") {
            assert!(made.json["status"]["lastPhaseTransitionTime"].is_string());
        }
    }
    world.end().await;
}
