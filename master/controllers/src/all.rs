//! The list of controllers.

use std::sync::Arc;

use store_env::task::Group;

use crate::context::{Context, Cx};
use crate::events;
use crate::unseen::Unseen;
use crate::{
    cron_job, custom_resources, daemon_set, deployment, disruption, endpoint_slices, endpoints,
    garbage_collector, job, namespaces, node_ipam, node_lifecycle, pod_gc, replica_set,
    resource_quota, service_accounts, service_ranges, signing, stateful_set, storage_protection,
    taint_eviction,
};

/// Starts every controller in `group`. To be called when this master begins to lead; the group is
/// to be stopped when it no longer does.
pub fn start(context: Context, group: &mut Group) {
    let (recorder, writer) = events::channel();
    let (client, clock) = (context.client.clone(), context.clock.clone());
    group.spawn("event writer", |stop| writer.run(client, clock, stop));
    let cx = Cx {
        client: context.client,
        informers: Arc::new(context.informers),
        clock: context.clock,
        config: Arc::new(context.config),
        events: recorder,
        unseen: Unseen::default(),
    };
    deployment::start(&cx, group);
    replica_set::start(&cx, group);
    replica_set::start_replication(&cx, group);
    endpoints::start(&cx, group);
    endpoint_slices::start(&cx, group);
    namespaces::start(&cx, group);
    service_accounts::start(&cx, group);
    service_accounts::start_root_ca(&cx, group);
    node_lifecycle::start(&cx, group);
    node_ipam::start(&cx, group);
    taint_eviction::start(&cx, group);
    pod_gc::start(&cx, group);
    signing::start(&cx, group);
    let definitions = custom_resources::follow(&cx, group);
    custom_resources::start(&cx, &definitions, group);
    let recount = resource_quota::start(&cx, group);
    garbage_collector::start(&cx, definitions, group, recount);
    cron_job::start(&cx, group);
    service_ranges::start(&cx, group);
    daemon_set::start(&cx, group);
    stateful_set::start(&cx, group);
    job::start(&cx, group);
    disruption::start(&cx, group);
    storage_protection::start(&cx, group);
}
