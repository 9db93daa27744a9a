//! A namespace goes last: when it is gone all that was in it is gone, and nothing comes into it afterwards.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Verdict;
use crate::history::History;
use crate::kube::objects::NAMESPACES;

pub(crate) fn check(history: &History) -> Verdict {
    let mut there: BTreeSet<String> = BTreeSet::new();
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (revision, change) in &history.changes {
        for write in &change.writes {
            if let Some(name) = write.key.strip_prefix(NAMESPACES) {
                if write.value.is_some() {
                    there.insert(name.to_owned());
                    gone.remove(name);
                } else if there.remove(name) {
                    gone.insert(name.to_owned());
                    let left = held.get(name).and_then(|keys| keys.first());
                    if let Some(key) = left {
                        return Err(format!(
                            "revision {revision} removes namespace {name}, which holds {key}"
                        ));
                    }
                }
            } else if let Some(namespace) = namespace_of(&write.key) {
                let keys = held.entry(namespace.to_owned()).or_default();
                if write.value.is_none() {
                    keys.remove(&write.key);
                    continue;
                }
                keys.insert(write.key.clone());
                if gone.contains(namespace) {
                    let key = &write.key;
                    return Err(format!(
                        "revision {revision} puts {key} into a namespace that is gone"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// `/registry/<group>/<plural>/<namespace>/<name>`
fn namespace_of(key: &str) -> Option<&str> {
    let mut parts = key.strip_prefix("/registry/")?.splitn(4, '/');
    let namespace = parts.nth(2)?;
    parts.next().map(|_name| namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::kube::tests::objects;

    #[test]
    fn what_outlives_its_namespace_is_found() {
        let (space, map) = ("/registry/core/namespaces/a", "/registry/core/configmaps/a/m");
        let run = |story: &[(&str, bool)]| {
            let write = |(key, is_there): &(&str, bool)| {
                let object = if *is_there { json!({}) } else { Value::Null };
                ((*key).to_owned(), object, 0)
            };
            check(&objects(story.iter().map(write))).is_ok()
        };
        assert!(run(&[(space, true), (map, true), (map, false), (space, false)]));
        assert!(run(&[(space, true), (space, false), (space, true), (map, true)]));
        assert!(!run(&[(space, true), (map, true), (space, false)]));
        assert!(!run(&[(space, true), (space, false), (map, true)]));
    }
}
