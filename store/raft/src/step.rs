//! Entries as the state machine takes them: read, and not yet applied.

use store_handle::Batch;
use store_mvcc::State;

use crate::types::{LogId, Membership};

/// An entry, read.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) id: LogId,
    pub(crate) what: What,
}

/// What it is to the state machine.
#[derive(Debug)]
pub(crate) enum What {
    Nothing,
    Members(Membership),
    Commands(Batch),
}

impl Step {
    /// Whether it is certain to be applied to this state quickly, and without a look at the disk.
    pub(crate) fn is_short(&self, state: &State, is_watched: bool) -> bool {
        match &self.what {
            What::Nothing | What::Members(_) => true,
            What::Commands(batch) => state.is_short(batch, is_watched),
        }
    }
}
