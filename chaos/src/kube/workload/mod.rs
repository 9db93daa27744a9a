//! What clients of the API do: one file a workload. Each has a host of its own.

mod config_maps;
mod crowd;
mod deployments;
mod namespaces;
mod once;
mod quota;
mod second_scheduler;
mod sets;
mod versions;

use futures::future::BoxFuture;

use super::client::Seat;

pub use config_maps::VALUE as REGISTER;
pub(crate) use quota::{MAX as QUOTA_MAX, NAMESPACE as QUOTA_NAMESPACE};

/// A kind of client.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    /// What it does, in a sentence.
    pub title: &'static str,
    /// Ends once all is over and what was begun is done.
    pub run: fn(Seat) -> BoxFuture<'static, ()>,
}

/// Every workload.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "config-maps",
        title: "config maps that are read, put, and put only if nobody else has, on one master after another: each a register",
        run: |seat| Box::pin(config_maps::run(seat)),
    },
    Workload {
        name: "crowd",
        title: "more pods than nodes have room for, of which some go and others come",
        run: |seat| Box::pin(crowd::run(seat)),
    },
    Workload {
        name: "deployments",
        title: "deployments that are created, scaled and rolled, each wish repeated until it is granted",
        run: |seat| Box::pin(deployments::run(seat)),
    },
    Workload {
        name: "namespaces",
        title: "namespaces that are filled, and deleted with all that is in them",
        run: |seat| Box::pin(namespaces::run(seat)),
    },
    Workload {
        name: "once",
        title: "creates that are repeated under one name, and creates of generated names that are not",
        run: |seat| Box::pin(once::run(seat)),
    },
    Workload {
        name: "quota",
        title: "more pods than a quota allows, asked for on all masters at once",
        run: |seat| Box::pin(quota::run(seat)),
    },
    Workload {
        name: "second-scheduler",
        title: "pods that clients bind on all masters at once, each to another node, while the scheduler does, too",
        run: |seat| Box::pin(second_scheduler::run(seat)),
    },
    Workload {
        name: "sets",
        title: "a StatefulSet, whose pods keep their names, rolled now and then",
        run: |seat| Box::pin(sets::run(seat)),
    },
    Workload {
        name: "versions",
        title: "lists and writes on one master after another",
        run: |seat| Box::pin(versions::run(seat)),
    },
];

/// The workload of this name.
pub fn find(name: &str) -> Option<Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name).copied()
}
