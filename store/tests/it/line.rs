//! Locks and elections, as the services that do the waiting.

use std::time::Duration;

use etcd_client::{LockOptions, ProclaimOptions, ResignOptions};

use crate::cluster::{Cluster, eventually, refusal};

#[tokio::test]
async fn lock_is_held_by_one_lease_at_a_time() {
    let cluster = Cluster::start(3).await;
    let mut client = cluster.client_of(0).await;
    let lease = client.lease_grant(100, None).await.unwrap().id();
    let options = || Some(LockOptions::new().with_lease(lease));
    let held = client.lock("l", options()).await.unwrap();
    assert_eq!(held.key(), format!("l/{lease:x}").as_bytes());
    assert!(held.header().unwrap().revision() > 1);
    // The same lease has it already.
    assert_eq!(client.lock("l", options()).await.unwrap().key(), held.key());
    // One that goes away while it waits leaves the line.
    let mut other = cluster.client_of(1).await;
    let waiting = tokio::time::timeout(Duration::from_millis(500), other.lock("l", None)).await;
    assert!(waiting.is_err(), "it is held");
    let count = async || {
        let all = etcd_client::GetOptions::new().with_prefix().with_count_only();
        client.clone().get("l/", Some(all)).await.unwrap().count()
    };
    eventually("it has left the line", async || count().await == 1).await;
    let mut third = cluster.client_of(2).await;
    let key = held.key().to_vec();
    let (next, unlocked) = tokio::join!(third.lock("l", None), client.unlock(key));
    unlocked.unwrap();
    let next = next.unwrap();
    assert_ne!(next.key(), held.key());
    third.unlock(next.key()).await.unwrap();
    let unknown = LockOptions::new().with_lease(77);
    let expected = "Unknown: etcdserver: requested lease not found";
    assert_eq!(refusal(client.lock("l", Some(unknown)).await), expected);
}

#[tokio::test]
async fn election_has_one_leader_who_speaks_and_resigns() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let nobody = "Unknown: election: no leader";
    assert_eq!(refusal(client.leader("e").await), nobody);
    let first = client.lease_grant(100, None).await.unwrap().id();
    let second = client.lease_grant(100, None).await.unwrap().id();
    let elected = client.campaign("e", "one", first).await.unwrap();
    let leader = elected.leader().unwrap().clone();
    assert_eq!((leader.name(), leader.lease()), (&b"e"[..], first));
    assert_eq!(leader.key(), format!("e/{first:x}").as_bytes());
    let found = client.leader("e").await.unwrap();
    assert_eq!(found.kv().unwrap().value(), b"one");
    let mut stream = cluster.client().await.observe("e").await.unwrap();
    let mut said = async || {
        let reply = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
        reply.unwrap().unwrap().unwrap().kv().unwrap().value().to_vec()
    };
    assert_eq!(said().await, b"one");
    let speaking = || Some(ProclaimOptions::new().with_leader(leader.clone()));
    client.proclaim("two", speaking()).await.unwrap();
    assert_eq!(said().await, b"two");
    let mut other = cluster.client().await;
    let mut resigning = client.clone();
    let options = ResignOptions::new().with_leader(leader.clone());
    let (next, resigned) =
        tokio::join!(other.campaign("e", "three", second), resigning.resign(Some(options)));
    resigned.unwrap();
    assert_eq!(next.unwrap().leader().unwrap().lease(), second);
    assert_eq!(said().await, b"three");
    let not_leader = "Unknown: election: not leader";
    assert_eq!(refusal(client.proclaim("four", speaking()).await), not_leader);
}
