//! What only the program around the store knows, and the API tells.

use std::collections::BTreeMap;
use std::fmt::Debug;

use store_handle::MemberId;
use store_handle::figures::{Counts, Exchanged};

/// Durations, counted in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// Upper bounds in seconds, and how many are within that bound and beyond the one before.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    pub sum_s: f64,
}

/// What only the program around the store knows.
pub trait Facts: Debug + Send + Sync + 'static {
    /// Bytes of the state's database.
    fn db_bytes(&self) -> u64;

    /// Of these, bytes of what is not deleted; an estimate.
    fn db_live_bytes(&self) -> u64;

    /// What [`Facts::db_bytes`] may become: the quota, or what the disk has room for.
    fn db_bytes_max(&self) -> u64;

    /// Gives the space of what was deleted back to the file system. Takes as long as there is much to rewrite.
    fn reclaim(&self) -> std::io::Result<()>;

    /// How long syncs of the log took.
    fn sync_durations(&self) -> Durations;

    /// How long it took to apply what came together, and to write it to the state's database.
    fn apply_durations(&self) -> Durations;

    /// How long the other members take to answer.
    fn round_trips(&self) -> BTreeMap<MemberId, Durations>;

    /// Syncs of the log so far, and the operations that they covered.
    fn syncs(&self) -> (u64, u64);

    /// What else was counted since this process started.
    fn figures(&self) -> Figures;
}

/// What the store counts.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub counts: Counts,
    /// With each other member.
    pub exchanged: BTreeMap<MemberId, Exchanged>,
    /// How often it took longer than it should to apply what came together.
    pub slow_applies: u64,
    /// Bytes that were written to the log.
    pub log_bytes: u64,
}
