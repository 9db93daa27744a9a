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
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim,
    ReplicationController, ResourceQuota, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use kube::{Api, Resource};
use master_client::informer::{Informer, Keeper, Kind, ListWatch, Store};
use master_client::pod::Pod;
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
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $api:expr, $params:expr;)+) => {
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

            /// Empty stores that were listed once.
            #[cfg(test)]
            pub(crate) fn listed() -> Self {
                let all = Self::detached();
                $(all.$field.advance("1", true);)+
                all
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
    pods: Pod = Api::all, ListWatch::all();
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
