//! Three members on RocksDB, over TCP on loopback, in real time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store_env::clock::SystemClock;
use store_env::net::{Plain, Tcp};
use store_env::task::{Crew, Group};
use store_handle::battery::{self, Subject};
use store_handle::{Handle, Member};
use store_raft::{Config, Deps, RaftStore, Start};
use store_rocks::{RocksLog, RocksState};
use tokio_util::sync::CancellationToken;

struct Running {
    members: Vec<Arc<dyn Handle>>,
    stop: CancellationToken,
    crew: Crew,
}

/// Opens a disk; in one process, the threads of a member that has stopped close its files moments later.
async fn opened<T>(open: impl Fn() -> std::io::Result<T>) -> T {
    for _ in 0..250 {
        match open() {
            Err(error) if error.to_string().contains("lock hold by current process") => {}
            outcome => return outcome.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the files of the member before are still open after five seconds")
}

async fn start(folder: &Path, ports: &[u16]) -> Running {
    let member = |id: u64| Member {
        id,
        name: format!("m{id}"),
        peer_address: format!("127.0.0.1:{}", ports[usize::try_from(id).unwrap() - 1]),
        labels: Default::default(),
        is_voter: true,
    };
    let ids = 1..=u64::try_from(ports.len()).unwrap();
    let founders: Vec<Member> = ids.clone().map(member).collect();
    let mut running =
        Running { members: Vec::new(), stop: CancellationToken::new(), crew: Crew::new() };
    for id in ids {
        let own = folder.join(id.to_string());
        std::fs::create_dir_all(&own).unwrap();
        let deps = Deps {
            network: Tcp::shared(Plain),
            clock: SystemClock::shared(),
            log: Arc::new(opened(|| RocksLog::open(&own.join("log"))).await),
            state: Arc::new(opened(|| RocksState::open(&own.join("state"))).await),
        };
        let config = Config::new(7, member(id), Start::Found(founders.clone()));
        let mut group = Group::under(&running.stop);
        running.members.push(RaftStore::start(config, deps, &mut group).await.unwrap());
        running.crew.spawn(async move { group.run(Duration::from_secs(10)).await.unwrap() });
    }
    running
}

fn free_ports() -> Vec<u16> {
    let bound: Vec<_> =
        (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    bound.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

#[tokio::test]
async fn three_members_on_rocksdb_keep_every_promise_and_their_data_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let Running { members, stop, crew } = start(folder.path(), &ports).await;
    battery::run(async || Subject { members: members.clone(), keep: Box::new(()) }).await;
    let revision = members[1].read_index().await.unwrap();
    stop.cancel();
    drop(members);
    crew.finish(Duration::from_secs(20)).await;

    let again = start(folder.path(), &ports).await;
    for member in &again.members {
        assert_eq!(member.read_index().await.unwrap(), revision);
    }
    again.stop.cancel();
    drop(again.members);
    again.crew.finish(Duration::from_secs(20)).await;
}
