//! What an expression may cost at most, before it is ever evaluated: cel-go's estimate, with what Kubernetes adds.
//!
//! Upstream refuses rules by these numbers, so they are the same to the last unit, oddities included: a path that
//! begins at what a call gives is looked up from the root, and paths share memory as slices of Go do.
//!
//! # Path
//! `custom/rules.rs` → [`super::Program::cost_max`] → expand (macros become loops) → walk (the estimate) → calls

mod calls;
mod expand;
mod path;
mod sizes;
mod walk;

pub use sizes::Sizes;

use super::Names;
use super::ast::Node;

/// What reading one unit of a text costs, and of a pattern.
const TEXT_FACTOR: f64 = 0.1;
const PATTERN_FACTOR: f64 = 0.25;
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const OBJECT_COST: u64 = 40;

/// The most that an expression costs, whose values are no larger than `sizes` says of `self` and `oldSelf`.
pub(super) fn estimate(root: &Node, names: &Names<'_>, sizes: &Sizes) -> u64 {
    let kinds = super::check::kinds(root, names);
    expand::expand(root, &kinds).map_or(u64::MAX, |(tree, count)| walk::cost(&tree, count, sizes))
}

/// How large a text, list or map is at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    min: u64,
    max: u64,
}

impl Size {
    const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    fn exactly(size: u64) -> Self {
        Self { min: size, max: size }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// What so much costs at most, by the unit.
    fn cost(self, factor: f64) -> u64 {
        by_factor(self.max, factor)
    }
}

/// Rounded up, as upstream rounds.
fn by_factor(units: u64, factor: f64) -> u64 {
    // Beyond 2^53 upstream rounds alike; a float that is too large becomes the largest number.
    (units as f64 * factor).ceil() as u64
}

#[cfg(test)]
mod tests;
