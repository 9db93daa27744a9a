//! What a member counts for the figures: what it has applied, and exchanged with the others, since its process
//! started.

use store_mvcc::types::{Change, Error, EventKind, OpReply, Reply, TxnReply};

/// What was applied here, and swept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Steps of transactions; a put outside of one counts as one.
    pub ranges: u64,
    pub puts: u64,
    pub deletes: u64,
    /// Transactions of more than one step.
    pub txns: u64,
    /// Bytes of keys and values that were put.
    pub put_bytes: u64,
    pub leases_granted: u64,
    /// Those that expired too.
    pub leases_revoked: u64,
    pub leases_renewed: u64,
    pub leases_expired: u64,
    /// Records of compacted versions that were deleted.
    pub swept: u64,
    /// When some were the last time, in milliseconds since the Unix epoch.
    pub swept_unix_ms: u64,
}

impl Counts {
    /// Counts what a command was answered.
    pub fn note(&mut self, reply: &Result<Reply, Error>) {
        match reply {
            Ok(Reply::Txn(reply)) => {
                if self.steps(reply) > 1 {
                    self.txns += 1;
                }
            }
            Ok(Reply::LeaseGranted { .. }) => self.leases_granted += 1,
            Ok(Reply::LeaseRevoked { .. }) => self.leases_revoked += 1,
            Ok(Reply::LeaseKeptAlive { ttl_s, .. }) => self.leases_renewed += u64::from(*ttl_s > 0),
            Ok(Reply::LeasesExpired { count, .. }) => {
                self.leases_expired += *count as u64;
                self.leases_revoked += *count as u64;
            }
            // A compaction is counted where its records are deleted; what is refused does nothing.
            Ok(Reply::Compacted { .. }) | Err(_) => {}
        }
    }

    fn steps(&mut self, reply: &TxnReply) -> u64 {
        let mut steps = 0;
        for step in &reply.replies {
            steps += match step {
                OpReply::Range(_) => add(&mut self.ranges),
                OpReply::Put { .. } => add(&mut self.puts),
                OpReply::Delete { .. } => add(&mut self.deletes),
                OpReply::Txn(reply) => self.steps(reply),
            };
        }
        steps
    }

    /// Counts the bytes of what was put.
    pub fn written(&mut self, changes: &[Change]) {
        let events = changes.iter().flat_map(|change| change.events.iter());
        let puts = events.filter(|event| event.kind == EventKind::Put);
        let bytes: usize = puts.map(|put| put.kv.key.len() + put.kv.value.len()).sum();
        self.put_bytes += bytes as u64;
    }
}

/// What was exchanged with one member since this process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Bytes of messages, in both directions.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Messages that were not sent, or not answered.
    pub sent_failures: u64,
    /// Messages that came and could not be read, and streams that broke.
    pub received_failures: u64,
    /// Heartbeats among [`Exchanged::sent_failures`].
    pub heartbeat_failures: u64,
    pub snapshots: Snapshots,
    /// How often it was lost after it had been there.
    pub disconnections: u64,
    /// Whether it was there the last time that something was exchanged.
    pub is_connected: bool,
}

/// Snapshots that were exchanged with one member, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    pub sent: u64,
    pub send_failures: u64,
    pub received: u64,
    pub receive_failures: u64,
}

fn add(counter: &mut u64) -> u64 {
    *counter += 1;
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_and_transactions_of_several() {
        let put = || OpReply::Put { prev: None };
        let txn = |replies| TxnReply { replies, ..TxnReply::default() };
        let nested = OpReply::Txn(txn(vec![put(), OpReply::Range(Default::default())]));
        let delete = OpReply::Delete { deleted: 2, prev: Vec::new() };
        let mut counts = Counts::default();
        for reply in [
            Ok(Reply::Txn(txn(vec![put()]))),
            Ok(Reply::Txn(txn(vec![delete, nested]))),
            Ok(Reply::LeaseKeptAlive { revision: 1, ttl_s: 0 }),
            Ok(Reply::LeasesExpired { revision: 1, count: 3 }),
            Err(Error::LeaseNotFound { id: 1 }),
        ] {
            counts.note(&reply);
        }
        let expected = Counts {
            ranges: 1,
            puts: 2,
            deletes: 1,
            txns: 1,
            leases_expired: 3,
            leases_revoked: 3,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }
}
