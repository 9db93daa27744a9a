//! What lists tell that no watch told: objects that went while nobody watched.
//!
//! A master that has no memory that far back ends a watch, and it begins again with a list. If that befalls everybody at
//! a time, as when all are killed, what went meanwhile is told by being missing from the list, and what was written only
//! by who wrote it.

use std::collections::{BTreeMap, BTreeSet};

use chaos::history::{History, Outcome, Sight, Write};
use chaos::kube::workload::REGISTER;
use serde_json::json;
use store_handle::Revision;

/// A list by which a watch began.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) prefix: &'static str,
    pub(crate) after: Revision,
    pub(crate) keys: BTreeSet<String>,
}

/// Between which revisions anybody watched keys with a prefix.
#[derive(Debug, Default)]
struct Covered<'a>(BTreeMap<&'a str, Vec<(Revision, Revision)>>);

impl<'a> Covered<'a> {
    fn of(history: &'a History) -> Self {
        let mut by_watcher: BTreeMap<u32, (&str, Revision, Revision)> = BTreeMap::new();
        let mut all = Self::default();
        for watched in &history.watched {
            let prefix = watched.prefix.as_str();
            match &watched.sight {
                Sight::Begins { after } => {
                    let ended = by_watcher.insert(watched.watcher, (prefix, *after, *after));
                    all.add(ended);
                }
                Sight::Events { revision, .. } | Sight::Progress { revision } => {
                    if let Some((_, _, seen)) = by_watcher.get_mut(&watched.watcher) {
                        *seen = *revision;
                    }
                }
            }
        }
        by_watcher.into_values().for_each(|last| all.add(Some(last)));
        all
    }

    fn add(&mut self, span: Option<(&'a str, Revision, Revision)>) {
        if let Some((prefix, after, seen)) = span {
            self.0.entry(prefix).or_default().push((after, seen));
        }
    }

    /// The first revision after this one that nobody was told of.
    fn first_unseen(&self, prefix: &str, after: Revision) -> Revision {
        let spans = self.0.get(prefix).map_or(&[][..], Vec::as_slice);
        let mut first = after + 1;
        while let Some((_, seen)) = spans.iter().find(|it| it.0 < first && first <= it.1) {
            first = seen + 1;
        }
        first
    }

    fn is_seen(&self, key: &str, revision: Revision) -> bool {
        let prefix = self.0.keys().find(|prefix| key.starts_with(**prefix));
        prefix.is_none_or(|prefix| self.first_unseen(prefix, revision - 1) != revision)
    }
}

/// What went, and when: not after the first list that tells so, and, but for namespaces, which go last, as early as
/// nobody watched. If somebody always did, it is no gap, and the check of watches says so.
pub(crate) fn gaps(history: &History, lists: &[Listed]) -> Vec<(Revision, Write)> {
    let covered = Covered::of(history);
    let mut lists: Vec<_> = lists.iter().collect();
    lists.sort_by_key(|listed| listed.after);
    let mut changes = history.changes.values().peekable();
    let mut there: BTreeMap<&str, Revision> = BTreeMap::new();
    let mut gaps = Vec::new();
    for listed in lists {
        while let Some(change) = changes.next_if(|change| change.revision <= listed.after) {
            for Write { key, value } in &change.writes {
                match value {
                    Some(_) => there.insert(key, change.revision),
                    None => there.remove(&**key),
                };
            }
        }
        let is_gone = |key: &str| key.starts_with(listed.prefix) && !listed.keys.contains(key);
        for (key, told) in there.extract_if(.., |key, _| is_gone(key)) {
            let unseen = covered.first_unseen(listed.prefix, told);
            let is_last = listed.prefix.ends_with("/namespaces/");
            let at = if is_last { listed.after } else { unseen.min(listed.after) };
            gaps.push((at, Write { key: key.to_owned(), value: None }));
        }
        // It was there then, too.
        for (_, told) in there.iter_mut().filter(|(key, _)| key.starts_with(listed.prefix)) {
            *told = listed.after;
        }
    }
    gaps
}

/// Registers that were written while nobody watched, as those were told who wrote them.
pub(crate) fn acknowledged(history: &History) -> Vec<(Revision, Write)> {
    let covered = Covered::of(history);
    let unseen = history.operations.iter().filter_map(|operation| {
        let Outcome::Wrote { revision } = operation.outcome else { return None };
        let (key, value) = (&operation.key, operation.action.value()?);
        let told = history.changes.get(&revision).map_or(&[][..], |it| &it.writes);
        if covered.is_seen(key, revision) || told.iter().any(|write| write.key == *key) {
            return None;
        }
        let object = json!({"data": {REGISTER: value.to_string()}});
        Some((revision, Write { key: key.clone(), value: Some(object.to_string()) }))
    });
    unseen.collect()
}

#[cfg(test)]
mod tests {
    use chaos::history::{Action, Revised, Watched};

    use super::*;

    /// `a5` puts a at revision 5, `-a6` deletes it; `7:ab` is a list as of 7; `3~6` somebody watched after 3 up to 6;
    /// `a5!` it was acknowledged, and no watch told.
    fn history(story: &str) -> (History, Vec<Listed>) {
        let (mut history, mut lists) = (History::default(), Vec::new());
        for (watcher, word) in (1..).zip(story.split_whitespace()) {
            if let Some((after, keys)) = word.split_once(':') {
                let keys = keys.chars().map(|key| format!("k/{key}")).collect();
                lists.push(Listed { prefix: "k/", after: after.parse().unwrap(), keys });
                continue;
            }
            if let Some((after, seen)) = word.split_once('~') {
                let mut see =
                    |sight| history.watched.push(Watched { watcher, prefix: "k/".into(), sight });
                see(Sight::Begins { after: after.parse().unwrap() });
                see(Sight::Progress { revision: seen.parse().unwrap() });
                continue;
            }
            let (word, value) = match word.strip_prefix('-') {
                Some(word) => (word, None),
                None => (word, Some("{}".to_owned())),
            };
            let (key, revision) = word.split_at(1);
            let key = format!("k/{key}");
            if let Some(revision) = revision.strip_suffix('!') {
                let at = history.call(1, key, Action::Put { value: 77 }, 0);
                history.answer(at, Outcome::Wrote { revision: revision.parse().unwrap() }, 1);
                continue;
            }
            let revision = revision.parse().unwrap();
            let writes = vec![Write { key, value }];
            history.changes.insert(revision, Revised { revision, seen_us: 0, writes });
        }
        (history, lists)
    }

    fn told(gaps: &[(Revision, Write)]) -> String {
        let words: Vec<_> =
            gaps.iter().map(|(revision, write)| format!("{}{revision}", &write.key[2..])).collect();
        words.join(" ")
    }

    #[test]
    fn what_a_list_misses_has_gone_unless_a_watch_told_so_or_it_came_later() {
        #[rustfmt::skip]
        let cases = [
            ("a5 b6 7:ab",         "",    "all of it is there"),
            ("a5 b6 9:b 12:b",     "a6",  "it went as early as it could"),
            ("a5 3~7 9:",          "a8",  "not while somebody watched"),
            ("a5 3~7 6~12 9:",     "a9",  "somebody always watched, and was not told: a list differs from watches"),
            ("a5 -a6 9:",          "",    "a watch told"),
            ("a5 9: a11 12:a",     "a6",  "it came again"),
            ("a10 9:",             "",    "it came after the list"),
            ("a5 12: 9:a",         "a10", "lists come in any order, and it was there by the first of them"),
        ];
        for (story, gone, what) in cases {
            let (history, lists) = history(story);
            assert_eq!(told(&gaps(&history, &lists)), gone, "{what}");
        }
    }

    #[test]
    fn write_that_nobody_could_see_is_as_it_was_acknowledged_and_no_other() {
        let run = |story| told(&acknowledged(&history(story).0));
        assert_eq!(run("3~6 a7! 8~12"), "a7");
        assert_eq!(run("3~7 a7! 8~12"), "", "who watched was not told: it is lost");
        assert_eq!(run("3~6 a7! a7 8~12"), "", "a list told it");
    }
}
