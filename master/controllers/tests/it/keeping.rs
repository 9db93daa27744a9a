//! What is kept in time and within limits: jobs of a schedule, quotas, the addresses of services.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Secret, Service};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::world::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_starts_jobs_one_after_the_other() {
    let world = World::start().await;
    let cron = json!({"metadata": {"name": "tick"}, "spec": {
        "schedule": "@every 1s", "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 1,
        "jobTemplate": {"metadata": {"labels": {"of": "tick"}}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}});
    world.create::<CronJob>(cron).await;
    let jobs = async || world.api::<Job>().list(&Default::default()).await.unwrap().items;
    until(1, async || jobs().await.len()).await;
    let first = jobs().await.remove(0);
    let owner = first.metadata.owner_references.as_ref().unwrap();
    assert_eq!((owner[0].kind.as_str(), owner[0].name.as_str()), ("CronJob", "tick"));
    let scheduled = "batch.kubernetes.io/cronjob-scheduled-timestamp";
    assert!(first.metadata.annotations.as_ref().unwrap().contains_key(scheduled));
    let active = async || {
        let cron = world.api::<CronJob>().get("tick").await.unwrap();
        cron.status.unwrap_or_default().active.unwrap_or_default().len()
    };
    until(1, active).await;
    // Once it has ended it is no longer active; the next one is then called after another minute.
    let name = first.metadata.name.as_deref().unwrap();
    let api = world.api::<Job>();
    let started = async || {
        let job = api.get(name).await.unwrap();
        job.status.unwrap_or_default().start_time.is_some()
    };
    until(true, started).await;
    let status = json!({"status": {"completionTime": "2100-01-01T00:00:01Z",
        "active": 0, "ready": 0, "terminating": 0, "succeeded": 1, "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"},
            {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}]}});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let succeeded = async || {
        let cron = world.api::<CronJob>().get("tick").await.unwrap();
        cron.status.unwrap_or_default().last_successful_time.is_some()
    };
    until(true, succeeded).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_is_taken_off_the_quota() {
    let world = World::start().await;
    let hard = json!({"secrets": "5", "count/configmaps": "9", "pods": "3"});
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    world.create::<ResourceQuota>(quota).await;
    let used = async |name: &'static str| {
        let quota = world.api::<ResourceQuota>().get("q").await.unwrap();
        let used = quota.status.unwrap_or_default().used.unwrap_or_default();
        used.get(name).map(|amount| amount.0.clone())
    };
    until(Some("0".to_owned()), async || used("secrets").await).await;
    let maps: Api<ConfigMap> = world.api();
    let before = maps.list(&Default::default()).await.unwrap().items.len();
    until(Some(before.to_string()), async || used("count/configmaps").await).await;
    world.create::<Secret>(json!({"metadata": {"name": "s"}})).await;
    assert_eq!(used("secrets").await, Some("1".to_owned()), "charged by the write itself");
    world.api::<Secret>().delete("s", &Default::default()).await.unwrap();
    until(Some("0".to_owned()), async || used("secrets").await).await;
    // What somebody writes into the status does not stay.
    let lie = json!({"status": {"used": {"pods": "3"}}});
    let api = world.api::<ResourceQuota>();
    api.patch_status("q", &PatchParams::default(), &Patch::Merge(lie)).await.unwrap();
    until(Some("0".to_owned()), async || used("pods").await).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_a_service_is_an_object() {
    let world = World::start().await;
    let addresses: Api<IPAddress> = Api::all(world.client.clone());
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    let service = world.create::<Service>(service).await;
    let ip = service.spec.unwrap().cluster_ip.unwrap();
    let parent = addresses.get(&ip).await.unwrap().spec.parent_ref;
    assert_eq!((&*parent.resource, &*parent.name), ("services", "web"));
    // One that was deleted by hand comes back, and goes with its service.
    addresses.delete(&ip, &Default::default()).await.unwrap();
    until(true, async || addresses.get_opt(&ip).await.unwrap().is_some()).await;
    world.api::<Service>().delete("web", &Default::default()).await.unwrap();
    until(false, async || addresses.get_opt(&ip).await.unwrap().is_some()).await;
    let ranges: Api<ServiceCIDR> = Api::all(world.client.clone());
    let range = ranges.get("kubernetes").await.unwrap();
    assert_eq!(range.status.unwrap().conditions.unwrap()[0].type_, "Ready");
    world.end().await;
}
