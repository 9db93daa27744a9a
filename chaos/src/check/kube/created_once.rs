//! A create makes one object, however often it was sent: repeated under one name by whoever did not hear the
//! outcome, and of a generated name never again by anybody on the way.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::Verdict;
use crate::history::History;
use crate::kube::objects::{CONFIG_MAPS, text, versions};

pub(crate) fn check(history: &History) -> Verdict {
    let mut made: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for version in versions(history, CONFIG_MAPS) {
        let Some(object) = &version.object else { continue };
        let (mark, uid) = (text(object, &["data", "mark"]), text(object, &["metadata", "uid"]));
        if !mark.is_empty() {
            made.entry(mark.to_owned()).or_default().insert(uid.to_owned());
        }
    }
    for (mark, create) in &history.kube.creates {
        let count = made.get(mark).map_or(0, BTreeSet::len);
        if count > 1 {
            return Err(format!("one create, {mark} ({create:?}), made {count} objects"));
        }
        if count == 0 && create.is_acknowledged {
            return Err(format!("create {mark} was acknowledged, and made nothing"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::kube::tests::objects;
    use crate::kube::story::Create;

    #[test]
    fn object_that_was_made_twice_or_not_at_all_is_found() {
        let run = |uids: &[&str], is_acknowledged| {
            let object = |uid: &&str| {
                let object = json!({"metadata": {"uid": uid}, "data": {"mark": "m"}});
                (format!("{CONFIG_MAPS}default/{uid}"), object, 0)
            };
            let mut history = objects(uids.iter().map(object));
            let create = Create { is_retried: false, is_acknowledged };
            history.kube.creates.insert("m".into(), create);
            check(&history).is_ok()
        };
        assert!(run(&["1", "1"], true) && run(&[], false) && run(&["1"], false));
        assert!(!run(&["1", "2"], true));
        assert!(!run(&[], true));
    }
}
