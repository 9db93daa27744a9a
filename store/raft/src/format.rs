//! Which version of entries a group writes: the latest that all of its members read.
//!
//! A member says in a label what it reads. Labels are in the log, so that all who have applied the same agree; one
//! that says nothing reads version 1. An old member that is replaced or removed raises the version by that;
//! a new member that reads less lowers it, but cannot read what was written before it came.

use std::collections::BTreeMap;

use store_mvcc::codec::FormatVersion;

use crate::types::Membership;

/// The label.
const READS: &str = "reads-format";

/// Puts what this member reads among its labels.
pub(crate) fn announce(reads: FormatVersion, labels: &mut BTreeMap<String, String>) {
    match reads {
        0..=1 => drop(labels.remove(READS)),
        later => drop(labels.insert(READS.into(), later.to_string())),
    }
}

/// What the members have agreed on.
pub(crate) fn agreed(membership: &Membership) -> FormatVersion {
    let reads = |labels: &BTreeMap<String, String>| labels.get(READS)?.parse().ok();
    let all = membership.membership().nodes().map(|(_, node)| reads(&node.labels).unwrap_or(1));
    all.min().unwrap_or(1)
}
