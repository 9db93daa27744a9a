//! Which of the names that definitions of one group wish for they get.
//!
//! As upstream's naming controller judges them (apiextensions-apiserver `pkg/controller/status`), but
//! within the write itself: a name that another definition holds is not accepted, and waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use master_api::{meta, time};
use serde_json::{Map, Value, json};

use crate::custom::DEFINITIONS;
use crate::strategy::Cx;

/// Type, whether it is so, reason, message.
pub(super) type Condition<'a> = (&'a str, bool, &'a str, &'a str);

/// Fills `status.acceptedNames` and the conditions that follow from it.
pub(super) fn judge(definition: &mut Value, cx: &Cx<'_>) {
    let (group, plural) = DEFINITIONS;
    let all = cx.reader.list(group, plural, None);
    let is_rival = |other: &&Arc<Value>| {
        other["spec"]["group"] == definition["spec"]["group"]
            && meta::name(other) != meta::name(definition)
    };
    let rivals: Vec<&Arc<Value>> = all.iter().filter(is_rival).collect();
    accept(definition, &rivals, cx.now);
    approve(definition, cx.now);
}

/// Takes back what this very write was given: it was judged from memory, which may lag behind the store, and a name
/// that a definition has is its own.
pub(super) fn reconsider(definition: &mut Value, old: Option<&Value>) {
    let status = meta::object_mut(definition, &["status"]);
    match old.map(|old| &old["status"]["acceptedNames"]).filter(|had| had.is_object()) {
        Some(had) => drop(status.insert("acceptedNames".to_owned(), had.clone())),
        None => drop(status.remove("acceptedNames")),
    }
    let is_established = |old: &Value| {
        condition(old, "Established").is_some_and(|condition| condition["status"] == "True")
    };
    if !old.is_some_and(is_established)
        && let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut)
    {
        conditions.retain(|condition| condition["type"] != "Established");
    }
}

fn accept(definition: &mut Value, rivals: &[&Arc<Value>], now: Timestamp) {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for rival in rivals {
        let accepted = &rival["status"]["acceptedNames"];
        resources.extend(resource_names(accepted));
        kinds.extend(kind_names(accepted));
    }
    let wanted = definition["spec"]["names"].clone();
    let had = definition["status"]["acceptedNames"].clone();
    let mut accepted = had.as_object().cloned().unwrap_or_default();
    let mut problem: Option<(&str, String)> = None;
    let mut refuse = |reason: &'static str, name: &str| {
        problem.get_or_insert((reason, format!("{name:?} is already in use")));
    };
    for (field, used, reason) in [
        ("plural", &resources, "PluralConflict"),
        ("singular", &resources, "SingularConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ] {
        let name = wanted[field].as_str().unwrap_or_default();
        if had[field] != wanted[field] && used.contains(name) {
            refuse(reason, name);
        } else {
            put(&mut accepted, field, &wanted[field]);
        }
    }
    let short = wanted["shortNames"].as_array().cloned().unwrap_or_default();
    let had_short = had["shortNames"].as_array().cloned().unwrap_or_default();
    let taken = short
        .iter()
        .filter(|name| !had_short.contains(name))
        .filter_map(Value::as_str)
        .find(|name| resources.contains(*name));
    match taken {
        Some(name) => refuse("ShortNamesConflict", name),
        None => put(&mut accepted, "shortNames", &wanted["shortNames"]),
    }
    put(&mut accepted, "categories", &wanted["categories"]);
    meta::object_mut(definition, &["status"]).insert("acceptedNames".into(), accepted.into());
    let is_accepted = problem.is_none();
    match &problem {
        Some((reason, message)) => {
            set_condition(definition, ("NamesAccepted", false, reason, message), now);
        }
        None => {
            let good = ("NamesAccepted", true, "NoConflicts", "no conflicts found");
            set_condition(definition, good, now);
        }
    }
    if is_accepted {
        let message = "the initial names have been accepted";
        set_condition(definition, ("Established", true, "InitialNamesAccepted", message), now);
    } else if condition(definition, "Established").is_none() {
        let message = "not all names are accepted";
        set_condition(definition, ("Established", false, "NotAccepted", message), now);
    }
}

fn put(accepted: &mut Map<String, Value>, field: &str, value: &Value) {
    match value {
        Value::Null => drop(accepted.remove(field)),
        value => drop(accepted.insert(field.to_owned(), value.clone())),
    }
}

/// Groups of the community are marked as approved by an annotation.
fn approve(definition: &mut Value, now: Timestamp) {
    if !is_protected(meta::text(definition, &["spec", "group"])) {
        return;
    }
    let approval = meta::annotation(definition, APPROVED).to_owned();
    let kind = "KubernetesAPIApprovalPolicyConformant";
    if approval.starts_with("unapproved") {
        let message = format!("not approved: {approval:?}");
        set_condition(definition, (kind, false, "UnapprovedAnnotation", &message), now);
    } else {
        let message = format!("approved in {approval}");
        set_condition(definition, (kind, true, "ApprovedAnnotation", &message), now);
    }
}

/// The annotation that says where a kind of a protected group was approved.
pub(super) const APPROVED: &str = "api-approved.kubernetes.io";

/// Whether a group's name belongs to the Kubernetes community.
pub(super) fn is_protected(group: &str) -> bool {
    let ends = [".k8s.io", ".kubernetes.io"].iter().any(|suffix| group.ends_with(suffix));
    ends || matches!(group, "k8s.io" | "kubernetes.io")
}

fn condition<'a>(definition: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = meta::items(definition, &["status", "conditions"]);
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// Sets a condition; the time of its last transition moves only with its status.
pub(super) fn set_condition(
    definition: &mut Value,
    (kind, is_so, reason, message): Condition<'_>,
    now: Timestamp,
) {
    let status = if is_so { "True" } else { "False" };
    let before = condition(definition, kind).filter(|before| before["status"] == status);
    let since =
        before.map_or_else(|| time::seconds(now).into(), |it| it["lastTransitionTime"].clone());
    let new = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since,
    });
    let part = meta::object_mut(definition, &["status"]);
    let conditions = part.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

fn resource_names(names: &Value) -> Vec<String> {
    let one = |field: &str| names[field].as_str().map(str::to_owned);
    let short = names["shortNames"].as_array().into_iter().flatten();
    let short = short.filter_map(|name| name.as_str().map(str::to_owned));
    [one("plural"), one("singular")].into_iter().flatten().chain(short).collect()
}

fn kind_names(names: &Value) -> Vec<String> {
    let one = |field: &str| names[field].as_str().map(str::to_owned);
    [one("kind"), one("listKind")].into_iter().flatten().collect()
}

/// The keys that stand for accepted names.
pub(super) fn keys(definition: &Value) -> BTreeSet<String> {
    let group = meta::text(definition, &["spec", "group"]);
    let accepted = &definition["status"]["acceptedNames"];
    let place = |what: &str, name: String| format!("/registry/ranges/custom/{group}/{what}/{name}");
    let resources = resource_names(accepted).into_iter().map(|name| place("names", name));
    let kinds = kind_names(accepted).into_iter().map(|name| place("kinds", name));
    resources.chain(kinds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, plural: &str, kind: &str, short: &[&str]) -> Value {
        let names = json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": short});
        json!({"metadata": {"name": name}, "spec": {"group": "acme.io", "names": names}})
    }

    fn conditions(definition: &Value) -> Vec<String> {
        let shown = |c: &Value| {
            let text = |field: &str| c[field].as_str().unwrap_or_default().to_owned();
            format!("{}={} {}", text("type"), text("status"), text("reason"))
        };
        meta::items(definition, &["status", "conditions"]).iter().map(shown).collect()
    }

    #[test]
    fn a_name_that_turns_out_to_be_taken_is_not_kept_from_the_first_look() {
        let now = Timestamp::UNIX_EPOCH;
        let mut first = definition("a", "widgets", "Widget", &["w"]);
        accept(&mut first, &[], now);
        let first = Arc::new(first);
        let mut second = definition("b", "widgets", "Gadget", &[]);
        accept(&mut second, &[], now); // the first is not in memory yet
        reconsider(&mut second, None);
        accept(&mut second, &[&first], now);
        let refused = ["NamesAccepted=False PluralConflict", "Established=False NotAccepted"];
        assert_eq!(conditions(&second), refused);
        assert!(keys(&second).is_disjoint(&keys(&first)));
        // What it had before the write stays its own.
        let mut again = (*first).clone();
        reconsider(&mut again, Some(&first));
        assert_eq!(again, *first);
    }

    #[test]
    fn names_go_to_the_first_and_the_second_waits() {
        let now = Timestamp::UNIX_EPOCH;
        let mut first = definition("a", "widgets", "Widget", &["w"]);
        accept(&mut first, &[], now);
        let good = ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"];
        assert_eq!(conditions(&first), good);
        let first = Arc::new(first);
        #[rustfmt::skip]
        let cases = [
            (definition("b", "gadgets", "Gadget", &["w"]),  "ShortNamesConflict"),
            (definition("b", "gadgets", "Widget", &[]),     "SingularConflict"),
            (definition("b", "widget", "Gadget", &[]),      "PluralConflict"),
        ];
        for (mut second, reason) in cases {
            accept(&mut second, &[&first], now);
            let expected = [
                format!("NamesAccepted=False {reason}"),
                "Established=False NotAccepted".to_owned(),
            ];
            assert_eq!(conditions(&second), expected);
            accept(&mut second, &[], now);
            assert_eq!(conditions(&second), good, "once the name is free");
        }
    }

    #[test]
    fn a_name_that_was_accepted_stays() {
        let now = Timestamp::UNIX_EPOCH;
        let mut ours = definition("a", "widgets", "Widget", &[]);
        accept(&mut ours, &[], now);
        let was = ours.clone();
        let mut rival = definition("b", "gadgets", "Gadget", &["g"]);
        accept(&mut rival, &[], now);
        ours["spec"]["names"]["shortNames"] = json!(["g"]);
        accept(&mut ours, &[&Arc::new(rival)], now);
        assert_eq!(ours["status"]["acceptedNames"], was["status"]["acceptedNames"]);
        assert_eq!(
            conditions(&ours),
            ["NamesAccepted=False ShortNamesConflict", "Established=True InitialNamesAccepted"]
        );
    }
}
