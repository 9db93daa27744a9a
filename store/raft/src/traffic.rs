//! What was exchanged with another member, counted for the figures.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use store_handle::figures::{Exchanged, Snapshots};

use crate::proto::Frame;

/// What is exchanged with one member, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    sent_failures: AtomicU64,
    received_failures: AtomicU64,
    heartbeat_failures: AtomicU64,
    snapshots_sent: AtomicU64,
    snapshot_send_failures: AtomicU64,
    snapshots_received: AtomicU64,
    snapshot_receive_failures: AtomicU64,
    disconnections: AtomicU64,
    is_connected: AtomicBool,
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Traffic {
    /// On its way; whether it arrives is seen by the answer.
    pub(crate) fn sent(&self, frame: &Frame) {
        self.sent_bytes.fetch_add(frame.data.len() as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, frame: &Frame) {
        self.received_bytes.fetch_add(frame.data.len() as u64, Ordering::Relaxed);
        if !self.is_connected.load(Ordering::Relaxed) {
            self.is_connected.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn send_failed(&self) {
        one(&self.sent_failures);
        if self.is_connected.swap(false, Ordering::Relaxed) {
            one(&self.disconnections);
        }
    }

    pub(crate) fn receive_failed(&self) {
        one(&self.received_failures);
    }

    pub(crate) fn heartbeat_failed(&self) {
        one(&self.heartbeat_failures);
    }

    pub(crate) fn snapshot_sent(&self, is_done: bool) {
        one(if is_done { &self.snapshots_sent } else { &self.snapshot_send_failures });
    }

    pub(crate) fn snapshot_received(&self, is_done: bool) {
        one(if is_done { &self.snapshots_received } else { &self.snapshot_receive_failures });
    }

    pub(crate) fn now(&self) -> Exchanged {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Exchanged {
            sent_bytes: load(&self.sent_bytes),
            received_bytes: load(&self.received_bytes),
            sent_failures: load(&self.sent_failures),
            received_failures: load(&self.received_failures),
            heartbeat_failures: load(&self.heartbeat_failures),
            snapshots: Snapshots {
                sent: load(&self.snapshots_sent),
                send_failures: load(&self.snapshot_send_failures),
                received: load(&self.snapshots_received),
                receive_failures: load(&self.snapshot_receive_failures),
            },
            disconnections: load(&self.disconnections),
            is_connected: self.is_connected.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_lost_once_until_it_is_heard_again() {
        let traffic = Traffic::default();
        let frame = Frame { data: vec![0; 7].into() };
        traffic.send_failed();
        assert_eq!(traffic.now().disconnections, 0, "it was never there");
        traffic.sent(&frame);
        traffic.received(&frame);
        assert!(traffic.now().is_connected);
        (0..3).for_each(|_| traffic.send_failed());
        let now = traffic.now();
        assert!(!now.is_connected);
        assert_eq!((now.sent_failures, now.disconnections), (4, 1));
        assert_eq!((now.sent_bytes, now.received_bytes), (7, 7));
    }
}
