//! openraft's own storage suite, on RocksDB.

use std::sync::Arc;

use store_raft::battery;
use store_rocks::{RocksLog, RocksState};

#[tokio::test]
async fn storage_on_rocksdb_passes_openrafts_suite() {
    let fresh = || {
        let folder = tempfile::tempdir()?;
        let log = RocksLog::open(&folder.path().join("log"))?;
        let state = RocksState::open(&folder.path().join("state"))?;
        Ok((folder, Arc::new(log) as _, Arc::new(state) as _))
    };
    battery::storage(true, fresh).await.unwrap();
}
