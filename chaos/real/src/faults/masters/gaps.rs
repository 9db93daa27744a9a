//! What lists tell that no watch told: objects that went while nobody watched.
//!
//! A master that has no memory that far back ends a watch, and it begins again with a list. If that befalls everybody at
//! a time, as when all are killed, what went meanwhile is told by being missing from the list.

use std::collections::{BTreeMap, BTreeSet};

use chaos::history::{Revised, Write};
use store_handle::Revision;

/// A list by which a watch began.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) prefix: &'static str,
    pub(crate) after: Revision,
    pub(crate) keys: BTreeSet<String>,
}

/// What went, and the first list that tells so. Whoever watched before that list has seen it go: then it is no gap.
pub(crate) fn gaps(
    changes: &BTreeMap<Revision, Revised>,
    lists: &[Listed],
) -> Vec<(Revision, Write)> {
    let mut lists: Vec<_> = lists.iter().collect();
    lists.sort_by_key(|listed| listed.after);
    let mut changes = changes.values().peekable();
    let mut there: BTreeSet<&str> = BTreeSet::new();
    let mut gaps = Vec::new();
    for listed in lists {
        while let Some(change) = changes.next_if(|change| change.revision <= listed.after) {
            for Write { key, value } in &change.writes {
                match value {
                    Some(_) => there.insert(key),
                    None => there.remove(&**key),
                };
            }
        }
        let is_gone = |key: &&&str| key.starts_with(listed.prefix) && !listed.keys.contains(**key);
        let gone: Vec<_> = there.iter().filter(is_gone).copied().collect();
        for key in gone {
            there.remove(key);
            gaps.push((listed.after, Write { key: key.to_owned(), value: None }));
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a5` puts a at revision 5, `-a6` deletes it; `7:ab` is a list as of 7.
    fn run(story: &str) -> String {
        let mut changes: BTreeMap<Revision, Revised> = BTreeMap::new();
        let mut lists = Vec::new();
        for word in story.split_whitespace() {
            if let Some((after, keys)) = word.split_once(':') {
                let keys = keys.chars().map(|key| format!("k/{key}")).collect();
                lists.push(Listed { prefix: "k/", after: after.parse().unwrap(), keys });
                continue;
            }
            let (word, value) = match word.strip_prefix('-') {
                Some(word) => (word, None),
                None => (word, Some("{}".to_owned())),
            };
            let (key, revision) = word.split_at(1);
            let revision = revision.parse().unwrap();
            let writes = vec![Write { key: format!("k/{key}"), value }];
            changes.insert(revision, Revised { revision, seen_us: 0, writes });
        }
        let gaps = gaps(&changes, &lists);
        let words: Vec<_> =
            gaps.iter().map(|(revision, write)| format!("{}{revision}", &write.key[2..])).collect();
        words.join(" ")
    }

    #[test]
    fn what_a_list_misses_has_gone_unless_a_watch_told_so_or_it_came_later() {
        #[rustfmt::skip]
        let cases = [
            ("a5 b6 7:ab",        "",      "all of it is there"),
            ("a5 b6 9:b 12:b",    "a9",    "it went, and the first list says so"),
            ("a5 -a6 9:",         "",      "a watch told"),
            ("a5 9: a11 12:a",    "a9",    "it came again"),
            ("a10 9:",            "",      "it came after the list"),
            ("a5 12: 9:a",        "a12",   "lists come in any order"),
        ];
        for (story, gone, what) in cases {
            assert_eq!(run(story), gone, "{what}");
        }
    }
}
