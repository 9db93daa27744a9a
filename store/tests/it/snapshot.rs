//! Snapshots: saved, looked at, and restored into groups of one and of three.

use std::fs;
use std::path::Path;

use etcd_client::{Client, GetOptions, LeaseTimeToLiveOptions, PutOptions, WatchOptions};
use tempfile::TempDir;

use crate::cluster::{Cluster, Member, connect, eventually, initial, is_etcd, kstore};
use crate::ctl::ctl_with;

const LEAP: i64 = 1_000_000;

/// Keys, one of them with a lease; gives the revision.
async fn fill(client: &mut Client) -> i64 {
    for number in 0..200 {
        client.put(format!("k{number:03}"), vec![b'v'; 2_000], None).await.unwrap();
    }
    client.delete("k000", None).await.unwrap();
    client.lease_grant(600, Some(etcd_client::LeaseGrantOptions::new().with_id(77))).await.unwrap();
    let leased = PutOptions::new().with_lease(77);
    let put = client.put("leased", "v", Some(leased)).await.unwrap();
    put.header().unwrap().revision()
}

fn save(endpoint: &str, path: &Path) -> String {
    let saved = kstore(&["snapshot", "save", path.to_str().unwrap(), "--endpoints", endpoint]);
    assert_eq!(saved.code, 0, "{}", saved.err);
    saved.out
}

/// Members of a new group, each restored from the file, and running.
fn restored(names: &[&str], dir: &TempDir, file: &Path) -> Vec<Member> {
    let mut members: Vec<Member> = names.iter().map(|name| Member::new(name)).collect();
    let all = initial(&members);
    for member in &mut members {
        member.flags(dir, &all, "new");
        let data = dir.path().join(&member.name).display().to_string();
        #[rustfmt::skip]
        let answered = kstore(&[
            "snapshot", "restore", file.to_str().unwrap(), "--data-dir", &data, "--name", &member.name,
            "--initial-cluster", &all, "--initial-cluster-token", "battery",
            "--initial-advertise-peer-urls", &member.peer_url(),
        ]);
        assert_eq!(answered.code, 0, "{}", answered.err);
        assert!(answered.out.contains("with everything up to revision"), "{}", answered.out);
        member.start();
    }
    members
}

/// What was saved is there, with its lease; history before is compacted; new writes come later than any before.
async fn check(endpoint: &str, saved: i64) {
    let mut client = connect(&[endpoint.to_owned()]).await;
    let all = GetOptions::new().with_prefix();
    let mut revision = 0;
    eventually("it serves", async || match client.get("k", Some(all.clone())).await {
        Ok(found) => {
            assert_eq!(found.count(), 199);
            assert!(found.kvs().iter().all(|kv| kv.value().len() == 2_000));
            revision = found.header().unwrap().revision();
            true
        }
        Err(_) => false,
    })
    .await;
    assert!(revision >= saved + LEAP, "{revision}");
    let keys = LeaseTimeToLiveOptions::new().with_keys();
    let lease = client.lease_time_to_live(77, Some(keys)).await.unwrap();
    assert_eq!((lease.granted_ttl(), lease.keys()), (600, &[b"leased".to_vec()][..]));
    for from in [2, saved, saved + 1, saved + 1_000] {
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let mut watch = client.watch("k", Some(options)).await.unwrap();
        let mut compacted = 0;
        while compacted == 0 {
            compacted = watch.message().await.unwrap().unwrap().compact_revision();
        }
        assert!(compacted >= saved + LEAP, "a watch from {from} hears {compacted}");
    }
    let put = client.put("new", "v", None).await.unwrap();
    assert!(put.header().unwrap().revision() > saved + LEAP);
}

#[tokio::test]
async fn snapshot_is_saved_and_restored_into_one_member_and_into_three() {
    if is_etcd() {
        return;
    }
    let cluster = Cluster::start(3).await;
    let mut client = cluster.client().await;
    let saved = fill(&mut client).await;
    let before = client.status().await.unwrap().header().unwrap().cluster_id();
    let (dir, on) = (TempDir::new().unwrap(), cluster.members[1].endpoint());
    cluster.client_of(1).await.get("k", None).await.unwrap();
    let file = dir.path().join("snapshot.db");
    let said = save(&on, &file);
    assert!(said.contains(&format!("revision {saved} of http://{on}, ")), "{said}");
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "nothing else is left: {files:?}");

    let status = kstore(&["snapshot", "status", file.to_str().unwrap(), "-w", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!((&status["revision"], &status["totalKey"]), (&saved.into(), &202.into()));
    // The other way to save one gives the same.
    let other = dir.path().join("etcdctl.db");
    let said = ctl_with(&on, &["snapshot", "save", other.to_str().unwrap()], "");
    assert!(said.ok, "{}{}", said.text, said.error);
    assert_eq!(fs::read(&other).unwrap(), fs::read(&file).unwrap());

    let alone = restored(&["alone"], &dir, &other);
    check(&alone[0].endpoint(), saved).await;
    let three = restored(&["r1", "r2", "r3"], &dir, &file);
    check(&three[2].endpoint(), saved).await;
    let mut hashes = Vec::new();
    for member in &three {
        let mut client = connect(&[member.endpoint()]).await;
        client.get("k", None).await.unwrap();
        assert_ne!(client.status().await.unwrap().header().unwrap().cluster_id(), before);
        hashes.push(client.hash_kv(0).await.unwrap().hash());
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[tokio::test]
async fn restored_group_takes_in_new_members_with_all_that_it_began_with() {
    if is_etcd() {
        return;
    }
    let cluster = Cluster::start(1).await;
    let saved = fill(&mut cluster.client().await).await;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("snapshot.db");
    save(&cluster.members[0].endpoint(), &file);
    let mut members = restored(&["r1"], &dir, &file);
    check(&members[0].endpoint(), saved).await;
    let mut joiner = Member::new("r2");
    let mut client = connect(&[members[0].endpoint()]).await;
    client.member_add([joiner.peer_url()], None).await.unwrap();
    let all = format!("{},r2={}", initial(&members), joiner.peer_url());
    joiner.flags(&dir, &all, "existing");
    joiner.start();
    let endpoint = joiner.endpoint();
    eventually("it listens", async || Client::connect([&endpoint], None).await.is_ok()).await;
    check(&endpoint, saved).await;
    members.push(joiner);
}

#[tokio::test]
async fn what_is_no_whole_snapshot_is_refused_by_name() {
    if is_etcd() {
        return;
    }
    let cluster = Cluster::start(1).await;
    fill(&mut cluster.client().await).await;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("good.db");
    save(&cluster.members[0].endpoint(), &file);
    let good = fs::read(&file).unwrap();
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    #[rustfmt::skip]
    let cases = [
        (changed("cut.db",     &|bytes| bytes.truncate(5_000)),               "it is cut off"),
        (changed("short.db",   &|bytes| drop(bytes.drain(1_024..2_048))),     "it is damaged: its checksum is"),
        (changed("flipped.db", &|bytes| bytes[200_000] ^= 4),                 "it is damaged: its checksum is"),
        (changed("bolt.db",    &|bytes| bytes[..32].fill(0)),                 "it is not a snapshot of kstore"),
        (dir.path().join("none.db").display().to_string(),                    "No such file"),
    ];
    let data = dir.path().join("data").display().to_string();
    for (path, expected) in cases {
        let restore = kstore(&["snapshot", "restore", &path, "--data-dir", &data]);
        let status = kstore(&["snapshot", "status", &path]);
        for said in [restore, status] {
            assert_eq!(said.code, 1, "{path}");
            assert!(said.err.contains(&path) && said.err.contains(expected), "{}", said.err);
        }
        assert!(!Path::new(&data).exists(), "nothing was begun");
    }
    fs::create_dir(&data).unwrap();
    fs::write(Path::new(&data).join("something"), "").unwrap();
    let restore = kstore(&["snapshot", "restore", file.to_str().unwrap(), "--data-dir", &data]);
    assert!(
        restore.code == 1 && restore.err.contains("is not empty (something)"),
        "{}",
        restore.err
    );
    let wrong = kstore(&[
        "snapshot",
        "restore",
        file.to_str().unwrap(),
        "--name",
        "x",
        "--initial-cluster",
        "y=http://h:1",
    ]);
    assert!(
        wrong.err.contains("--initial-cluster: does not hold this member's --name"),
        "{}",
        wrong.err
    );
    let nobody = kstore(&["snapshot", "save", "x.db", "--endpoints", "127.0.0.1:1"]);
    assert!(
        nobody.code == 1 && nobody.err.contains("http://127.0.0.1:1 gives no snapshot"),
        "{}",
        nobody.err
    );
    assert!(!Path::new("x.db").exists() && !Path::new("x.db.part").exists());
}

#[tokio::test]
async fn interrupted_restore_is_not_started() {
    if is_etcd() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut member = Member::new("m1");
    let all = initial(std::slice::from_ref(&member));
    member.flags(&dir, &all, "new");
    member.set("--log-level", "error");
    fs::create_dir_all(dir.path().join("m1/state")).unwrap();
    let said = member.gives_up().await;
    assert!(said.contains("a restore was interrupted"), "{said}");
}
