//! Objects of kinds that users define: they go with their definition, their namespace, their owner.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::world::{World, until};

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "acme.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "acme.io/v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn definitions(world: &World) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "apiextensions.k8s.io/v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
        plural: "customresourcedefinitions".to_owned(),
    };
    Api::all_with(world.client.clone(), &resource)
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

async fn define(world: &World, plural: &str, kind: &str) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = object(
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.acme.io")}, "spec": {"group": "acme.io", "scope": "Namespaced",
        "names": {"plural": plural, "kind": kind},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}),
    );
    definitions(world).create(&PostParams::default(), &definition).await.unwrap();
}

fn widgets(world: &World, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(world.client.clone(), namespace, &resource("Widget", "widgets"))
}

async fn widget(world: &World, namespace: &str, name: &str, finalizers: &[&str]) -> DynamicObject {
    let widget = object(json!({"apiVersion": "acme.io/v1", "kind": "Widget",
        "metadata": {"name": name, "finalizers": finalizers}}));
    widgets(world, namespace).create(&PostParams::default(), &widget).await.unwrap()
}

async fn namespace(world: &World, name: &str) -> Api<Namespace> {
    let api: Api<Namespace> = Api::all(world.client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    api.create(&PostParams::default(), &namespace).await.unwrap();
    api
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_waits_for_the_last_of_its_objects() {
    let world = World::start().await;
    define(&world, "widgets", "Widget").await;
    namespace(&world, "team").await;
    widget(&world, "default", "a", &[]).await;
    widget(&world, "team", "b", &["acme.io/keep"]).await;
    definitions(&world).delete("widgets.acme.io", &Default::default()).await.unwrap();
    let left = async || {
        let of = async |name: &str| {
            widgets(&world, name).list(&Default::default()).await.map_or(0, |list| list.items.len())
        };
        (of("default").await, of("team").await)
    };
    until((0, 1), left).await;
    let held = definitions(&world).get("widgets.acme.io").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    let free = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    widgets(&world, "team").patch("b", &Default::default(), &free).await.unwrap();
    let gone = async || definitions(&world).get_opt("widgets.acme.io").await.unwrap().is_none();
    until(true, gone).await;
    let error = widgets(&world, "default").list(&Default::default()).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 404));
    // Nothing of the old kind comes back with a new definition of the same name.
    define(&world, "widgets", "Widget").await;
    assert_eq!(left().await, (0, 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_its_group_serves_in_a_lesser_version_only_is_not_forgotten() {
    let world = World::start().await;
    define(&world, "gadgets", "Gadget").await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = object(
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "relics.acme.io"}, "spec": {"group": "acme.io", "scope": "Namespaced",
        "names": {"plural": "relics", "kind": "Relic"},
        "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}),
    );
    definitions(&world).create(&PostParams::default(), &definition).await.unwrap();
    let namespaces = namespace(&world, "team").await;
    let resource = ApiResource {
        version: "v1beta1".to_owned(),
        api_version: "acme.io/v1beta1".to_owned(),
        ..resource("Relic", "relics")
    };
    let relics: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), "team", &resource);
    let relic = object(
        json!({"apiVersion": "acme.io/v1beta1", "kind": "Relic", "metadata": {"name": "r"}}),
    );
    relics.create(&PostParams::default(), &relic).await.unwrap();
    namespaces.delete("team", &Default::default()).await.unwrap();
    until(true, async || namespaces.get_opt("team").await.unwrap().is_none()).await;
    assert_eq!(relics.list(&Default::default()).await.unwrap().items.len(), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_takes_custom_objects_along() {
    let world = World::start().await;
    define(&world, "widgets", "Widget").await;
    let namespaces = namespace(&world, "team").await;
    widget(&world, "team", "a", &[]).await;
    namespaces.delete("team", &Default::default()).await.unwrap();
    until(true, async || namespaces.get_opt("team").await.unwrap().is_none()).await;
    assert_eq!(widgets(&world, "team").list(&Default::default()).await.unwrap().items.len(), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects_own_and_are_owned() {
    let world = World::start().await;
    define(&world, "widgets", "Widget").await;
    let owner = widget(&world, "default", "owner", &[]).await;
    let reference = json!([{"apiVersion": "acme.io/v1", "kind": "Widget", "name": "owner",
        "uid": owner.metadata.uid.clone().unwrap()}]);
    world
        .create::<ConfigMap>(json!({"metadata": {"name": "owned", "namespace": "default", "ownerReferences": reference}}))
        .await;
    let part = object(json!({"apiVersion": "acme.io/v1", "kind": "Widget",
        "metadata": {"name": "part", "ownerReferences": reference}}));
    widgets(&world, "default").create(&PostParams::default(), &part).await.unwrap();
    widgets(&world, "default").delete("owner", &Default::default()).await.unwrap();
    let left = async || {
        let map = world.api::<ConfigMap>().get_opt("owned").await.unwrap().is_some();
        (map, widgets(&world, "default").list(&Default::default()).await.unwrap().items.len())
    };
    until((false, 0), left).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_becomes_free_goes_to_who_waits_for_it() {
    let world = World::start().await;
    define(&world, "widgets", "Widget").await;
    define(&world, "gizmos", "Widget").await;
    let accepted = async || {
        let gizmos = definitions(&world).get("gizmos.acme.io").await.unwrap();
        let conditions = gizmos.data["status"]["conditions"].as_array().unwrap().clone();
        conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True")
    };
    assert!(!accepted().await);
    definitions(&world).delete("widgets.acme.io", &Default::default()).await.unwrap();
    until(true, accepted).await;
    world.end().await;
}
