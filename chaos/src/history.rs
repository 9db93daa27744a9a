//! What clients asked and heard, and what was seen of leaders: all that checks go by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store_handle::{MemberId, Revision};

use crate::kube::story::Story;
use crate::kube::workload::REGISTER;

/// What a client asked for. Values are unique in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
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

impl Action {
    /// What it would write.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Put { value } | Self::Cas { value, .. } => Some(value),
            Self::Get => None,
        }
    }
}

/// What it heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Wrote {
        revision: Revision,
    },
    /// The key held something else.
    Differed,
    Read {
        found: Option<u64>,
    },
    /// It is certain that nothing was done.
    Nothing,
    /// Nothing is certain: no answer, or the client died.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub client: u32,
    pub key: String,
    #[serde(flatten)]
    pub action: Action,
    pub called_us: u64,
    /// `None`: it never returned.
    pub returned_us: Option<u64>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// One write that was fenced to a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedWrite {
    pub term: u64,
    pub value: u64,
    /// Set if it was acknowledged.
    pub revision: Option<Revision>,
}

/// A member that said it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lead {
    pub term: u64,
    pub member: MemberId,
}

/// What a member holds in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    pub revision: Revision,
    /// Of all its records.
    pub hash: u64,
}

/// A key that changed; without a value it was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    pub key: String,
    pub value: Option<String>,
}

impl Write {
    /// What it leaves in a register: a number under a key of the store, or in an object of Kubernetes that is one.
    pub fn register(&self) -> Option<u64> {
        let value = self.value.as_deref()?;
        if !value.starts_with('{') {
            return value.parse().ok();
        }
        let object: serde_json::Value = serde_json::from_str(value).ok()?;
        object["data"][REGISTER].as_str()?.parse().ok()
    }
}

/// Everything that one revision of the store changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revised {
    pub revision: Revision,
    /// When the first member had it.
    pub seen_us: u64,
    pub writes: Vec<Write>,
}

/// What a watching client saw, or did. It may go on on another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "saw", rename_all = "kebab-case")]
pub enum Sight {
    /// Everything after this revision is to be seen; said when it begins, and again after a compaction.
    Begins {
        after: Revision,
    },
    Events {
        revision: Revision,
        writes: Vec<Write>,
    },
    Progress {
        revision: Revision,
    },
}

/// One of the things that a watching client saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    pub watcher: u32,
    /// It watches the keys that begin with this.
    pub prefix: String,
    #[serde(flatten)]
    pub sight: Sight,
}

/// A transaction of several keys that a client asked for: it moves an amount from one account to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub client: u32,
    /// Keys, and the values that they get.
    pub writes: Vec<(String, String)>,
    pub called_us: u64,
    pub returned_us: Option<u64>,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A read of several keys at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub client: u32,
    pub called_us: u64,
    pub revision: Revision,
    /// Of all keys that begin with this.
    pub prefix: String,
    pub found: Vec<(String, String)>,
}

/// A lease of one client, and the key that hangs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub id: i64,
    pub key: String,
    pub ttl_ms: u64,
    /// When the client asked for what was last acknowledged: the grant, or a renewal.
    pub renewed_us: u64,
    /// The client revoked it, or tried to.
    pub is_revoked: bool,
    /// The key was put, for certain.
    pub is_put: bool,
}

/// All of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub fenced: Vec<FencedWrite>,
    pub transfers: Vec<Transfer>,
    pub snapshots: Vec<Snapshot>,
    pub leases: Vec<Lease>,
    pub watched: Vec<Watched>,
    pub leads: Vec<Lead>,
    /// Everything that happened to the store, as its members told it.
    pub changes: BTreeMap<Revision, Revised>,
    pub finals: BTreeMap<MemberId, Final>,
    /// By how much clocks ran wrong, at most; a lease may end so much earlier.
    pub drift_ppm: u64,
    /// What nodes and clients of Kubernetes did and saw.
    pub kube: Story,
}

impl History {
    /// Notes what a client asks; returns where its outcome goes.
    pub fn call(&mut self, client: u32, key: String, action: Action, now_us: u64) -> usize {
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
