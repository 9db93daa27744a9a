//! Claims, volumes and classes of volume attributes stay while something uses them.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{World, until};

fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"volumeAttributesClassName": "gold",
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_is_used_outlives_its_deletion() {
    let world = World::start().await;
    let classes: Api<VolumeAttributesClass> = Api::all(world.client.clone());
    let class =
        json!({"metadata": {"name": "gold"}, "driverName": "d", "parameters": {"iops": "1"}});
    let class = serde_json::from_value(class).unwrap();
    let class = classes.create(&PostParams::default(), &class).await.unwrap();
    assert_eq!(class.metadata.finalizers.unwrap(), ["kubernetes.io/vac-protection"]);
    let claims = world.api::<PersistentVolumeClaim>();
    for name in ["used", "unused"] {
        let made = world.create::<PersistentVolumeClaim>(claim(name)).await;
        assert_eq!(made.metadata.finalizers.unwrap(), ["kubernetes.io/pvc-protection"]);
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "used"}}]}});
    world.create::<Pod>(pod).await;
    let params = DeleteParams::default();
    classes.delete("gold", &params).await.unwrap();
    claims.delete("used", &params).await.unwrap();
    claims.delete("unused", &params).await.unwrap();
    let has = async |name: &'static str| claims.get_opt(name).await.unwrap().is_some();
    until(false, async || has("unused").await).await;
    assert!(has("used").await);
    let class = classes.get("gold").await.unwrap();
    assert!(class.metadata.deletion_timestamp.is_some());
    world.api::<Pod>().delete("p", &DeleteParams::default().grace_period(0)).await.unwrap();
    until(false, async || has("used").await).await;
    until(false, async || classes.get_opt("gold").await.unwrap().is_some()).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_that_are_bound_outlive_their_deletion() {
    let world = World::start().await;
    let volumes: Api<PersistentVolume> = Api::all(world.client.clone());
    for (name, phase) in [("bound", "Bound"), ("free", "Available")] {
        let volume = json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/v"}}});
        let volume = serde_json::from_value(volume).unwrap();
        let made = volumes.create(&PostParams::default(), &volume).await.unwrap();
        assert_eq!(made.metadata.finalizers.unwrap(), ["kubernetes.io/pv-protection"]);
        say(&volumes, name, phase).await;
        volumes.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let has = async |name: &'static str| volumes.get_opt(name).await.unwrap().is_some();
    until(false, async || has("free").await).await;
    assert!(has("bound").await);
    say(&volumes, "bound", "Released").await;
    until(false, async || has("bound").await).await;
    world.end().await;
}

async fn say(volumes: &Api<PersistentVolume>, name: &str, phase: &str) {
    let patch = Patch::Merge(json!({"status": {"phase": phase}}));
    volumes.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}
