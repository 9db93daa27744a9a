//! What Go calls the types of some fields, and the types that lend their fields to others: for the messages of a decoder
//! that met the wrong thing.
//!
//! Facts (`go_names.txt`), taken from the struct tags of k8s.io/api, k8s.io/apimachinery, k8s.io/apiextensions-apiserver and
//! k8s.io/kube-aggregator v0.36: below a type by its full name, of each field that has either: its name, the types that
//! it comes through, and its own type; `-` is none. Read only when there is such a message.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What there is to know of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// `ProbeHandler.`; empty for a field of the type itself.
    pub(super) through: &'static str,
    /// `v1.RestartPolicy`; empty for a type that Go has by itself.
    pub(super) kind: &'static str,
}

/// By the owner's full name and the field's.
pub(super) fn of(owner: &str, field: &str) -> Named {
    static FACTS: OnceLock<BTreeMap<(&str, &str), Named>> = OnceLock::new();
    let facts = FACTS.get_or_init(|| {
        let mut facts = BTreeMap::new();
        let mut owner = "";
        for line in include_str!("go_names.txt").lines() {
            if !line.starts_with(' ') {
                owner = line;
                continue;
            }
            let mut words = line.split_whitespace();
            let mut word = || words.next().filter(|word| *word != "-").unwrap_or_default();
            let (field, through, kind) = (word(), word(), word());
            facts.insert((owner, field), Named { through, kind });
        }
        facts
    });
    facts.get(&(owner, field)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_their_owner() {
        let named = |through, kind| Named { through, kind };
        assert_eq!(of("io.k8s.api.core.v1.Probe", "httpGet"), named("ProbeHandler.", ""));
        assert_eq!(
            of("io.k8s.api.core.v1.PodSpec", "restartPolicy"),
            named("", "v1.RestartPolicy")
        );
        assert_eq!(of("io.k8s.api.core.v1.PodSpec", "nodeName"), Named::default());
    }
}
