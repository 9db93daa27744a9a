//! Members that come and go.

use store_handle::{Handle, MembershipChange, ProposeError};
use store_raft::Start;

use crate::cluster::{Cluster, eventually, insist, member, read, write};

#[tokio::test]
async fn group_grows_from_one_to_three_and_learners_are_promoted_by_themselves() {
    let mut cluster = Cluster::founded(1).await;
    write(cluster.store(1), "k", "v").await.unwrap();
    for id in [2, 3] {
        cluster.start(id, Start::Join).await;
        let add = MembershipChange::Add(member(id));
        cluster.store(1).change_membership(add.clone()).await.unwrap();
        // Twice is once.
        cluster.store(1).change_membership(add).await.unwrap();
        let promoted = || cluster.store(1).members().iter().any(|m| m.id == id && m.is_voter);
        eventually("it is promoted", async || promoted()).await;
    }
    assert_eq!(read(cluster.store(3), "k").await.as_deref(), Some("v"));
    let api = |id: u64| cluster.store(id).members().iter().map(|m| m.labels.clone()).collect();
    let (here, there): (Vec<_>, Vec<_>) = (api(1), api(3));
    assert_eq!(here, there);
    cluster.kill(1).await;
    insist(cluster.store(2), "k", "w").await;
}

#[tokio::test]
async fn removed_member_never_returns_and_the_last_voter_stays() {
    let mut cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    let other = cluster.follower().await;
    // Asked of a follower.
    let remove = MembershipChange::Remove(other);
    cluster.store(other).change_membership(remove.clone()).await.unwrap();
    cluster.store(leader).change_membership(remove).await.unwrap();
    let again = cluster.store(leader).change_membership(MembershipChange::Add(member(other)));
    let error = again.await.unwrap_err();
    assert!(error.to_string().contains("was removed"), "{error}");

    let third = 6 - leader - other;
    cluster.store(leader).change_membership(MembershipChange::Remove(third)).await.unwrap();
    let last = cluster.store(leader).change_membership(MembershipChange::Remove(leader)).await;
    assert!(matches!(last, Err(ProposeError::NotProposed { .. })), "{last:?}");
    cluster.kill(third).await;
    cluster.kill(other).await;
    write(cluster.store(leader), "alone", "1").await.unwrap();
}

#[tokio::test]
async fn leader_that_is_removed_leaves_the_others_a_leader() {
    let cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    let other = cluster.follower().await;
    cluster.store(other).change_membership(MembershipChange::Remove(leader)).await.unwrap();
    eventually("another leads", async || {
        cluster.store(other).leadership().borrow().leader.is_some_and(|now| now != leader)
    })
    .await;
    write(cluster.store(other), "k", "v").await.unwrap();
}
