//! What a replica consists of, in the order it starts.
//!
//! # Invariants
//! - Everything that only a leader does is in the group of its term, and writes with that term's fence.

use std::sync::Arc;
use std::time::Duration;

use master_api::access::Identity;
use master_apiserver::{ConfigError, Server, ServerConfig};
use master_controllers::Informers;
use store_env::clock::SharedClock;
use store_env::task::Group;
use store_handle::{Handle, Term};
use tokio_util::sync::CancellationToken;

use crate::leader;

/// What tasks of a term get to end by themselves.
const GRACE: Duration = Duration::from_secs(5);
/// Watches resume, and pages of a list are read, from at most so long ago.
const HISTORY_KEPT: Duration = Duration::from_secs(300);
/// How long until bootstrap objects are tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Parts of this process that act as users of their own.
const CONTROLLERS: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// What a replica is made of.
#[derive(Debug)]
pub struct Config {
    pub server: ServerConfig,
    pub controllers: master_controllers::Config,
}

/// See the file's header.
#[derive(Debug)]
pub struct Replica {
    pub server: Arc<Server>,
    informers: Informers,
    handle: Arc<dyn Handle>,
    clock: SharedClock,
    controllers: master_controllers::Config,
}

impl Replica {
    /// Starts what runs on every master; nothing listens yet.
    pub fn start(config: Config, group: &mut Group) -> Result<Self, ConfigError> {
        let (handle, clock) = (config.server.handle.clone(), config.server.clock.clone());
        let server = Server::new(config.server)?;
        server.run_background(group);
        let client = component(&server, CONTROLLERS, None);
        let keeper = |group: &str, plural: &str| server.keeper(group, plural);
        let informers = Informers::start(&client, keeper, group);
        let (compacted, compactor_clock) = (handle.clone(), clock.clone());
        group.spawn("compactor", move |stop| {
            store_handle::compactor::run(compacted, compactor_clock, HISTORY_KEPT, stop)
        });
        Ok(Self { server, informers, handle, clock, controllers: config.controllers })
    }

    /// From now on does all that only a leader does, whenever its member leads, and what `also` adds to that.
    pub fn lead(self, group: &mut Group, also: impl Fn(Term, &mut Group) + Send + Sync + 'static) {
        group.spawn("leading", move |stop| async move {
            let start = |term, in_term: &CancellationToken| {
                let mut work = self.work(term, in_term);
                also(term, &mut work);
                work
            };
            let leadership = self.handle.leadership();
            Ok(leader::run_while_leading(leadership, &stop, GRACE, start).await?)
        });
    }

    /// The work of a term, fenced by it.
    fn work(&self, term: Term, in_term: &CancellationToken) -> Group {
        let mut group = Group::under(in_term);
        let server = self.server.clone();
        group.spawn("bootstrap", move |stop| async move {
            while let Err(error) = server.bootstrap(Some(term)).await {
                tracing::warn!(%error, "cannot create the objects of every cluster yet");
                if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                    return Ok(());
                }
            }
            stop.cancelled().await;
            Ok(())
        });
        let context = master_controllers::Context {
            client: component(&self.server, CONTROLLERS, Some(term)),
            informers: self.informers.clone(),
            clock: self.clock.clone(),
            config: self.controllers.clone(),
        };
        master_controllers::start(context, &mut group);
        let context = master_scheduler::Context {
            client: component(&self.server, SCHEDULER, Some(term)),
            inputs: master_scheduler::Inputs {
                pods: self.informers.pods.clone(),
                nodes: self.informers.nodes.clone(),
                namespaces: self.informers.namespaces.clone(),
                disruption_budgets: self.informers.disruption_budgets.clone(),
            },
            clock: self.clock.clone(),
            strategy: master_scheduler::Strategy::default(),
        };
        master_scheduler::start(context, &mut group);
        group
    }
}

fn component(server: &Arc<Server>, user: &str, fence: Option<Term>) -> kube::Client {
    let groups = vec!["system:authenticated".to_owned()];
    server.client(Identity { user: user.to_owned(), groups, ..Identity::default() }, fence)
}
