//! In the end all members hold the same: equal logs give equal state.

use super::Verdict;
use crate::history::History;

pub(crate) fn check(history: &History) -> Verdict {
    let mut finals = history.finals.iter();
    // Nobody has said what the members hold.
    let Some((first, expected)) = finals.next() else { return Ok(()) };
    match finals.find(|(_, held)| *held != expected) {
        Some((other, held)) => Err(format!("{first} holds {expected:?}, {other} {held:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Final;

    #[test]
    fn member_that_differs_is_found() {
        let run = |hashes: &[u64]| {
            let one = |(id, hash): (u64, &u64)| (id, Final { revision: 1, hash: *hash });
            let finals = (1..).zip(hashes).map(one).collect();
            check(&History { finals, ..History::default() }).is_ok()
        };
        assert!(run(&[7, 7, 7]));
        assert!(!run(&[7, 7, 8]));
    }
}
