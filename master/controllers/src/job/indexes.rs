//! Sets of a Job's indexes, as a status has them: `0-2,5`. Pure.
//!
//! A set is a list of spans, since a job may have two thousand million indexes.

use std::fmt::{self, Display, Formatter};

/// A set of indexes.
///
/// # Invariants
/// - Spans are inclusive, in order, and at least one index apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// What a text says of the indexes of a job with so many `completions`; what cannot be read of it, or is beyond
    /// them, is left out.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let span = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (from.parse::<i32>().ok()?, to.parse::<i32>().ok()?);
            (from <= to && from < completions).then_some((from, to.min(completions - 1)))
        };
        Self::of_spans(text.split(',').filter_map(span).collect())
    }

    fn of_spans(mut spans: Vec<(i32, i32)>) -> Self {
        spans.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(spans.len());
        for (from, to) in spans {
            match merged.last_mut() {
                Some((_, end)) if i64::from(from) <= i64::from(*end) + 1 => *end = to.max(*end),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// The indexes that are in one of both.
    pub(super) fn with(&self, other: &Self) -> Self {
        Self::of_spans(self.0.iter().chain(&other.0).copied().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let place = self.0.partition_point(|(_, to)| *to < index);
        self.0.get(place).is_some_and(|(from, _)| *from <= index)
    }

    pub(super) fn count(&self) -> i64 {
        self.0.iter().map(|(from, to)| i64::from(to - from) + 1).sum()
    }

    /// How many indexes are in both.
    pub(super) fn shared(&self, other: &Self) -> i64 {
        let (mut mine, mut others) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut found = 0;
        while let (Some((from, to)), Some((other_from, other_to))) = (mine.peek(), others.peek()) {
            let overlap = i64::from(*to.min(other_to)) - i64::from(*from.max(other_from)) + 1;
            found += overlap.max(0);
            if to <= other_to {
                mine.next();
            } else {
                others.next();
            }
        }
        found
    }

    /// The first indexes below `completions` that are not in it, `count_max` of them at most.
    pub(super) fn missing(&self, completions: i32, count_max: usize) -> Vec<i32> {
        let mut found = Vec::new();
        let mut next = 0;
        for (from, to) in self.0.iter().copied().chain([(completions, completions)]) {
            let end = from.min(completions);
            found.extend((next..end).take(count_max - found.len()));
            next = next.max(to.saturating_add(1));
        }
        found
    }
}

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(indexes: I) -> Self {
        Self::of_spans(indexes.into_iter().map(|index| (index, index)).collect())
    }
}

impl Display for Indexes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, (from, to)) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            match to - from {
                0 => write!(f, "{comma}{from}")?,
                1 => write!(f, "{comma}{from},{to}")?,
                _ => write!(f, "{comma}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn texts_are_read_and_written() {
        let check = |text: &str, completions: i32, expected: &str| {
            assert_eq!(Indexes::parse(text, completions).to_string(), expected, "{text}");
        };
        for text in ["", "0", "0,1", "0-2,5", "1,3,7-9"] {
            check(text, 10, text);
        }
        check("0,1,2,4-6,7", 10, "0-2,4-7");
        check("0-2,5-7,9", 6, "0-2,5");
        check("0,x,2-y,3", 6, "0,3");
        check("0-2147483646", i32::MAX, "0-2147483646");
    }

    #[test]
    fn sets_of_spans_are_sets() {
        let sets = ["", "0", "0,1", "2-4,6", "0-9", "1,3,5,7,9", "0-3,8-9"];
        let naive =
            |set: &Indexes| -> BTreeSet<i32> { (0..10).filter(|index| set.has(*index)).collect() };
        for (one, other) in sets.iter().flat_map(|one| sets.map(|other| (*one, other))) {
            let (a, b) = (Indexes::parse(one, 10), Indexes::parse(other, 10));
            let (x, y) = (naive(&a), naive(&b));
            assert_eq!(naive(&a.with(&b)), &x | &y, "{one} with {other}");
            assert_eq!(a.shared(&b), i64::try_from((&x & &y).len()).unwrap(), "{one} {other}");
            assert_eq!(a.count(), i64::try_from(x.len()).unwrap());
            let missing: Vec<i32> = (0..8).filter(|index| !x.contains(index)).take(3).collect();
            assert_eq!(a.missing(8, 3), missing, "missing of {one}");
            assert_eq!(x.iter().copied().collect::<Indexes>(), a);
        }
    }
}
