//! The mutants: which bug, in which scenario, and within how many seeds it must be found.

use super::Mutation;

/// A bug that was put back.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    pub name: &'static str,
    /// What is wrong with it.
    pub title: &'static str,
    pub mutation: Mutation,
    pub scenario: &'static str,
    /// It must be found within so many.
    pub seeds: u64,
    /// The check that must find it; nothing: whichever.
    pub by: Option<&'static str>,
}

impl Mutant {
    /// This check must find it.
    const fn by(self, check: &'static str) -> Self {
        Self { by: Some(check), ..self }
    }
}

const fn mutant(
    name: &'static str,
    mutation: Mutation,
    scenario: &'static str,
    title: &'static str,
) -> Mutant {
    Mutant { name, title, mutation, scenario, seeds: 20, by: None }
}

/// Every mutant.
#[rustfmt::skip]
pub const MUTANTS: &[Mutant] = &[
    mutant("log-loses-tail", Mutation::LogLosesTail, "crashes", "the disk confirms syncs that it has not done: a crash loses entries that were acknowledged"),
    mutant("log-forgets-votes", Mutation::LogForgetsVotes, "elections", "a vote is not durable: a member votes twice in a term"),
    mutant("log-purges-too-much", Mutation::LogPurgesTooMuch, "crashes", "the log is purged beyond the snapshot"),
    mutant("flush-lies", Mutation::FlushLies, "crashes", "a snapshot is reported that is not on disk: it is older than the log after a crash"),
    mutant("install-not-durable", Mutation::InstallNotDurable, "snapshots", "an installed snapshot is lost in a crash, and the log before it is gone"),
    mutant("applied-outlives-data", Mutation::AppliedOutlivesData, "crashes", "how far was applied survives a crash, and what was applied does not"),
    mutant("torn-batch", Mutation::TornBatch, "crashes", "a batch of the state reaches the disk in part"),
    mutant("removed-member-returns", Mutation::ForgetsRemoved, "removed-member", "it is forgotten who was removed: a removed member is let in again"),
    mutant("clock-stands-still", Mutation::ClockStandsStill, "leases", "no time passes: leases live for ever"),
    mutant("stale-reads", Mutation::StaleReads, "partitions", "reads do not ask for a read index: a member that was cut off answers from the past"),
    mutant("lease-reads", Mutation::LeaseReads, "partitions", "a leader reads by its lease, which fail-over by connection passes"),
    mutant("old-copy", Mutation::OldCopy, "mixed", "a cache answers with something older than it has answered before"),
    mutant("retries-unknown", Mutation::RetriesUnknown, "mixed", "a proposal whose outcome is unknown is sent again: applied twice"),
    mutant("unknown-is-nothing", Mutation::UnknownIsNothing, "mixed", "\"nothing was done\" is said of what may have been done"),
    mutant("acks-early", Mutation::AcksEarly, "partitions", "a write is acknowledged before a majority has it"),
    mutant("drops-fence", Mutation::DropsFence, "partitions", "a controller's write is accepted after its term has ended"),
    mutant("keep-alive-not-proposed", Mutation::KeepAliveNotProposed, "leases", "a keep-alive is answered and not proposed: the lease expires early"),
    mutant("watch-skips", Mutation::WatchSkips, "watches", "a watch that resumes misses the first revision"),
    mutant("watch-repeats", Mutation::WatchRepeats, "watches", "a watch that resumes sees a revision twice"),
    mutant("watch-splits", Mutation::WatchSplits, "watches", "the events of one transaction are delivered one by one"),
    mutant("watch-reorders", Mutation::WatchReorders, "watches", "a revision is delivered after its successor"),
    mutant("watch-ignores-compaction", Mutation::WatchIgnoresCompaction, "compaction", "a watch from before a compaction goes on after it, with a gap"),
    mutant("progress-too-early", Mutation::ProgressTooEarly, "watches", "progress is told of revisions that were not delivered"),
    mutant("recover-keeps-epoch", Mutation::KeepsEpoch, "recover", "a group that was recovered is of the same epoch: members of before go on beside it"),
    mutant("recover-reuses-revisions", Mutation::ReusesRevisions, "recover", "a group that was recovered counts on where its survivor was: revisions that watchers have seen come again").by("watches"),
    mutant("kube-drops-fence", Mutation::DropsFence, "kube-late-leaders", "a controller's or the scheduler's write is accepted after its term has ended").by("terms"),
    mutant("kube-stale-cache", Mutation::StaleReads, "kube-masters", "a master answers lists from its copy without asking how old that is: versions go back from one master to the next").by("versions"),
    mutant("kube-binds-blindly", Mutation::BindsBlindly, "kube-races", "a pod is written without looking whether somebody else has: it is bound twice").by("bound-once"),
    mutant("kube-ignores-guards", Mutation::IgnoresGuards, "kube-races", "a pod is created though its quota was used up meanwhile").by("within-quota"),
    mutant("kube-repeats-generated", Mutation::RepeatsGenerated, "kube-masters", "a create of a generated name whose outcome is unknown is sent again: two objects").by("created-once"),
    mutant("kube-removes-at-once", Mutation::RemovesAtOnce, "kube-nodes", "a pod that is told to go is removed before its node has stopped it").by("one-place"),
    mutant("kube-drops-namespaces", Mutation::DropsNamespaces, "kube-namespaces", "a namespace is gone as soon as it is told to go, and what is in it stays").by("whole-namespaces"),
    mutant("kube-ignores-namespaces", Mutation::IgnoresNamespaces, "kube-namespaces", "what was let into a namespace comes into it although that has gone meanwhile").by("whole-namespaces"),
    mutant("kube-evicts-hastily", Mutation::EvictsHastily, "kube-nodes", "a node that was heard a moment ago is taken for silent").by("evictions"),
    mutant("kube-two-schedulers", Mutation::DropsFence, "kube-late-leaders", "the scheduler of a term that is over binds, too: a node is promised twice").by("within-capacity"),
];
