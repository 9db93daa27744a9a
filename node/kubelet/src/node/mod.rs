//! This machine as a Node object: made once, kept true, and shown to be alive.

mod facts;
pub(crate) mod fresh;
mod lease;
mod register;

use std::sync::Arc;

use store_env::task::Group;
use tokio::sync::watch;

use crate::context::Context;
use crate::pleg::Listing;

/// Starts the tasks that keep the Node object and its lease.
pub(crate) fn start(context: &Arc<Context>, listing: &watch::Receiver<Listing>, group: &mut Group) {
    let (cx, seen) = (context.clone(), listing.clone());
    group.spawn("kubelet-node", move |stop| register::run(cx, seen, stop));
    let cx = context.clone();
    group.spawn("kubelet-lease", move |stop| lease::run(cx, stop));
}
