//! Scenarios, as data: which clients run, and what may go wrong.

use crate::fault::{
    CrashAll, CrashMachine, Fault, KillLeader, OneWay, PartitionFollower, PartitionLeader,
};
use crate::workload::{FENCED, REGISTERS, STALE_READS, Workload};

type Make = fn() -> Box<dyn Fault>;

/// What a run consists of.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub workloads: &'static [Workload],
    /// One of these comes first: each makes another member lead.
    pub first: &'static [Make],
    /// Any of these follow.
    pub then: &'static [Make],
}

const PARTITION_LEADER: Make = || Box::new(PartitionLeader::default());
const PARTITION_FOLLOWER: Make = || Box::new(PartitionFollower::default());
const ONE_WAY: Make = || Box::new(OneWay::default());
const KILL_LEADER: Make = || Box::new(KillLeader);
const CRASH_MACHINE: Make = || Box::new(CrashMachine::default());
const CRASH_ALL: Make = || Box::new(CrashAll);

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "mixed",
        workloads: &[REGISTERS, FENCED],
        first: &[PARTITION_LEADER, KILL_LEADER],
        then: &[
            PARTITION_LEADER,
            PARTITION_FOLLOWER,
            ONE_WAY,
            KILL_LEADER,
            CRASH_MACHINE,
            CRASH_ALL,
        ],
    },
    Scenario {
        name: "partitions",
        workloads: &[REGISTERS, FENCED],
        first: &[PARTITION_LEADER],
        then: &[PARTITION_LEADER, PARTITION_FOLLOWER, ONE_WAY],
    },
    Scenario {
        name: "crashes",
        workloads: &[REGISTERS, FENCED],
        first: &[KILL_LEADER],
        then: &[KILL_LEADER, CRASH_MACHINE, CRASH_ALL],
    },
    // A mutant: not one of its runs counts, but the checks must find it.
    Scenario {
        name: "mutant-stale-reads",
        workloads: &[STALE_READS],
        first: &[PARTITION_LEADER],
        then: &[PARTITION_LEADER, PARTITION_FOLLOWER],
    },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
