//! Members that read different versions of entries, in one group.

use store_handle::{Handle, MembershipChange};
use store_mvcc::codec;
use store_raft::Start;
use store_raft::disk::LogDisk;
use store_raft::types::Entry;

use crate::cluster::{Cluster, eventually, insist, member, read};

/// The versions of all entries with commands that a member holds, in order.
fn written(cluster: &Cluster, id: u64) -> Vec<u8> {
    let records = cluster.disks[&id].log.read(0, u64::MAX, usize::MAX).unwrap();
    let entries = records.iter().map(|(_, record)| codec::decode::<Entry>(record).unwrap());
    let version = |entry: Entry| match entry.payload {
        store_raft::types::EntryPayload::Normal(proposal) => Some(proposal.0[0]),
        _ => None,
    };
    entries.filter_map(version).collect()
}

/// Waits until the group has taken note of what a member reads.
async fn announced(cluster: &Cluster, id: u64, reads: &str) {
    let at = *cluster.nodes.keys().next().unwrap();
    eventually("it is known what it reads", async || {
        // A follower may not have applied yet who the members are.
        let members = cluster.store(at).members();
        let found = members.iter().find(|member| member.id == id);
        found.is_some_and(|found| {
            found.labels.get("reads-format").is_some_and(|known| known == reads)
        })
    })
    .await;
}

/// Writes until an entry is of the version that is agreed on: a leader that has only just been elected may still have to
/// apply who the members are. Returns the leader.
async fn raised(cluster: &Cluster, version: u8) -> u64 {
    let leader = std::cell::Cell::new(0);
    eventually("what is written is of the version agreed on", async || {
        leader.set(cluster.leader().await);
        insist(cluster.store(leader.get()), "new", "v").await;
        written(cluster, leader.get()).last() == Some(&version)
    })
    .await;
    leader.get()
}

#[tokio::test]
async fn group_writes_what_its_oldest_member_reads_and_raises_once_that_one_is_replaced() {
    let mut cluster = Cluster::new();
    cluster.formats = [(1, 2), (2, 2), (3, 1)].into();
    cluster.found(3).await;
    announced(&cluster, 1, "2").await;
    announced(&cluster, 2, "2").await;
    for id in 1..=3 {
        insist(cluster.store(id), &format!("old{id}"), "v").await;
    }
    assert_eq!(read(cluster.store(3), "old1").await.as_deref(), Some("v"), "it reads all of it");
    assert!(written(&cluster, 3).iter().all(|version| *version == 1));

    // The same member, of a later release now.
    cluster.stop(3).await;
    cluster.formats.insert(3, 2);
    cluster.start(3, Start::Join).await;
    announced(&cluster, 3, "2").await;
    let leader = raised(&cluster, 2).await;
    for id in 1..=3 {
        assert_eq!(read(cluster.store(id), "new").await.as_deref(), Some("v"));
        assert_eq!(read(cluster.store(id), "old2").await.as_deref(), Some("v"));
    }

    // One of the old release comes too late: it says so, and the others go on.
    cluster.start(4, Start::Join).await;
    cluster.store(leader).change_membership(MembershipChange::Add(member(4))).await.unwrap();
    let reason = cluster.gives_up(4).await;
    assert!(reason.contains("is written in format 2, and this release reads up to 1"), "{reason}");
    insist(cluster.store(leader), "after", "v").await;
    assert_eq!(written(&cluster, leader).last(), Some(&1), "as all of them would read it");
    cluster.store(leader).change_membership(MembershipChange::Remove(4)).await.unwrap();
    raised(&cluster, 2).await;
}
