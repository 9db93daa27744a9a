//! All members together: who leads, whether they are whole, and how one takes the place of another.

use std::time::Duration;

use anyhow::{Context as _, bail};
use etcd_client::{Client, Error};
use tokio::time::Instant;

use super::client::connect;
use super::fault::Field;
use super::machine::Machine;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// A change of members waits for the others to be found healthy.
const CHANGE_WITHIN: Duration = Duration::from_secs(30);

/// Who leads, if its own members say so and all of them take writes, and answer reads that need a quorum.
async fn look(field: &Field) -> anyhow::Result<usize> {
    match &field.masters {
        Some(masters) => masters.look(&field.machines).await,
        None => leader(&field.machines).await,
    }
}

/// The same of members of the store.
pub(crate) async fn leader(machines: &[Machine]) -> anyhow::Result<usize> {
    let mut said = Vec::new();
    for machine in machines {
        let status = async {
            let mut client = connect(&machine.endpoint()).await?;
            client.put("whole", "yes", None).await?;
            client.get("none", None).await?;
            client.status().await
        };
        let status = tokio::time::timeout(ANSWER_WITHIN, status).await;
        let status = status.with_context(|| format!("{} does not answer", machine.name()))?;
        let status = status.with_context(|| machine.name())?;
        let me = status.header().context("an answer has a header")?.member_id();
        said.push((me, status.leader(), status.is_learner()));
    }
    let leader = said[0].1;
    if said.iter().any(|it| it.1 != leader || it.2) {
        bail!("they do not agree who leads, or not all vote");
    }
    said.iter().position(|it| it.0 == leader).context("nobody leads")
}

/// Waits until all are there, agree who leads, and answer; returns the leader. A process that has ended is started
/// again, as whoever supervises it would.
pub(crate) async fn whole(field: &mut Field, within: Duration) -> anyhow::Result<usize> {
    let until = Instant::now() + within;
    loop {
        for machine in field.machines.iter_mut().filter_map(Machine::ended) {
            machine.start()?;
        }
        match look(field).await {
            Ok(leader) => return Ok(leader),
            Err(error) if Instant::now() > until => {
                return Err(error.context(format!("not whole again after {within:?}")));
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// What an operator does about a member whose disk is spoiled: it is removed, and comes back with an empty one.
pub(crate) async fn replace(field: &mut Field, spoiled: usize) -> anyhow::Result<()> {
    if let Some(masters) = field.masters.clone().filter(|masters| !masters.is_upstream) {
        return masters.replace(field, spoiled).await;
    }
    field.machines[spoiled].wipe()?;
    let peer_url = field.machines[spoiled].peer_url();
    let others: Vec<_> = (0..field.machines.len()).filter(|it| *it != spoiled).collect();
    let until = Instant::now() + CHANGE_WITHIN;
    for turn in 0.. {
        let endpoint = field.machines[others[turn % others.len()]].endpoint();
        let changed = tokio::time::timeout(ANSWER_WITHIN * 5, change(&endpoint, &peer_url)).await;
        match changed {
            Ok(Ok(())) => break,
            _ if Instant::now() < until => tokio::time::sleep(LOOK_EVERY).await,
            Ok(Err(error)) => return Err(error).context("the members cannot be changed"),
            Err(_) => bail!("the members cannot be changed: no answer"),
        }
    }
    let all: Vec<_> = (0..field.machines.len()).collect();
    field.machines[spoiled].join_store(&all)
}

/// Removes the member with this address, unless that was done, and adds a new one.
async fn change(endpoint: &str, peer_url: &str) -> Result<(), Error> {
    let mut client: Client = connect(endpoint).await?;
    let members = client.member_list().await?;
    let mut there =
        members.members().iter().filter(|it| it.peer_urls().iter().any(|url| url == peer_url));
    match there.next() {
        // Added by an attempt whose answer did not come.
        Some(member) if member.name().is_empty() => return Ok(()),
        Some(member) => drop(client.member_remove(member.id()).await?),
        None => {}
    }
    client.member_add([peer_url], None).await?;
    Ok(())
}
