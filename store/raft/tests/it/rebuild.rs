//! A group rebuilt from one member's disks.

use std::sync::Arc;

use store_env::clock::SystemClock;
use store_handle::{Handle, Member, MembershipChange, WatchRequest};
use store_raft::Start;
use store_raft::rebuild::{self, Plan, Survey};

use crate::cluster::{Cluster, eventually, member, read, write};

const LEAP: i64 = 1_000;

fn disks(cluster: &Cluster, id: u64) -> rebuild::Disks {
    let crate::cluster::Disks { log, state } = cluster.disks[&id].clone();
    rebuild::Disks { log: Arc::new(log), state: Arc::new(state), clock: SystemClock::shared() }
}

fn alone(id: u64, survey: &Survey) -> Plan {
    let me = Member { peer_address: "m3:1".into(), ..member(id) };
    Plan { members: vec![me], me: id, base: survey.after(), leap: Some(LEAP) }
}

#[tokio::test]
async fn survivor_keeps_its_log_grows_again_and_ends_members_of_before() {
    let mut cluster = Cluster::founded(3).await;
    let mut last = 0;
    for number in 0..50 {
        last = write(cluster.store(3), &format!("k{number}"), "v").await.unwrap();
    }
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    let disks_of_three = disks(&cluster, 3);
    let survey = rebuild::survey(&disks_of_three).unwrap();
    // Whoever asked may end its process now: no thread of ours is still closing a database then.
    assert_eq!(Arc::strong_count(&disks_of_three.log), 1);
    assert_eq!(survey, rebuild::survey(&disks(&cluster, 3)).unwrap(), "looking changes nothing");
    assert_eq!((survey.revision, survey.members.len()), (last, 3));
    let plan = alone(9, &survey);
    assert_eq!(rebuild::rebuild(&disks(&cluster, 3), &plan).unwrap(), last + LEAP);
    assert_eq!(rebuild::rebuild(&disks(&cluster, 3), &plan).unwrap(), last + LEAP, "twice is once");

    let left = cluster.disks[&3].clone();
    cluster.disks.insert(9, left);
    cluster.addresses.insert(9, "m3:1".into());
    cluster.epochs.insert(9, 2);
    cluster.start(9, Start::Join).await;
    assert_eq!(cluster.leader().await, 9);
    assert_eq!(read(cluster.store(9), "k49").await.as_deref(), Some("v"));
    assert_eq!(write(cluster.store(9), "after", "1").await.unwrap(), last + LEAP + 1);
    let old = WatchRequest { start: last + 1, ..WatchRequest::default() };
    let refused = cluster.store(9).watch(old).unwrap_err();
    assert!(refused.to_string().contains("is compacted"), "{refused}");

    // A member that joins gets the state: the entries of before are gone.
    cluster.epochs.insert(10, 2);
    cluster.start(10, Start::Join).await;
    cluster.store(9).change_membership(MembershipChange::Add(member(10))).await.unwrap();
    let promoted = || cluster.store(9).members().iter().any(|m| m.id == 10 && m.is_voter);
    eventually("it is promoted", async || promoted()).await;
    assert_eq!(read(cluster.store(10), "k0").await.as_deref(), Some("v"));

    // Two of before are a quorum of their own group; they are told, and end.
    cluster.start(1, Start::Join).await;
    cluster.start(2, Start::Join).await;
    for id in [1, 2] {
        let reason = cluster.gives_up(id).await;
        assert!(reason.contains("was recovered without you; it is of epoch 2 now"), "{reason}");
    }
    write(cluster.store(9), "after", "2").await.unwrap();
    let returned = cluster.store(9).change_membership(MembershipChange::Add(member(1))).await;
    assert!(returned.unwrap_err().to_string().contains("was removed"));
    // It is a member like any other after a restart, too.
    cluster.kill(9).await;
    cluster.start(9, Start::Join).await;
    assert_eq!(read(cluster.store(9), "after").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn entries_that_nobody_confirmed_are_kept() {
    let mut cluster = Cluster::founded(3).await;
    write(cluster.store(1), "k", "committed").await.unwrap();
    let leader = cluster.leader().await;
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.kill(id).await;
    }
    // Appended, with nobody left to confirm it.
    let unknown = write(cluster.store(leader), "k", "unknown").await;
    assert!(unknown.is_err(), "{unknown:?}");
    cluster.kill(leader).await;
    let survey = rebuild::survey(&disks(&cluster, leader)).unwrap();
    assert!(survey.committed.index < survey.last.index, "{survey:?}");
    rebuild::rebuild(&disks(&cluster, leader), &alone(9, &survey)).unwrap();
    let left = cluster.disks[&leader].clone();
    cluster.disks.insert(9, left);
    cluster.addresses.insert(9, "m3:1".into());
    cluster.epochs.insert(9, 2);
    cluster.start(9, Start::Join).await;
    assert_eq!(read(cluster.store(9), "k").await.as_deref(), Some("unknown"));
}
