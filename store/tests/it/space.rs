//! Disks that fill up, and quotas: what grows is refused, all else goes on, and the alarm ends by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, DeleteOptions, GetOptions, LeaseGrantOptions,
    Txn, TxnOp,
};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Member, eventually, initial, is_etcd, refusal};

const NO_SPACE: &str = "ResourceExhausted: etcdserver: mvcc: database space exceeded";

/// A file system of its own; unmounted when it is dropped, however the test ends.
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// `None` where this user may not mount.
    fn mount(path: PathBuf, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        mounted.success().then_some(Self { path })
    }

    /// Fills it until so much is left.
    fn leave(&self, mib: usize) {
        let ballast = vec![0_u8; (free_mib(&self.path) - mib) << 20];
        std::fs::write(self.path.join("ballast"), ballast).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.path.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the member that uses it may be about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// Looks how much of a disk is free, all the time, until told to stop; the least that it saw, in MiB.
async fn gauge(path: PathBuf, stop: CancellationToken) -> usize {
    let mut least = free_mib(&path);
    while stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(1))).await.is_some() {
        least = least.min(free_mib(&path));
    }
    least
}

/// Bytes that no compression makes smaller.
fn noise(seed: u64) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    };
    std::iter::repeat_with(next).take((1 << 20) / 8).flatten().collect()
}

async fn alarms(client: &mut Client) -> Vec<(u64, i32)> {
    let list = client.alarm(AlarmAction::Get, AlarmType::None, None).await.unwrap();
    list.alarms().iter().map(|alarm| (alarm.member_id(), alarm.alarm() as i32)).collect()
}

/// The members that have no space, as this one knows.
async fn no_space(client: &mut Client) -> Vec<u64> {
    let mut all = Vec::new();
    for (member, kind) in alarms(client).await {
        assert_eq!(kind, AlarmType::Nospace as i32);
        all.push(member);
    }
    all.sort_unstable();
    all
}

/// Who leads, as a place in the list: whoever says so of itself.
async fn leader(cluster: &Cluster) -> usize {
    let mut found = None;
    eventually("somebody leads", async || {
        for index in 0..cluster.members.len() {
            let status = cluster.client_of(index).await.status().await.unwrap();
            if status.leader() == status.header().unwrap().member_id() {
                found = Some(index);
            }
        }
        found.is_some()
    })
    .await;
    found.unwrap()
}

async fn id(client: &mut Client) -> u64 {
    client.status().await.unwrap().header().unwrap().member_id()
}

/// Puts until it has been refused for want of space for a while on end; how many were done.
///
/// Tables that are merged give space back, so that the first refusals need not be the last.
async fn put_until_refused(client: &mut Client, max: u64) -> u64 {
    let mut done = 0;
    let mut refused_since = None;
    while done < max {
        let put = client.put(format!("big{done:04}"), noise(done + 1), None).await;
        match &refusal(put)[..] {
            "done" => {
                done += 1;
                refused_since = None;
            }
            refused => {
                assert_eq!(refused, NO_SPACE);
                let now = tokio::time::Instant::now();
                if now - *refused_since.get_or_insert(now) > Duration::from_secs(3) {
                    return done;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    panic!("{max} puts of a MiB were not refused");
}

/// What etcd refuses when there is no space, and what it does not.
async fn only_growth_is_refused(client: &mut Client) {
    assert_eq!(refusal(client.put("more", "v", None).await), NO_SPACE);
    let growing = Txn::new().and_then([TxnOp::put("more", "v", None)]);
    assert_eq!(refusal(client.txn(growing).await), NO_SPACE);
    let either =
        Txn::new().and_then([TxnOp::delete("none", None)]).or_else([TxnOp::put("more", "v", None)]);
    assert_eq!(refusal(client.txn(either).await), NO_SPACE);
    let granted = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(5))).await;
    assert_eq!(refusal(granted), NO_SPACE);
    let all = || Some(GetOptions::new().with_prefix().with_count_only());
    let count = client.get("big", all()).await.unwrap().count();
    assert!(count > 0);
    let shrinking = Txn::new().and_then([TxnOp::delete("big0000", None)]);
    assert!(client.txn(shrinking).await.unwrap().succeeded());
    assert_eq!(client.get("big", all()).await.unwrap().count(), count - 1);
    client.lease_revoke(4).await.unwrap();
}

#[tokio::test]
async fn quota_refuses_what_grows_until_space_was_made() {
    let cluster = Cluster::start_with(1, &["--quota-backend-bytes=33554432"]).await;
    let mut client = cluster.client().await;
    let four = LeaseGrantOptions::new().with_id(4);
    client.lease_grant(600, Some(four)).await.unwrap();
    let done = put_until_refused(&mut client, 64).await;
    // There the size is looked at when a batch is committed, which takes a moment.
    let most = if is_etcd() { 64 } else { 40 };
    assert!((16..=most).contains(&done), "{done} MiB of 32");
    let me = id(&mut client).await;
    assert_eq!(alarms(&mut client).await, [(me, AlarmType::Nospace as i32)]);
    only_growth_is_refused(&mut client).await;
    let errors = client.status().await.unwrap().errors().to_vec();
    assert_eq!(errors, [format!("memberID:{me} alarm:NOSPACE ")]);
    let all = DeleteOptions::new().with_prefix();
    let deleted = client.delete("big", Some(all)).await.unwrap();
    assert_eq!(deleted.deleted() as u64, done - 1);
    let revision = deleted.header().unwrap().revision();
    client.compact(revision, None).await.unwrap();
    if is_etcd() {
        // There, somebody has to do the rest.
        client.defragment().await.unwrap();
        let mut own = AlarmOptions::new();
        own.with_member(me);
        client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(own)).await.unwrap();
    }
    eventually("there is space again", async || {
        refusal(client.put("more", "v", None).await) == "done"
    })
    .await;
    assert_eq!(alarms(&mut client).await, []);
}

#[tokio::test]
async fn member_whose_disk_fills_up_refuses_growth_and_lives() {
    if is_etcd() {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let mut member = Member::new("m1");
    let Some(disk) = Disk::mount(member.data_dir(&dir), 1024) else { return };
    let initial = initial(std::slice::from_ref(&member));
    member.flags(&dir, &initial, "new");
    member.start();
    let mut cluster = Cluster { members: vec![member], dir };
    cluster.ready(0).await;
    let mut client = cluster.client().await;
    let four = LeaseGrantOptions::new().with_id(4);
    client.lease_grant(600, Some(four)).await.unwrap();
    let over = CancellationToken::new();
    let filled_and_emptied = async {
        let done = put_until_refused(&mut client, 1024).await;
        assert!(done >= 32, "{done} MiB of 1024");
        only_growth_is_refused(&mut client).await;
        let all = DeleteOptions::new().with_prefix();
        let deleted = client.delete("big", Some(all)).await.unwrap();
        client.compact(deleted.header().unwrap().revision(), None).await.unwrap();
        eventually("there is space again", async || {
            refusal(client.put("more", "v", None).await) == "done"
        })
        .await;
        over.cancel();
    };
    let ((), lowest) = tokio::join!(filled_and_emptied, gauge(disk.path.clone(), over.clone()));
    assert!(cluster.members[0].is_running());
    // Tables are merged into new ones before they go: what they need meanwhile is there.
    assert!(lowest >= 32, "only {lowest} MiB of the disk were free at a time");
    // It starts again on what it has.
    assert!(cluster.members[0].stop());
    cluster.members[0].start();
    cluster.ready(0).await;
    let mut client = cluster.client().await;
    assert_eq!(client.get("more", None).await.unwrap().count(), 1);
}

#[tokio::test]
async fn one_full_disk_stops_nobody_and_two_of_three_stop_growth_only() {
    if is_etcd() {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let mut members: Vec<Member> = (1..=3).map(|n| Member::new(&format!("m{n}"))).collect();
    let mount = |member: &Member| Disk::mount(member.data_dir(&dir), 512);
    let Some(disks) = members.iter().map(mount).collect::<Option<Vec<Disk>>>() else { return };
    let initial = initial(&members);
    for member in &mut members {
        member.flags(&dir, &initial, "new");
        member.with_args(&["--disk-reserve-bytes=104857600"]);
        member.start();
    }
    let mut cluster = Cluster { members, dir };
    for index in 0..3 {
        cluster.ready(index).await;
    }
    let mut client = cluster.client_of(0).await;
    let four = LeaseGrantOptions::new().with_id(4);
    client.lease_grant(600, Some(four)).await.unwrap();
    for number in 0..3 {
        client.put(format!("big{number:04}"), "v", None).await.unwrap();
    }

    let first = leader(&cluster).await;
    let full = vec![id(&mut cluster.client_of(first).await).await];
    disks[first].leave(60);
    eventually("one that has room leads", async || leader(&cluster).await != first).await;
    for index in 0..3 {
        let mut client = cluster.client_of(index).await;
        eventually("everybody knows", async || no_space(&mut client).await == full).await;
        client.put("more", "v", None).await.unwrap();
    }

    let second = leader(&cluster).await;
    let mut both = vec![full[0], id(&mut cluster.client_of(second).await).await];
    both.sort_unstable();
    disks[second].leave(60);
    for index in 0..3 {
        let mut client = cluster.client_of(index).await;
        eventually("everybody refuses", async || {
            refusal(client.put("more", "v", None).await) == NO_SPACE
        })
        .await;
        assert_eq!(no_space(&mut client).await, both);
    }
    only_growth_is_refused(&mut cluster.client_of(first).await).await;

    disks[second].empty();
    for index in 0..3 {
        let mut client = cluster.client_of(index).await;
        eventually("there is space again", async || {
            refusal(client.put("more", "v", None).await) == "done"
        })
        .await;
        assert_eq!(no_space(&mut client).await, full);
    }
    disks[first].empty();
    let mut client = cluster.client_of(first).await;
    eventually("the alarm ends", async || no_space(&mut client).await.is_empty()).await;
    assert!(cluster.members.iter_mut().all(Member::is_running));
    tokio::time::timeout(Duration::from_secs(5), client.get("more", None)).await.unwrap().unwrap();
}

fn free_mib(path: &Path) -> usize {
    let disk = nix::sys::statvfs::statvfs(path).unwrap();
    usize::try_from((disk.blocks_available() * disk.fragment_size()) >> 20).unwrap()
}
