//! What every store must do, on one member and on three.

use store_handle::battery::{self, Subject};

use crate::cluster::in_line;

#[tokio::test(start_paused = true)]
async fn one_member_keeps_every_promise_of_the_handle() {
    let (members, _crew) = in_line(1, None).await;
    battery::run(async || Subject { members: members.clone(), keep: Box::new(()) }).await;
}

#[tokio::test(start_paused = true)]
async fn three_members_keep_every_promise_of_the_handle() {
    let (members, _crew) = in_line(3, None).await;
    battery::run(async || Subject { members: members.clone(), keep: Box::new(()) }).await;
}

#[tokio::test(start_paused = true)]
async fn members_that_keep_no_value_in_memory_keep_every_promise() {
    for cache_bytes in [0, 100] {
        let (members, _crew) = in_line(3, Some(cache_bytes)).await;
        battery::run(async || Subject { members: members.clone(), keep: Box::new(()) }).await;
    }
}
