//! What nodes and clients did and saw: what the checks of Kubernetes go by, besides the store's whole history.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use store_handle::Revision;

/// A write of a controller or the scheduler, fenced to its term, that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedReply {
    pub term: u64,
    pub revision: Revision,
}

/// A pod's containers on a node, from when they started until they had stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub node: String,
    /// namespace/name.
    pub pod: String,
    pub uid: String,
    pub from_us: u64,
    pub until_us: Option<u64>,
}

/// An answer of a master that told a resourceVersion: of a write, or of a read that asked for the newest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub client: u64,
    pub called_us: u64,
    pub returned_us: u64,
    pub version: Revision,
    pub is_read: bool,
}

/// A node that no master heard for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub node: String,
    pub from_us: u64,
    pub until_us: Option<u64>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Story {
    pub fenced: Vec<FencedReply>,
    /// All that masters were asked to put, whether it was heard to be done or not: fingerprint, and the term to
    /// which it was fenced.
    pub puts: Vec<(u64, Option<u64>)>,
    pub runs: Vec<Run>,
    pub sightings: Vec<Sighting>,
    pub silences: Vec<Silence>,
    /// Creates that were asked for, by the mark that each carries: how often they were sent by the client.
    pub creates: BTreeMap<String, Create>,
    /// When all faults were over.
    pub healed_us: Option<u64>,
}

/// What tells a put from others.
pub(crate) fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

/// A create as a client asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// The client repeats it until it is told that the object is there.
    pub is_retried: bool,
    /// It was told so.
    pub is_acknowledged: bool,
}
