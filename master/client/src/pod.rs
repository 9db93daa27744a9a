//! A pod as those read it who place it and look after it, without what only its node needs.
//!
//! Ten thousand of `k8s_openapi`'s pods take 80 MiB: their structs have a place for every field there is, used or not.
//! Of this one they take half of that. It cannot be written, since it is not whole: writers send patches.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{
    self as core, Affinity, ContainerPort, ContainerStateTerminated,
    PersistentVolumeClaimVolumeSource, PodCondition, PodSchedulingGate, Toleration,
    TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::core::ObjectMeta;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// Amounts by the name of a resource.
pub type Amounts = BTreeMap<String, Quantity>;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "fields are those of core/v1, by the same names")]
pub struct Pod {
    pub metadata: ObjectMeta,
    pub spec: Option<PodSpec>,
    pub status: Option<PodStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "fields are those of core/v1, by the same names")]
pub struct PodSpec {
    pub affinity: Option<Box<Affinity>>,
    #[serde(deserialize_with = "list")]
    pub containers: Vec<Container>,
    pub hostname: Option<String>,
    #[serde(deserialize_with = "optional_list")]
    pub init_containers: Option<Vec<Container>>,
    pub node_name: Option<String>,
    pub node_selector: Option<BTreeMap<String, String>>,
    pub overhead: Option<Amounts>,
    pub preemption_policy: Option<String>,
    pub priority: Option<i32>,
    pub resources: Option<Resources>,
    pub restart_policy: Option<String>,
    pub scheduler_name: Option<String>,
    #[serde(deserialize_with = "optional_list")]
    pub scheduling_gates: Option<Vec<PodSchedulingGate>>,
    pub subdomain: Option<String>,
    #[serde(deserialize_with = "optional_list")]
    pub tolerations: Option<Vec<Toleration>>,
    #[serde(deserialize_with = "optional_list")]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// Those that are claims.
    #[serde(deserialize_with = "claims")]
    pub volumes: Option<Vec<Volume>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "fields are those of core/v1, by the same names")]
pub struct Container {
    pub image: Option<String>,
    pub name: String,
    #[serde(deserialize_with = "optional_list")]
    pub ports: Option<Vec<ContainerPort>>,
    pub resources: Option<Resources>,
    pub restart_policy: Option<String>,
}

/// What is asked for; what is allowed is the node's to keep.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "fields are those of core/v1, by the same names")]
pub struct Resources {
    pub requests: Option<Amounts>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "fields are those of core/v1, by the same names")]
pub struct Volume {
    /// Whether a claim is made for it; which one does not matter here.
    pub ephemeral: Option<IgnoredAny>,
    pub name: String,
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "fields are those of core/v1, by the same names")]
pub struct PodStatus {
    #[serde(deserialize_with = "optional_list")]
    pub conditions: Option<Vec<PodCondition>>,
    #[serde(deserialize_with = "optional_list")]
    pub container_statuses: Option<Vec<ContainerStatus>>,
    #[serde(deserialize_with = "optional_list")]
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
    pub nominated_node_name: Option<String>,
    pub phase: Option<String>,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs, reason = "fields are those of core/v1, by the same names")]
pub struct ContainerStatus {
    pub allocated_resources: Option<Amounts>,
    pub name: String,
    pub resources: Option<Resources>,
    pub restart_count: i32,
    pub state: Option<ContainerState>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "fields are those of core/v1, by the same names")]
pub struct ContainerState {
    pub terminated: Option<Box<ContainerStateTerminated>>,
}

impl kube::Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        core::Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        core::Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        core::Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        core::Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A list in no more memory than it needs: one that was decoded has room to grow.
fn optional_list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let mut list = Option::<Vec<T>>::deserialize(deserializer)?;
    list.iter_mut().for_each(Vec::shrink_to_fit);
    Ok(list)
}

fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    optional_list(deserializer).map(Option::<Vec<T>>::unwrap_or_default)
}

fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Volume>>, D::Error> {
    let mut volumes = Option::<Vec<Volume>>::deserialize(deserializer)?.unwrap_or_default();
    volumes.retain(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some());
    volumes.shrink_to_fit();
    Ok(Some(volumes).filter(|volumes| !volumes.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_its_readers_need_is_kept_and_the_rest_left_out() {
        let pod: Pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}},
            "spec": {
                "nodeName": null,
                "containers": [{
                    "name": "c", "image": "i", "command": ["sleep"], "env": [{"name": "A", "value": "b"}],
                    "ports": [{"name": "web", "containerPort": 80}],
                    "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
                    "livenessProbe": {"exec": {"command": ["true"]}},
                }],
                "volumes": [
                    {"name": "token", "projected": {"sources": []}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "c"}},
                    {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                ],
            },
            "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{
                "name": "c", "restartCount": 3, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }]},
        }))
        .unwrap();
        let spec = pod.spec.unwrap();
        assert_eq!(spec.node_name, None);
        let [container] = &*spec.containers else { panic!("{:?}", spec.containers) };
        assert_eq!((&*container.name, container.image.as_deref()), ("c", Some("i")));
        assert_eq!(container.ports.as_ref().unwrap()[0].container_port, 80);
        let requests = container.resources.as_ref().unwrap().requests.as_ref().unwrap();
        assert_eq!(requests["cpu"], Quantity("1".to_owned()));
        let volumes: Vec<&str> = spec.volumes.iter().flatten().map(|v| &*v.name).collect();
        assert_eq!(volumes, ["data", "own"]);
        let status = pod.status.unwrap();
        assert_eq!(status.pod_ip.as_deref(), Some("10.0.0.1"));
        let state = status.container_statuses.unwrap();
        assert_eq!(
            (state[0].restart_count, &state[0].state),
            (3, &Some(ContainerState::default()))
        );
    }

    #[test]
    fn it_is_found_where_pods_are() {
        use kube::Resource;
        assert_eq!(Pod::url_path(&(), Some("n")), core::Pod::url_path(&(), Some("n")));
        assert_eq!(Pod::api_version(&()), "v1");
    }

    #[test]
    fn it_takes_a_fraction_of_a_whole_pod() {
        let whole = size_of::<core::Pod>() + size_of::<core::Container>();
        let light = size_of::<Pod>() + size_of::<Container>();
        assert!(light * 3 < whole, "{light} of {whole} bytes");
    }
}
