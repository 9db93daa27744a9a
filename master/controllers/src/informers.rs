//! The local copies that the controllers read, kept warm on every master.
//!
//! A new leader acts at once because nothing has to be listed first.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, ResourceQuota, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::{Api, Resource};
use master_client::informer::{Informer, Keeper, Kind, ListWatch, Store};
use store_env::task::Group;

/// Where kubelets renew their leases.
pub(crate) const NODE_LEASES: &str = "kube-node-lease";
/// The config map that carries the cluster's certificate authority into pods.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";

/// A kind that has a store among the informers.
pub trait Known: Kind {
    /// The store of this kind.
    fn store(informers: &Informers) -> &Store<Self>;
}

macro_rules! informers {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $api:expr, $params:expr $(, without $trim:expr)?;)+) => {
        /// The stores. Cheap to clone.
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "a field is named after its kind")]
        pub struct Informers {
            $($(#[$doc])* pub $field: Store<$kind>,)+
        }

        impl Informers {
            /// Starts one informer per kind in `group`. `client` reads on this master, which keeps the objects of a
            /// group and plural as `keeper` says.
            pub fn start(
                client: &kube::Client,
                keeper: impl Fn(&str, &str) -> Option<Keeper>,
                group: &mut Group,
            ) -> Self {
                $(
                    let api: fn(kube::Client) -> Api<$kind> = $api;
                    let (store, informer) = Informer::new(api(client.clone()), $params);
                    $(store.trim_with($trim);)?
                    let keeper_of_kind = keeper(&<$kind>::group(&()), &<$kind>::plural(&()));
                    keeper_of_kind.into_iter().for_each(|keeper| store.share_with(keeper));
                    group.spawn(
                        concat!("informer of ", stringify!($field)),
                        |stop| informer.run(stop),
                    );
                    let $field = store;
                )+
                Self { $($field,)+ }
            }

            /// Empty stores that nothing fills: for tests of readers.
            pub fn detached() -> Self {
                Self { $($field: Store::default(),)+ }
            }

            /// Waits until every kind was listed once.
            pub async fn wait_synced(&self) {
                $(self.$field.wait_synced().await;)+
            }
        }

        $(impl Known for $kind {
            fn store(informers: &Informers) -> &Store<Self> {
                &informers.$field
            }
        })+
    };
}

informers! {
    /// Trimmed: fit for conditions, owners and resources, not to be written back as a whole.
    pods: Pod = Api::all, ListWatch::all(), without what_only_nodes_need;
    nodes: Node = Api::all, ListWatch::all();
    services: Service = Api::all, ListWatch::all();
    endpoints: Endpoints = Api::all, ListWatch::all();
    endpoint_slices: EndpointSlice = Api::all, ListWatch::all();
    replica_sets: ReplicaSet = Api::all, ListWatch::all();
    deployments: Deployment = Api::all, ListWatch::all();
    replication_controllers: ReplicationController = Api::all, ListWatch::all();
    daemon_sets: DaemonSet = Api::all, ListWatch::all();
    stateful_sets: StatefulSet = Api::all, ListWatch::all();
    controller_revisions: ControllerRevision = Api::all, ListWatch::all();
    jobs: Job = Api::all, ListWatch::all();
    cron_jobs: CronJob = Api::all, ListWatch::all();
    namespaces: Namespace = Api::all, ListWatch::all();
    service_accounts: ServiceAccount = Api::all, ListWatch::all();
    claims: PersistentVolumeClaim = Api::all, ListWatch::all();
    volumes: PersistentVolume = Api::all, ListWatch::all();
    attributes_classes: VolumeAttributesClass = Api::all, ListWatch::all();
    quotas: ResourceQuota = Api::all, ListWatch::all();
    addresses: IPAddress = Api::all, ListWatch::all();
    service_ranges: ServiceCIDR = Api::all, ListWatch::all();
    disruption_budgets: PodDisruptionBudget = Api::all, ListWatch::all();
    signing_requests: CertificateSigningRequest = Api::all, ListWatch::all();
    /// Those named `kube-root-ca.crt` only.
    root_cas: ConfigMap = Api::all, ListWatch::all().fields(format!("metadata.name={ROOT_CA}"));
    /// Those of nodes only.
    node_leases: Lease = |client| Api::namespaced(client, NODE_LEASES), ListWatch::all();
}

/// Of a pod: what its containers do and what they are given, half of its size. Claims stay.
fn what_only_nodes_need(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    if let Some(volumes) = &mut spec.volumes {
        volumes.retain(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some());
    }
    spec.volumes.take_if(|volumes| volumes.is_empty());
    // A list that was decoded has room for more than it has.
    spec.volumes.iter_mut().for_each(Vec::shrink_to_fit);
    spec.tolerations.iter_mut().for_each(Vec::shrink_to_fit);
    let conditions = pod.status.as_mut().and_then(|status| status.conditions.as_mut());
    conditions.into_iter().for_each(Vec::shrink_to_fit);
    let containers = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    for container in containers {
        container.args = None;
        container.command = None;
        container.env = None;
        container.env_from = None;
        container.lifecycle = None;
        container.liveness_probe = None;
        container.readiness_probe = None;
        container.security_context = None;
        container.startup_probe = None;
        container.volume_mounts = None;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_keep_what_controllers_and_the_scheduler_look_at() {
        let pod = |volumes: serde_json::Value, more: serde_json::Value| -> Pod {
            let mut container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80}],
                "resources": {"requests": {"cpu": "1"}}});
            container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let spec = json!({"nodeName": "n", "containers": [container],
                "initContainers": [container], "volumes": volumes});
            serde_json::from_value(json!({"spec": spec})).unwrap()
        };
        let claim = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        let more = json!({"command": ["x"], "env": [{"name": "a", "value": "b"}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        let mut whole = pod(json!([claim, {"name": "w", "emptyDir": {}}]), more.clone());
        what_only_nodes_need(&mut whole);
        assert_eq!(whole, pod(json!([claim]), json!({})));
    }
}
