//! Who owns which field of an object: sets of fields, what a write changes of them, what an apply merges.
//!
//! Pure functions on values; what a type divides into comes through [`Shape`]. After upstream's
//! sigs.k8s.io/structured-merge-diff and k8s.io/apimachinery/pkg/util/managedfields.
//!
//! # Path
//! `rest/ownership.rs`, `rest/apply.rs` → [`owners`] → here

mod apply;
mod collect;
mod compare;
mod conflict;
mod entry;
mod merge;
mod remove;
mod set;
mod shape;
mod step;
mod update;
mod validate;

pub use apply::{Applied, Apply, apply};
pub use conflict::{Conflict, Conflicts};
pub use entry::{Entry, Managed, Manager, Operation, owners, same_but_times};
pub use merge::merge;
pub use set::Set;
pub use shape::{Atom, Key, Kind, Shape};
pub use update::{Scope, Update, update};
pub use validate::validate;

/// Who made an update when there are too many to name.
const ANCIENT: &str = "ancient-changes";
/// Who made everything that is there before anybody applies.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// How many entries of updates an object keeps.
const UPDATERS_MAX: usize = 10;

#[cfg(test)]
mod tests;
