//! Who leads, as each master says of itself.

use std::time::Duration;

use chaos::history::Lead;
use kube::Client;
use store_env::task::Crew;
use tokio_util::sync::CancellationToken;

use crate::faults::record::SharedRecord;

const ASK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Seats one who asks this master until told to stop.
pub(super) fn seat(
    crew: &mut Crew,
    client: &Client,
    record: &SharedRecord,
    stop: &CancellationToken,
) {
    let (client, record, stop) = (client.clone(), record.clone(), stop.clone());
    crew.spawn(async move {
        let mut before = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
            let asked = tokio::time::timeout(PATIENCE, super::status(&client)).await;
            let Ok(Ok(status)) = asked else { continue };
            let me = status.members.iter().find(|member| member.name == status.name);
            let leads = status.role == "leader";
            let says = me.filter(|_| leads).map(|me| Lead { term: status.term, member: me.id });
            record.lead(&mut before, says);
        }
    });
}
