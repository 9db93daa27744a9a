//! Who owns which field: what every write notes in `metadata.managedFields`.
//!
//! # Path
//! `rest/create.rs`, `rest/change.rs`, `rest/patch.rs` → here → `master_api::fields`

use http::header::USER_AGENT;
use master_api::fields::{self, Managed, Manager, Scope, Update};
use master_api::meta;
use serde_json::Value;

use super::Target;
use super::change::Rules;
use super::options::MANAGER_BYTES_MAX;
use crate::call::Call;
use crate::server::Server;

/// The field of the metadata where it is noted.
const FIELD: &str = "managedFields";
/// Who has no name.
const UNKNOWN: &str = "unknown";

/// What a write makes its manager own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The fields that it changes.
    Changed,
    /// Whoever produced the object has noted it: server-side apply.
    Noted,
    /// Nothing; everything is owned as it was.
    Kept,
}

/// The name of a call's field manager: the parameter, or what the client calls itself.
fn name(call: &Call) -> String {
    if let Some(name) = call.query.get("fieldManager") {
        return name.to_owned();
    }
    let agent = call.header(USER_AGENT).split('/').next().unwrap_or_default();
    let mut name = String::new();
    for letter in agent.chars().filter(|letter| !letter.is_control()) {
        if name.len() + letter.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        name.push(letter);
    }
    if name.is_empty() { UNKNOWN.to_owned() } else { name }
}

/// What a part of this process calls itself: controllers are one manager, as in upstream's one program.
pub fn agent(user: &str) -> String {
    match user {
        "system:apiserver" => "kube-apiserver".to_owned(),
        user if user.starts_with("system:serviceaccount:kube-system:") => {
            "kube-controller-manager".to_owned()
        }
        user => user.strip_prefix("system:").unwrap_or(user).replace(':', "-"),
    }
}

/// Who writes.
pub fn manager(server: &Server, call: &Call, target: &Target, subresource: &str) -> Manager {
    Manager {
        name: name(call),
        api_version: target.resource.api_version(),
        subresource: subresource.to_owned(),
        now: server.now(),
    }
}

/// The part of an object that a write under some rules can change.
pub fn scope(target: &Target, rules: Rules) -> Scope {
    match rules {
        Rules::Whole if target.resource.strategy.shape().status => Scope::NoStatus,
        Rules::Whole | Rules::Metadata => Scope::All,
        Rules::Status if target.resource.strategy.status_carries_metadata() => {
            Scope::StatusAndMetadata
        }
        Rules::Status => Scope::Status,
    }
}

/// What an object says of its owners, taken out of it.
pub fn take(object: &mut Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|fields| fields.remove(FIELD)).unwrap_or_default()
}

/// What an object says of its owners.
pub fn of(object: &Value) -> &Value {
    &object["metadata"][FIELD]
}

/// Puts it back, or in place of what was there.
pub fn put(object: &mut Value, owners: Value) {
    meta::set(object, FIELD, owners);
}

/// Who owns what after a create.
pub fn created(target: &Target, manager: &Manager, sent: Value, new: &Value) -> Value {
    let managed = fields::owners(sent, &Value::Null, "");
    let blank = target.blank();
    let scope = scope(target, Rules::Whole);
    let has_parts = target.resource.custom.is_none();
    let write = Update { manager, scope, old: None, blank: Some(&blank), has_parts, new };
    fields::update(target.resource.schema.divided(), &write, managed).into_value()
}

/// Who owns what after an update of `old`; `sent` is what the client would have it be.
pub fn updated(
    target: &Target,
    manager: &Manager,
    rules: Rules,
    sent: Value,
    old: &Value,
    new: &Value,
) -> Value {
    let managed = fields::owners(sent, of(old), &manager.subresource);
    let (scope, has_parts) = (scope(target, rules), target.resource.custom.is_none());
    let write = Update { manager, scope, old: Some(old), blank: None, has_parts, new };
    fields::update(target.resource.schema.divided(), &write, managed).into_value()
}

/// A write that changes nothing but the times of entries changes nothing.
pub fn settle(new: &mut Value, old: &Value) {
    if of(new) == of(old) || !fields::same_but_times(of(new), of(old)) || !is_same(new, old) {
        return;
    }
    put(new, of(old).clone());
}

/// Whether two objects are equal but for their owners and their version.
fn is_same(new: &Value, old: &Value) -> bool {
    let differs = |new: &Value, old: &Value, ignored: &[&str]| {
        let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new != old };
        let keys = new.keys().chain(old.keys()).filter(|key| !ignored.contains(&key.as_str()));
        let mut keys = keys;
        keys.any(|key| new.get(key) != old.get(key))
    };
    !differs(new, old, &["metadata"])
        && !differs(&new["metadata"], &old["metadata"], &[FIELD, "resourceVersion"])
}

/// An object as appliers see it, and who owns what of it.
pub fn split(object: &Value) -> (Value, Managed) {
    let mut object = object.clone();
    let owners = take(&mut object);
    (object, Managed::stored(owners))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_process_are_called_as_upstreams_programs() {
        let check = |user: &str, expected: &str| assert_eq!(agent(user), expected);
        check("system:apiserver", "kube-apiserver");
        check("system:kube-scheduler", "kube-scheduler");
        check("system:kube-controller-manager", "kube-controller-manager");
        check("system:serviceaccount:kube-system:job-controller", "kube-controller-manager");
        check("system:master:m1", "master-m1");
        check("admin", "admin");
    }
}
