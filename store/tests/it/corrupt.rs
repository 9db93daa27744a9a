//! A member whose state was changed behind its back is found out, named, and serves nothing.

use etcd_client::{AlarmAction, AlarmType, Client};
use store_raft::disk::StateDisk;
use store_rocks::RocksState;

use crate::cluster::{Cluster, eventually, is_etcd, refusal};

const CORRUPT: &str = "DataLoss: etcdserver: corrupt cluster";

/// Changes one value in a member's database, with a checksum that fits.
fn tamper(data_dir: &std::path::Path) {
    use store_handle::KeyValue;
    use store_mvcc::{Record, codec};
    let state = RocksState::open(&data_dir.join("state")).unwrap();
    let mut found = None;
    let mut look = |key: &[u8], value: &[u8]| {
        if key[0] == b'r' {
            let kv: KeyValue = codec::decode(value).unwrap();
            if &kv.key[..] == b"victim" {
                found = Some((key.to_vec(), kv));
            }
        }
        Ok(())
    };
    state.load(&mut look).unwrap();
    let (key, mut kv) = found.expect("it was flushed");
    kv.value = "changed".into();
    state.write(vec![Record::Put { key, value: codec::encode(&kv) }]).unwrap();
    state.flush().unwrap();
}

async fn alarms(client: &mut Client) -> Vec<(u64, i32)> {
    let list = client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap();
    list.alarms().iter().map(|alarm| (alarm.member_id(), alarm.alarm() as i32)).collect()
}

#[tokio::test]
async fn diverged_member_is_named_and_serves_nothing_more() {
    if is_etcd() {
        return;
    }
    let mut cluster = Cluster::start(3).await;
    let mut client = cluster.client_of(0).await;
    client.put("victim", "as it was", None).await.unwrap();
    for number in 0..20 {
        client.put(format!("k{number}"), "v", None).await.unwrap();
    }
    let leader = cluster.leader().await;
    let victim = (leader + 1) % 3;
    let mut client = cluster.client_of(victim).await;
    let id = client.status().await.unwrap().header().unwrap().member_id();
    client.get("victim", None).await.unwrap();
    // A member that is asked to end flushes what it has.
    assert!(cluster.members[victim].stop());
    tamper(&cluster.members[victim].data_dir(&cluster.dir));
    cluster.members[victim].start();
    let mut others = cluster.client_of(leader).await;
    eventually("it is named", async || {
        alarms(&mut others).await == [(id, AlarmType::Corrupt as i32)]
    })
    .await;
    let mut client = cluster.client_of(victim).await;
    let serializable = || Some(etcd_client::GetOptions::new().with_serializable());
    assert_eq!(refusal(client.get("victim", serializable()).await), CORRUPT);
    assert_eq!(refusal(client.put("k", "v", None).await), CORRUPT);
    assert_eq!(refusal(client.lease_grant(9, None).await), CORRUPT);
    assert!(client.watch("k", None).await.is_err());
    // It stays so, restarted or not, and the others go on.
    cluster.members[victim].kill();
    cluster.members[victim].start();
    eventually("it refuses again", async || {
        let client = Client::connect([cluster.members[victim].endpoint()], None).await;
        let Ok(mut client) = client else { return false };
        refusal(client.get("victim", serializable()).await) == CORRUPT
    })
    .await;
    let found = others.get("victim", None).await.unwrap();
    assert_eq!(found.kvs()[0].value(), b"as it was");
    others.put("k", "v", None).await.unwrap();

    // Replaced as the log says.
    others.member_remove(id).await.unwrap();
    cluster.members[victim].kill();
    std::fs::remove_dir_all(cluster.members[victim].data_dir(&cluster.dir)).unwrap();
    others.member_add([cluster.members[victim].peer_url()], None).await.unwrap();
    let all = crate::cluster::initial(&cluster.members);
    cluster.members[victim].flags(&cluster.dir, &all, "existing");
    cluster.members[victim].start();
    cluster.ready(victim).await;
    let mut client = cluster.client_of(victim).await;
    assert_eq!(client.get("victim", None).await.unwrap().kvs()[0].value(), b"as it was");
    eventually("nobody is accused any more", async || alarms(&mut others).await.is_empty()).await;
}
