//! What every store must do, on one member and on three.

use store_handle::battery::{self, Subject};

use crate::cluster::in_line;

#[tokio::test(start_paused = true)]
async fn one_member_keeps_every_promise_of_the_handle() {
    let (members, _crew) = in_line(1).await;
    battery::run(async || Subject { members: members.clone(), keep: Box::new(()) }).await;
}

#[tokio::test(start_paused = true)]
async fn three_members_keep_every_promise_of_the_handle() {
    let (members, _crew) = in_line(3).await;
    battery::run(async || Subject { members: members.clone(), keep: Box::new(()) }).await;
}
