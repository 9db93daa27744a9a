//! One client of all masters, that sits at the leader whenever a fault comes: it writes every few milliseconds, and
//! how long it goes without an acknowledgement is how long its list of masters takes to bring it to another.

use std::sync::Arc;
use std::time::Duration;

use chaos::history::Outcome;
use kube::Client;
use parking_lot::Mutex;
use store_env::task::Crew;
use tokio_util::sync::CancellationToken;

use super::{Masters, pulse};
use crate::faults::record::SharedRecord;

const EVERY: Duration = Duration::from_millis(50);
const CLIENT: u32 = 401;

/// The client, and what it has heard.
#[derive(Default)]
pub(super) struct Loyal {
    client: Mutex<Option<Client>>,
    acknowledged_ms: Mutex<Vec<u64>>,
}

impl Masters {
    /// From now on, the loyal client is at this one: a new connection, and this master is the first of its list.
    pub(crate) fn sit_at(&self, leader: usize) -> anyhow::Result<()> {
        let mut urls = self.urls.clone();
        urls.rotate_left(leader);
        *self.loyal.client.lock() = Some(self.papers.client(&urls, None, false)?);
        Ok(())
    }

    /// The longest time without an acknowledged write of the loyal client between these two.
    pub(crate) fn loyal_gap_ms(&self, from_ms: u64, until_ms: u64) -> u64 {
        crate::load::longest_gap_ms(&self.loyal.acknowledged_ms.lock(), from_ms, until_ms)
    }
}

/// Makes its maps, and seats it.
pub(super) async fn seat(
    crew: &mut Crew,
    masters: &Arc<Masters>,
    record: &SharedRecord,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let maps = pulse::maps(&masters.each[0], CLIENT, "loyal", record).await?;
    let (masters, record) = (masters.clone(), record.clone());
    crew.spawn(pulse::beat(maps, EVERY, stop.clone(), move |map| {
        let (masters, record) = (masters.clone(), record.clone());
        async move {
            let Some(client) = masters.loyal.client.lock().clone() else { return };
            let heard = pulse::one(client, record.clone(), CLIENT, map, false).await;
            if matches!(heard, Outcome::Wrote { .. }) {
                masters.loyal.acknowledged_ms.lock().push(record.now_ms());
            }
        }
    }));
    Ok(())
}
