//! Leaders that die, stop, or hand over.

use std::time::Duration;

use store_handle::{Handle, ProposeError, Term};

use crate::cluster::{Cluster, insist, put, read, write};

#[tokio::test]
async fn write_goes_on_at_once_when_the_leader_is_killed() {
    let mut cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    write(cluster.store(leader), "before", "1").await.unwrap();
    let survivor = cluster.follower().await;
    // Both survivors attend to the leader by now, or the time-outs do it.
    tokio::time::sleep(Duration::from_millis(300)).await;

    cluster.kill(leader).await;
    let killed = tokio::time::Instant::now();
    insist(cluster.store(survivor), "after", "2").await;
    let gap = killed.elapsed();
    assert!(gap < Duration::from_millis(400), "{gap:?}: by connection, not by time-out");
    assert_eq!(read(cluster.store(survivor), "before").await.as_deref(), Some("1"));
    assert_ne!(cluster.leader().await, leader);
}

/// A leader that is cut off, or frozen, closes no connection: only time tells.
#[tokio::test]
async fn silent_leader_is_succeeded_after_the_time_out() {
    let mut cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    let survivor = cluster.follower().await;
    insist(cluster.store(survivor), "before", "1").await;
    let silent = tokio::time::Instant::now();
    cluster.freeze(leader);
    insist(cluster.store(survivor), "after", "2").await;
    let gap = silent.elapsed();
    // 600 to 700 ms in these tests, and a little for the rest.
    assert!(gap > Duration::from_millis(300), "{gap:?}: nobody may know sooner");
    assert!(gap < Duration::from_millis(1_500), "{gap:?}: the first election succeeds");
}

/// Those who asked the silent leader in time wait for it; those who come later need not.
#[tokio::test]
async fn nobody_waits_behind_what_a_silent_leader_was_asked() {
    let mut cluster = Cluster::new();
    // Its connections are given up after 1,250 ms; it is succeeded after 700.
    cluster.heartbeat_ms = 150;
    cluster.found(3).await;
    let leader = cluster.leader().await;
    let survivor = cluster.follower().await;
    let store = cluster.store(survivor).clone();
    insist(&store, "before", "1").await;
    cluster.freeze(leader);
    let silent = tokio::time::Instant::now();
    let tick = Duration::from_millis(20);
    let each = |n: u32| {
        let store = &store;
        async move {
            tokio::time::sleep(tick * n).await;
            let written = write(store, "after", &n.to_string()).await;
            (written.is_ok(), silent.elapsed())
        }
    };
    let reads = async {
        store.read_index().await.unwrap();
        silent.elapsed()
    };
    let succession = async {
        let mut known = store.leadership();
        known.wait_for(|known| known.leader.is_some_and(|now| now != leader)).await.unwrap();
        silent.elapsed()
    };
    let writes = futures::future::join_all((0..60).map(each));
    let (written, read, succeeded) = tokio::join!(writes, reads, succession);
    let first = written.iter().filter(|(is_ok, _)| *is_ok).map(|(_, gap)| *gap).min().unwrap();
    // From when there is a leader: an election takes longer on a busy machine, but nobody then waits for the old one.
    let soon = succeeded + Duration::from_millis(250);
    assert!(first < soon, "a write was done at {first:?}, and there was a leader at {succeeded:?}");
    assert!(
        read < soon,
        "a read was answered at {read:?}, and there was a leader at {succeeded:?}"
    );
}

#[tokio::test]
async fn leader_that_stops_hands_over_first() {
    let mut cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    let term = cluster.store(leader).leadership().borrow().term;
    let survivor = cluster.follower().await;
    let store = cluster.store(survivor).clone();
    let writes = async {
        for n in 0..100 {
            write(&store, "during", &n.to_string()).await.unwrap();
        }
    };
    tokio::join!(cluster.stop(leader), writes);
    let now = *cluster.store(survivor).leadership().borrow();
    assert_eq!(now.term, Term(term.0 + 1), "one election, and no failed one");
}

#[tokio::test]
async fn leadership_goes_where_it_is_asked_to_go_and_fences_the_old_term() {
    let cluster = Cluster::founded(3).await;
    let old = cluster.leader().await;
    let term = cluster.store(old).leadership().borrow().term;
    let new = cluster.follower().await;
    // Asked of a follower, which passes it on.
    cluster.store(new).transfer_leadership(Some(new)).await.unwrap();
    assert_eq!(cluster.leader().await, new);

    let late = cluster.store(old).propose(put("k", "late"), Some(term)).await;
    assert!(matches!(late, Err(ProposeError::NotProposed { .. })), "{late:?}");
    let stale = cluster.store(new).propose(put("k", "stale"), Some(term)).await;
    assert!(matches!(stale, Err(ProposeError::Refused(_))), "{stale:?}");
    assert_eq!(read(cluster.store(old), "k").await, None);
}

#[tokio::test]
async fn minority_answers_neither_reads_nor_writes() {
    let mut cluster = Cluster::founded(3).await;
    let last = cluster.leader().await;
    let others: Vec<_> = cluster.nodes.keys().copied().filter(|id| *id != last).collect();
    for id in others {
        cluster.kill(id).await;
    }
    let store = cluster.store(last);
    let (written, read) = tokio::join!(write(store, "k", "v"), store.read_index());
    assert!(!matches!(written, Ok(_) | Err(ProposeError::Refused(_))), "{written:?}");
    assert!(read.is_err(), "{read:?}");
    assert!(!store.leadership().borrow().leads, "cut off from a quorum, it does not lead");
}
