//! openraft's own storage suite, on disks in memory; `store-rocks` runs it on real ones.

use std::sync::Arc;

use store_raft::battery;
use store_raft::memory::{MemoryLog, MemoryState};

#[tokio::test(start_paused = true)]
async fn storage_in_memory_passes_openrafts_suite() {
    let fresh =
        || Ok(((), Arc::new(MemoryLog::default()) as _, Arc::new(MemoryState::default()) as _));
    battery::storage(false, fresh).await.unwrap();
}
