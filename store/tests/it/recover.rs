//! A quorum that is lost for good: one survivor recovers the group, and nobody of before disturbs it.

use std::fs;

use etcd_client::{Client, WatchOptions};

use crate::cluster::{
    Answered, Cluster, Member, connect, eventually, initial, is_etcd, kstore, refusal,
};

fn data_dir(cluster: &Cluster, index: usize) -> String {
    cluster.dir.path().join(&cluster.members[index].name).display().to_string()
}

fn recover(dir: &str, more: &[&str]) -> Answered {
    kstore(&[&["recover", "--data-dir", dir], more].concat())
}

async fn join(cluster: &mut Cluster, client: &mut Client, name: &str, existing: &str) {
    let mut joiner = Member::new(name);
    client.member_add([joiner.peer_url()], None).await.unwrap();
    joiner.flags(&cluster.dir, &format!("{existing},{name}={}", joiner.peer_url()), "existing");
    joiner.start();
    cluster.members.push(joiner);
    cluster.ready(cluster.members.len() - 1).await;
}

/// A watch that wants to go on from before is told that it cannot.
async fn hears_that_history_is_gone(client: &mut Client, from: i64) {
    let options = WatchOptions::new().with_start_revision(from);
    let mut watch = client.watch("after", Some(options)).await.unwrap();
    let mut compacted = 0;
    while compacted == 0 {
        compacted = watch.message().await.unwrap().unwrap().compact_revision();
    }
}

/// Those of before come back with their data. They have a quorum among themselves, and end nevertheless.
async fn members_of_before_end(cluster: &mut Cluster, client: &mut Client) {
    let term = client.status().await.unwrap().raft_term();
    let (first, second) = cluster.members.split_at_mut(1);
    let (first, second) = tokio::join!(first[0].gives_up(), second[0].gives_up());
    for said in [first, second] {
        let expected = "lost its quorum and was recovered without you; it is of epoch 2 now, and your data is of epoch 1. To come back, empty your data directory";
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(client.status().await.unwrap().raft_term(), term, "they disturbed");
    client.put("after", "2", None).await.unwrap();
}

/// Makes this member lead.
async fn lead(cluster: &Cluster, index: usize) {
    let leader = cluster.leader().await;
    if leader == index {
        return;
    }
    let status = cluster.client_of(index).await.status().await.unwrap();
    let id = status.header().unwrap().member_id();
    cluster.client_of(leader).await.move_leader(id).await.unwrap();
    eventually("it leads", async || cluster.leader().await == index).await;
}

#[tokio::test]
async fn survivor_recovers_the_group_and_members_of_before_stay_out() {
    if is_etcd() {
        return;
    }
    let mut cluster = Cluster::start(3).await;
    let mut client = cluster.client_of(2).await;
    for number in 0..100 {
        client.put(format!("k{number}"), "v", None).await.unwrap();
    }
    let kept = client.put("last", "v", None).await.unwrap().header().unwrap().revision();
    let survivor = data_dir(&cluster, 2);
    lead(&cluster, 1).await;
    let busy = recover(&survivor, &[]);
    assert!(busy.code == 1 && busy.err.contains("stop it first"), "{}", busy.err);

    // The leader last: a survivor that led would have the write that follows in its log.
    for index in 0..2 {
        cluster.members[index].kill();
    }
    let impatient = client.put("k", "v", None).await;
    assert!(impatient.is_err(), "one of three is no quorum");
    cluster.members[2].kill();
    let member_json = || fs::read_to_string(format!("{survivor}/member.json")).unwrap();
    let before = member_json();
    let plan = recover(&survivor, &[]);
    assert_eq!(plan.code, 2, "{}{}", plan.out, plan.err);
    let expected = [
        &format!("up to revision {kept}"),
        "voters: m1, m2, m3",
        "Lost:  what the others have acknowledged after entry ",
        "is of epoch 2, and m3 is its only member",
        "m1, m2: never again with the data that they have",
        "Nothing was changed. Add --yes to do it.",
    ];
    for part in expected {
        assert!(plan.out.contains(part), "{part}: {}", plan.out);
    }
    assert_eq!(member_json(), before);
    let done = recover(&survivor, &["--yes"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(
        done.out.contains(&format!("goes on after revision {}", kept + 1_000_000)),
        "{}",
        done.out
    );

    cluster.members[2].start();
    cluster.ready(2).await;
    let mut client = cluster.client_of(2).await;
    assert_eq!(client.get("last", None).await.unwrap().kvs()[0].value(), b"v");
    let put = client.put("after", "1", None).await.unwrap();
    assert!(put.header().unwrap().revision() > kept + 1_000_000);
    assert_eq!(client.member_list().await.unwrap().members().len(), 1);
    hears_that_history_is_gone(&mut client, kept + 1).await;

    let existing = initial(&cluster.members[2..3]);
    join(&mut cluster, &mut client, "m4", &existing).await;
    join(&mut cluster, &mut client, "m5", &existing).await;
    let mut on_new = cluster.client_of(4).await;
    assert_eq!(on_new.get("after", None).await.unwrap().kvs()[0].value(), b"1");

    members_of_before_end(&mut cluster, &mut client).await;

    // As the message says: emptied, added again, in the old place.
    fs::remove_dir_all(data_dir(&cluster, 0)).unwrap();
    let url = cluster.members[0].peer_url();
    client.member_add([url.clone()], None).await.unwrap();
    cluster.members[0].set("--initial-cluster", &format!("{existing},m1={url}"));
    cluster.members[0].set("--initial-cluster-state", "existing");
    cluster.members[0].start();
    cluster.ready(0).await;
    let mut again = cluster.client_of(0).await;
    assert_eq!(again.get("after", None).await.unwrap().kvs()[0].value(), b"2");
    // The survivor is one of four now: the group does without it.
    cluster.members[2].kill();
    eventually("it goes on", async || again.put("after", "3", None).await.is_ok()).await;
}

#[tokio::test]
async fn survivor_of_a_group_that_was_never_flushed_keeps_all_of_its_log() {
    if is_etcd() {
        return;
    }
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client_of(0).await;
    let mut kept = 0;
    for number in 0..300 {
        let put = client.put(format!("k{number:03}"), vec![b'x'; 1_000], None).await.unwrap();
        kept = put.header().unwrap().revision();
    }
    cluster.members[0].kill();
    let dir = data_dir(&cluster, 0);
    let plan = recover(&dir, &[]);
    assert!(plan.out.contains(&format!("up to revision {kept} ")), "{}", plan.out);
    assert_eq!(recover(&dir, &["--yes", "--bump-revision", "5"]).code, 0);
    // Twice is another epoch, and does no harm.
    assert!(recover(&dir, &["--yes", "--bump-revision", "5"]).out.contains("epoch 3"));
    cluster.members[0].start();
    cluster.ready(0).await;
    let mut client = connect(&[cluster.members[0].endpoint()]).await;
    let all = etcd_client::GetOptions::new().with_prefix();
    let found = client.get("k", Some(all)).await.unwrap();
    assert_eq!((found.count(), found.header().unwrap().revision()), (300, kept + 10));
    let old = etcd_client::GetOptions::new().with_revision(kept);
    let refused = refusal(client.get("k000", Some(old)).await);
    assert_eq!(refused, "OutOfRange: etcdserver: mvcc: required revision has been compacted");
}

#[tokio::test]
async fn interrupted_recovery_is_not_started_and_is_done_to_its_end() {
    if is_etcd() {
        return;
    }
    let mut cluster = Cluster::start(1).await;
    cluster.client_of(0).await.put("k", "v", None).await.unwrap();
    cluster.members[0].kill();
    let dir = data_dir(&cluster, 0);
    let before = fs::read_to_string(format!("{dir}/member.json")).unwrap();
    assert_eq!(recover(&dir, &["--yes"]).code, 0);
    // As if it had ended before the last two steps.
    let after: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(format!("{dir}/member.json")).unwrap()).unwrap();
    let identity: serde_json::Value = serde_json::from_str(&before).unwrap();
    let me = serde_json::json!({
        "id": after["memberId"], "name": "m1", "peer_address": identity["founders"][0]["peer_address"],
        "labels": identity["founders"][0]["labels"], "is_voter": true,
    });
    let base = serde_json::json!({ "term": 99, "index": 999 });
    let intent =
        serde_json::json!({ "identity": after, "me": me, "base": base, "leap": 1_000_000 });
    fs::write(format!("{dir}/member.json"), before).unwrap();
    fs::write(format!("{dir}/recovery.json"), intent.to_string()).unwrap();
    let said = cluster.members[0].gives_up().await;
    assert!(said.contains(&format!("kstore recover --data-dir {dir} --yes")), "{said}");
    let done = recover(&dir, &["--yes"]);
    assert!(done.code == 0 && done.out.contains("gone on with"), "{}{}", done.out, done.err);
    cluster.members[0].start();
    cluster.ready(0).await;
    let mut client = cluster.client_of(0).await;
    assert_eq!(client.get("k", None).await.unwrap().kvs()[0].value(), b"v");
}
