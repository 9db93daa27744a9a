//! Leases: granted, kept alive, looked at, ended; and what survives a restart.

use std::time::Duration;

use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions};

use crate::cluster::{Cluster, eventually, refusal};

#[tokio::test]
async fn lease_is_granted_kept_alive_looked_at_and_revoked() {
    let cluster = Cluster::start(3).await;
    let mut client = cluster.client_of(1).await;
    let with_id = LeaseGrantOptions::new().with_id(1234);
    let granted = client.lease_grant(100, Some(with_id.clone())).await.unwrap();
    assert_eq!((granted.id(), granted.ttl()), (1234, 100));
    let chosen = client.lease_grant(50, None).await.unwrap();
    assert!(chosen.id() != 0 && chosen.id() != 1234);
    let exists = "FailedPrecondition: etcdserver: lease already exists";
    assert_eq!(refusal(client.lease_grant(100, Some(with_id)).await), exists);
    let too_large = "OutOfRange: etcdserver: too large lease TTL";
    assert_eq!(refusal(client.lease_grant(9_000_000_001, None).await), too_large);

    for key in ["b", "a"] {
        client.put(key, "v", Some(PutOptions::new().with_lease(1234))).await.unwrap();
    }
    let options = || Some(LeaseTimeToLiveOptions::new().with_keys());
    let info = client.lease_time_to_live(1234, options()).await.unwrap();
    assert!((90..=100).contains(&info.ttl()), "{}", info.ttl());
    assert_eq!(info.granted_ttl(), 100);
    let mut keys = info.keys().to_vec();
    keys.sort();
    assert_eq!(keys, [b"a", b"b"]);
    let bare = client.lease_time_to_live(1234, None).await.unwrap();
    assert!(bare.keys().is_empty());
    let none = client.lease_time_to_live(77, None).await.unwrap();
    assert_eq!((none.ttl(), none.granted_ttl()), (-1, 0));
    let mut all: Vec<i64> =
        client.leases().await.unwrap().leases().iter().map(|lease| lease.id()).collect();
    all.sort_unstable();
    let mut expected = vec![1234, chosen.id()];
    expected.sort_unstable();
    assert_eq!(all, expected);

    let (mut keeper, mut kept) = client.lease_keep_alive(1234).await.unwrap();
    for _ in 0..3 {
        keeper.keep_alive().await.unwrap();
        let reply = kept.message().await.unwrap().unwrap();
        assert_eq!((reply.id(), reply.ttl()), (1234, 100));
    }

    let before = client.get("a", None).await.unwrap().header().unwrap().revision();
    client.lease_revoke(1234).await.unwrap();
    let after = client.get("a", None).await.unwrap();
    assert_eq!((after.count(), after.header().unwrap().revision()), (0, before + 1));
    let unknown = "NotFound: etcdserver: requested lease not found";
    assert_eq!(refusal(client.lease_revoke(1234).await), unknown);
}

#[tokio::test]
async fn lease_that_is_not_renewed_takes_its_keys_along() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client().await;
    let short = client.lease_grant(2, None).await.unwrap().id();
    let long = client.lease_grant(1000, None).await.unwrap().id();
    client.put("short", "v", Some(PutOptions::new().with_lease(short))).await.unwrap();
    client.put("long", "v", Some(PutOptions::new().with_lease(long))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(client.get("short", None).await.unwrap().count(), 1, "too early");
    eventually("it expires", async || client.get("short", None).await.unwrap().count() == 0).await;
    assert_eq!(client.get("long", None).await.unwrap().count(), 1);
    assert_eq!(client.leases().await.unwrap().leases().len(), 1);
}

#[tokio::test]
async fn leases_survive_a_restart() {
    let mut cluster = Cluster::start(1).await;
    let lease = {
        let mut client = cluster.client().await;
        let lease = client.lease_grant(500, None).await.unwrap().id();
        client.put("k", "v", Some(PutOptions::new().with_lease(lease))).await.unwrap();
        lease
    };
    cluster.members[0].kill();
    cluster.members[0].start();
    cluster.ready(0).await;
    let mut client = cluster.client().await;
    let options = Some(LeaseTimeToLiveOptions::new().with_keys());
    let info = client.lease_time_to_live(lease, options).await.unwrap();
    assert!((400..=500).contains(&info.ttl()), "{}", info.ttl());
    assert_eq!(info.keys(), [b"k"]);
}
