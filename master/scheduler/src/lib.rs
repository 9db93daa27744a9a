//! Finds a node for every pod that waits for one: after kube-scheduler, with some of Borg.
//!
//! Runs on the leading master only. What decides (`state`, `cycle`, `plugin`, `preemption`, `queue`)
//! is pure; `scheduler` drives it, `act` and `events` write.

mod act;
mod context;
mod cycle;
mod events;
#[cfg(test)]
mod fixture;
mod node;
mod plugin;
mod pod;
mod preemption;
mod queue;
mod refusals;
mod resources;
mod scheduler;
mod state;

use store_env::task::Group;

pub use context::{Context, Inputs, Strategy};

/// Starts the scheduler in `group`. To be called when this master begins to lead; the group is to be
/// stopped when it no longer does.
pub fn start(context: Context, group: &mut Group) {
    let (recorder, writer) = events::channel();
    let (client, clock) = (context.client.clone(), context.clock.clone());
    group.spawn("scheduler's event writer", |stop| writer.run(client, clock, stop));
    group.spawn("scheduler", |stop| scheduler::run(context, recorder, stop));
}
