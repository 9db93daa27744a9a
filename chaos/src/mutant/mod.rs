//! Known bugs of consensus stores, put back by what a simulation hands in: disks that lie, handles that answer
//! from stale state, clocks that stand still. The checks must find each.
//!
//! # Invariants
//! - A mutation is a value that only a simulation can pass: no production code asks for one.

mod disk;
mod handle;
mod table;
mod watch;

pub(crate) use disk::{applied_only, back_to, torn, without_removed};
pub use handle::MutantHandle;
pub use table::{MUTANTS, Mutant};

use store_raft::disk::LogOp;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    LogLosesTail,
    LogForgetsVotes,
    LogPurgesTooMuch,
    FlushLies,
    InstallNotDurable,
    AppliedOutlivesData,
    TornBatch,
    ForgetsRemoved,
    ClockStandsStill,
    StaleReads,
    LeaseReads,
    OldCopy,
    RetriesUnknown,
    UnknownIsNothing,
    AcksEarly,
    DropsFence,
    KeepAliveNotProposed,
    WatchSkips,
    WatchRepeats,
    WatchSplits,
    WatchIgnoresCompaction,
    WatchReorders,
    ProgressTooEarly,
    BindsBlindly,
    IgnoresGuards,
    RepeatsGenerated,
    RemovesAtOnce,
    DropsNamespaces,
    IgnoresNamespaces,
    EvictsHastily,
    KeepsEpoch,
    ReusesRevisions,
}

impl Mutation {
    /// Whether the log's disk shows it.
    pub(crate) fn is_of_log(self) -> bool {
        matches!(self, Self::LogLosesTail | Self::LogForgetsVotes | Self::LogPurgesTooMuch)
    }

    /// Whether the state's disk shows it.
    pub(crate) fn is_of_state(self) -> bool {
        matches!(
            self,
            Self::FlushLies
                | Self::InstallNotDurable
                | Self::AppliedOutlivesData
                | Self::TornBatch
                | Self::ForgetsRemoved
        )
    }

    /// What of these operations outlives a crash.
    pub(crate) fn of_ops(self, ops: &[LogOp]) -> Vec<LogOp> {
        let each = ops.iter().cloned().filter_map(|op| match (self, op) {
            (Self::LogForgetsVotes, LogOp::Vote(_)) => None,
            (Self::LogPurgesTooMuch, LogOp::Purge { upto, mark }) => {
                Some(LogOp::Purge { upto: upto + 10, mark })
            }
            (_, op) => Some(op),
        });
        each.collect()
    }
}
