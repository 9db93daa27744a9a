//! What clients asked and heard, and what was seen of leaders: all that checks go by.

use std::collections::BTreeMap;

use store_handle::{Change, MemberId, Revision};

/// What a client asked for. Values are unique in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Put {
        value: u64,
    },
    /// Puts if the key holds this value, or is missing.
    Cas {
        expected: Option<u64>,
        value: u64,
    },
    Get,
}

/// What it heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Wrote {
        revision: Revision,
    },
    /// The key held something else.
    Differed,
    Read {
        value: Option<u64>,
    },
    /// It is certain that nothing was done.
    Nothing,
    /// Nothing is certain: no answer, or the client died.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub client: u32,
    pub key: u32,
    pub action: Action,
    pub called_us: u64,
    /// `None`: it never returned.
    pub returned_us: Option<u64>,
    pub outcome: Outcome,
}

/// One write that was fenced to a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencedWrite {
    pub term: u64,
    pub value: u64,
    /// Set if it was acknowledged.
    pub revision: Option<Revision>,
}

/// A member that said it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lead {
    pub term: u64,
    pub member: MemberId,
}

/// What a member holds in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Final {
    pub revision: Revision,
    /// Of all its records.
    pub hash: u64,
}

/// All of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub fenced: Vec<FencedWrite>,
    pub leads: Vec<Lead>,
    /// Everything that happened to the store, as a member tells it in the end.
    pub changes: Vec<Change>,
    pub finals: BTreeMap<MemberId, Final>,
}

impl History {
    /// Notes what a client asks; returns where its outcome goes.
    pub fn call(&mut self, client: u32, key: u32, action: Action, now_us: u64) -> usize {
        let (called_us, returned_us, outcome) = (now_us, None, Outcome::Unknown);
        let operation = Operation { client, key, action, called_us, returned_us, outcome };
        self.operations.push(operation);
        self.operations.len() - 1
    }

    /// Notes what it heard.
    pub fn answer(&mut self, at: usize, outcome: Outcome, now_us: u64) {
        let operation = &mut self.operations[at];
        operation.outcome = outcome;
        operation.returned_us = Some(now_us);
    }

    /// How many operations had an outcome like this.
    pub fn count(&self, like: impl Fn(&Outcome) -> bool) -> usize {
        self.operations.iter().filter(|operation| like(&operation.outcome)).count()
    }
}
