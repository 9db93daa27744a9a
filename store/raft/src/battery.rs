//! openraft's own suite of tests for storage, run on our log and state machine over any pair of disks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt as _;
use store_env::clock::SystemClock;

use crate::disk::{LogDisk, StateDisk};
use crate::log::Log;
use crate::machine::Machine;
use crate::replica::Replica;
use crate::types::TypeConfig;

/// What one test runs on: disks that are empty, and what must live as long as they.
pub type Fresh<G> = (G, Arc<dyn LogDisk>, Arc<dyn StateDisk>);

/// Runs all of it. With `threads`, disks are written by threads, as in a server; else in line, as in simulations.
pub async fn storage<G: Send + Sync>(
    threads: bool,
    fresh: impl Fn() -> io::Result<Fresh<G>> + Send + Sync,
) -> Result<(), String> {
    let outcome = Suite::test_all(Builder { threads, fresh }).await;
    outcome.map_err(|error| error.to_string())
}

struct Builder<F> {
    threads: bool,
    fresh: F,
}

impl<F, G> StoreBuilder<TypeConfig, Log, Machine, G> for Builder<F>
where
    F: Fn() -> io::Result<Fresh<G>> + Send + Sync,
    G: Send + Sync,
{
    async fn build(&self) -> Result<(G, Log, Machine), StorageError<TypeConfig>> {
        let open = || {
            let (guard, log, state) = (self.fresh)()?;
            let log = Log::open(log, SystemClock::shared(), self.threads)?;
            let replica = Arc::new(Replica::open(state, None)?);
            let machine = Machine::new(replica, self.threads, Duration::MAX)?;
            Ok::<_, io::Error>((guard, log, machine))
        };
        open().map_err(|error| StorageError::read(TypeConfig::err_from_error(&error)))
    }
}
