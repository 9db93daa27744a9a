//! What the scheduler is given: the client to write with, the copies to read, the clock.

use std::fmt::{self, Debug};

use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use master_client::informer::{Informer, ListWatch, Store};
use master_client::pod::Pod;
use store_env::clock::SharedClock;
use store_env::task::Group;

pub use crate::plugin::Strategy;

/// The local copies that decisions rest on, kept warm on every master. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub pods: Store<Pod>,
    pub nodes: Store<Node>,
    pub namespaces: Store<Namespace>,
    pub disruption_budgets: Store<PodDisruptionBudget>,
}

impl Inputs {
    /// Starts one informer per kind in `group`, for a process where nobody else keeps these copies.
    pub fn start(client: &kube::Client, group: &mut Group) -> Self {
        let (pods, pod_informer) = Informer::new(Api::<Pod>::all(client.clone()), ListWatch::all());
        let (nodes, node_informer) =
            Informer::new(Api::<Node>::all(client.clone()), ListWatch::all());
        let (namespaces, namespace_informer) =
            Informer::new(Api::<Namespace>::all(client.clone()), ListWatch::all());
        let (disruption_budgets, budget_informer) =
            Informer::new(Api::<PodDisruptionBudget>::all(client.clone()), ListWatch::all());
        group.spawn("scheduler's informer of pods", |stop| pod_informer.run(stop));
        group.spawn("scheduler's informer of nodes", |stop| node_informer.run(stop));
        group.spawn("scheduler's informer of namespaces", |stop| namespace_informer.run(stop));
        group.spawn("scheduler's informer of disruption budgets", |stop| budget_informer.run(stop));
        Self { pods, nodes, namespaces, disruption_budgets }
    }

    /// Waits until every kind was listed once.
    pub(crate) async fn wait_synced(&self) {
        self.pods.wait_synced().await;
        self.nodes.wait_synced().await;
        self.namespaces.wait_synced().await;
        self.disruption_budgets.wait_synced().await;
    }
}

/// What [`start`](crate::start) is given.
#[derive(Clone)]
pub struct Context {
    /// Writes through this master; every write carries the term of this leadership.
    pub client: kube::Client,
    pub inputs: Inputs,
    pub clock: SharedClock,
    /// Which nodes are filled first.
    pub strategy: Strategy,
}

impl Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("strategy", &self.strategy).finish_non_exhaustive()
    }
}
