//! A failing seed made smaller: which of its faults are enough for it to fail in the same way.
//!
//! A seed's faults are numbered as they come. One that is left out takes its time and does nothing. Those after it
//! then draw differently: it is played, and not supposed, whether the seed still fails.
//!
//! # Invariants
//! - What is returned was seen to fail.
//! - So many plays and no more are made.

use std::collections::BTreeSet;
use std::io;

/// Plays at most: a seed takes seconds.
const PLAYS_MAX: usize = 40;

/// The smallest set of faults that was found to be enough, of `total` that were seen to be; `None` if none can be
/// left out. `fails` plays the seed with these only.
pub fn search(
    total: usize,
    mut fails: impl FnMut(&BTreeSet<usize>) -> io::Result<bool>,
) -> io::Result<Option<BTreeSet<usize>>> {
    let mut enough: BTreeSet<usize> = (1..=total).collect();
    let mut plays = 0;
    let mut is_enough = |faults: &BTreeSet<usize>| {
        plays += 1;
        Ok::<_, io::Error>(plays <= PLAYS_MAX && fails(faults)?)
    };
    // Those that came after it was wrong already.
    let (mut too_few, mut last) = (0, total);
    if is_enough(&BTreeSet::new())? {
        return Ok(Some(BTreeSet::new()));
    }
    while last - too_few > 1 {
        let middle = usize::midpoint(too_few, last);
        let first: BTreeSet<usize> = (1..=middle).collect();
        if is_enough(&first)? {
            (enough, last) = (first, middle);
        } else {
            too_few = middle;
        }
    }
    // Of the others each by itself, the latest first: what comes before it is then as it was.
    for number in (1..last).rev() {
        let mut fewer = enough.clone();
        fewer.remove(&number);
        if is_enough(&fewer)? {
            enough = fewer;
        }
    }
    Ok(Some(enough).filter(|enough| enough.len() < total))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (usize, &'static [usize], Option<&'static [usize]>);

    /// What is found of `total` faults if all of `needed` are; and in how many plays.
    fn found(total: usize, needed: &[usize]) -> (Option<Vec<usize>>, usize) {
        let mut plays = 0;
        let fails = |faults: &BTreeSet<usize>| {
            plays += 1;
            Ok(needed.iter().all(|number| faults.contains(number)))
        };
        let enough = search(total, fails).unwrap();
        (enough.map(|faults| faults.into_iter().collect()), plays)
    }

    #[test]
    fn what_is_needed_is_found_and_nothing_else() {
        #[rustfmt::skip]
        let cases: [Case; 8] = [
            (8, &[2, 5],    Some(&[2, 5])),
            (8, &[8],       Some(&[8])),
            (8, &[1],       Some(&[1])),
            (8, &[],        Some(&[])),
            (3, &[1, 2, 3], None),
            (1, &[1],       None),
            (0, &[],        Some(&[])),
            (20, &[3, 19],  Some(&[3, 19])),
        ];
        for (total, needed, expected) in cases {
            let (enough, plays) = found(total, needed);
            assert_eq!(enough.as_deref(), expected, "{needed:?} of {total}");
            assert!(plays <= PLAYS_MAX);
        }
    }

    #[test]
    fn it_ends_when_there_were_enough_plays_and_what_it_says_was_seen() {
        let (enough, plays) = found(500, &[7, 400]);
        let enough = enough.unwrap();
        assert!(enough.contains(&7) && enough.contains(&400) && enough.len() < 500);
        assert_eq!(plays, PLAYS_MAX);
    }
}
