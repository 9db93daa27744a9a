//! The list of controllers.

use std::sync::Arc;

use store_env::task::Group;

use crate::context::{Context, Cx};
use crate::events;
use crate::{deployment, replica_set};

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
    };
    deployment::start(&cx, group);
    replica_set::start(&cx, group);
    replica_set::start_replication(&cx, group);
}
