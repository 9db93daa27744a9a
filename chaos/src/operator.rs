//! The operator: has a client on every member, and carries out what faults order, one thing at a time.
//!
//! # Invariants
//! - An order is tried again until it is done; each may be carried out twice.

use std::time::Duration;

use store_env::task::TaskResult;
use store_handle::{Handle, Member, MemberId, MembershipChange, ProposeError};
use tokio_util::sync::CancellationToken;

use crate::member;
use crate::workload::Seat;
use crate::world::{self, World};

/// How often a client looks for orders.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Add(MemberId),
    Remove(MemberId),
    /// Adds a member that was removed, which must be refused.
    Return(MemberId),
    HandOver,
}

enum Done {
    Yes,
    Again,
    Wrong(String),
}

pub(crate) async fn run(seat: Seat, life: u32, stop: CancellationToken) -> TaskResult {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let Some(order) = take(&mut seat.world.lock(), seat.member, life) else { continue };
        let done = tokio::select! {
            biased;
            () = stop.cancelled() => Done::Again,
            done = carry_out(&*seat.handle, order) => done,
        };
        let mut world = seat.world.lock();
        world.order_under_way = None;
        match done {
            Done::Yes => finish(&mut world, order),
            Done::Again => world.orders.push_front(order),
            Done::Wrong(reason) => world.violations.push(reason),
        }
    }
}

/// The next order, unless somebody who lives carries one out; only members take any.
fn take(world: &mut World, member: MemberId, life: u32) -> Option<Order> {
    if let Some((other, its_life, order)) = world.order_under_way {
        let is_alive = world.stores.contains_key(&other)
            && world.starts.get(&other).is_some_and(|life| *life == its_life);
        if is_alive {
            return None;
        }
        world.orders.push_front(order);
        world.order_under_way = None;
    }
    if !world.members.contains(&member) {
        return None;
    }
    let order = world.orders.pop_front()?;
    world.order_under_way = Some((member, life, order));
    Some(order)
}

fn finish(world: &mut World, order: Order) {
    world.note(world::now(), format_args!("done: {order:?}"));
    match order {
        Order::Add(id) => {
            world.members.insert(id);
            world.count("members added");
        }
        Order::Remove(id) => {
            world.members.remove(&id);
            world.removed.insert(id);
            world.count("members removed");
        }
        Order::Return(_) => world.count("returns refused"),
        Order::HandOver => world.count("hand-overs"),
    }
}

async fn carry_out(handle: &dyn Handle, order: Order) -> Done {
    let outcome = match order {
        Order::Add(id) | Order::Return(id) => {
            let member = Member { is_voter: false, ..member::about(id) };
            handle.change_membership(MembershipChange::Add(member)).await
        }
        Order::Remove(id) => handle.change_membership(MembershipChange::Remove(id)).await,
        Order::HandOver => handle.transfer_leadership(None).await,
    };
    match (order, outcome) {
        (Order::Return(id), Ok(())) => {
            Done::Wrong(format!("member {id} was removed, and is let in again"))
        }
        (Order::Return(_), Err(ProposeError::NotProposed { reason }))
            if reason.contains("removed") =>
        {
            Done::Yes
        }
        (_, Ok(())) => Done::Yes,
        // Somebody else leads by now, or nobody does.
        (Order::HandOver, Err(_)) => Done::Yes,
        (_, Err(_)) => Done::Again,
    }
}
