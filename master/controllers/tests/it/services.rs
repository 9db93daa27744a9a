//! Where services lead.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use serde_json::json;

use crate::world::{World, deployment, until};

#[tokio::test(flavor = "multi_thread")]
async fn service_leads_to_the_pods_that_are_ready() {
    let world = World::start().await;
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    world.create::<Service>(service).await;
    world.create::<Deployment>(deployment(2, "web:1")).await;
    until(2, async || world.pods("web:1").await.len()).await;
    world.make_ready("web:1").await;
    let addresses = async || {
        let found = world.api::<Endpoints>().get_opt("web").await.unwrap();
        let subsets = found.and_then(|endpoints| endpoints.subsets).unwrap_or_default();
        let addresses = subsets.into_iter().flat_map(|subset| subset.addresses.unwrap_or_default());
        addresses.map(|address| address.ip).collect::<Vec<_>>()
    };
    until(vec!["10.1.0.1".to_owned(), "10.1.0.2".to_owned()], addresses).await;
    let slices = async || {
        let ours = ListParams::default().labels("kubernetes.io/service-name=web");
        let slices = world.api::<EndpointSlice>().list(&ours).await.unwrap().items;
        let ready = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        let ready = ready.filter(|endpoint| {
            endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))
        });
        (slices.len(), ready.count())
    };
    until((1, 2), slices).await;
    world.api::<Service>().delete("web", &Default::default()).await.unwrap();
    until((0, 0), slices).await;
    until(Vec::<String>::new(), addresses).await;
    world.end().await;
}
