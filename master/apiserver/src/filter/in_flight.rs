//! Bounds the work that is done at once.
//!
//! Reads and writes have places of their own, so that neither starves the other. Who finds none waits a
//! little in a bounded queue, then is told to come back. Superusers and this process's own parts are never
//! made to wait: an overloaded cluster must stay repairable.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use master_api::status::ApiError;
use master_auth::authz::is_superuser;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::call::Call;
use crate::handler::is_public;
use crate::metrics::Gauge;
use crate::server::Server;

const READS_MAX: usize = 400;
const WRITES_MAX: usize = 1_000;
const WAITING_MAX: i64 = 4_000;
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The places.
#[derive(Debug)]
pub struct Places {
    reads: Semaphore,
    writes: Semaphore,
    waiting: Arc<AtomicI64>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            reads: Semaphore::new(READS_MAX),
            writes: Semaphore::new(WRITES_MAX),
            waiting: Arc::default(),
        }
    }
}

/// A place, taken until this is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _gauge: Option<Gauge>,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// It lasts, or costs nothing.
    Nothing,
    /// It is counted, and never waits.
    Counted,
    Read,
    Write,
}

/// What a request needs to go on.
pub fn demand(call: &Call, is_trusted: bool) -> Demand {
    if call.info.is_long_running() || is_public(&call.raw_path) {
        Demand::Nothing
    } else if is_trusted || is_superuser(&call.identity) {
        Demand::Counted
    } else if matches!(&*call.info.verb, "get" | "list" | "head") {
        Demand::Read
    } else {
        Demand::Write
    }
}

/// Takes a place, or refuses.
pub async fn take(server: &Server, demand: Demand) -> Result<Place<'_>, ApiError> {
    let places = &server.places;
    let semaphore = match demand {
        Demand::Nothing => return Ok(Place { _permit: None, _gauge: None }),
        Demand::Counted => {
            let gauge = Gauge::up(&server.metrics.in_flight);
            return Ok(Place { _permit: None, _gauge: Some(gauge) });
        }
        Demand::Read => &places.reads,
        Demand::Write => &places.writes,
    };
    let gauge = Some(Gauge::up(&server.metrics.in_flight));
    if let Ok(permit) = semaphore.try_acquire() {
        return Ok(Place { _permit: Some(permit), _gauge: gauge });
    }
    let _waits = Gauge::up(&places.waiting);
    if places.waiting.load(Ordering::Relaxed) <= WAITING_MAX
        && let Ok(Ok(permit)) = tokio::time::timeout(WAIT_MAX, semaphore.acquire()).await
    {
        return Ok(Place { _permit: Some(permit), _gauge: gauge });
    }
    server.metrics.refused.fetch_add(1, Ordering::Relaxed);
    Err(ApiError::too_many_requests("Too many requests, please try again later.", 1))
}
