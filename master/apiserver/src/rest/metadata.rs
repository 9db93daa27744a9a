//! Metadata that belongs to the server: uid, timestamps, generated names, finalizers of deletion.

use jiff::{SignedDuration, Timestamp};
use master_api::status::ApiError;
use master_api::{meta, time};
use serde_json::{Value, json};

use super::Target;
use crate::filter::request_id::new_uid;

/// What generated names end in: no vowels, nothing that looks like something else.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
const GENERATED_MAX: usize = 63;

/// The finalizer that lets dependents be deleted before their owner.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that lets dependents be orphaned before their owner goes.
pub const ORPHAN: &str = "orphan";

/// A name that begins with `base`; drawn anew each time.
pub fn generate_name(base: &str) -> String {
    let mut kept = base.len().min(GENERATED_MAX - SUFFIX);
    while !base.is_char_boundary(kept) {
        kept -= 1;
    }
    let mut bits = store_env::rng::draw();
    let mut name = base[..kept].to_owned();
    for _ in 0..SUFFIX {
        let count = LETTERS.len() as u64;
        name.push(char::from(LETTERS[usize::try_from(bits % count).unwrap_or(0)]));
        bits /= count;
    }
    name
}

/// An object says the namespace of the path, or none; where there are none, it may say any.
pub fn same_namespace(object: &Value, target: &Target) -> Result<(), ApiError> {
    let namespace = meta::namespace(object);
    if namespace.is_empty() || namespace == target.namespace || !target.resource.namespaced {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// An object's name and namespace agree with the path.
pub fn place(object: &mut Value, target: &Target) -> Result<(), ApiError> {
    same_namespace(object, target)?;
    if target.resource.namespaced {
        meta::set(object, "namespace", target.namespace.as_str());
    } else {
        meta::set(object, "namespace", Value::Null);
    }
    let name = meta::name(object);
    if !target.name.is_empty() && name != target.name {
        if name.is_empty() {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                target.name
            )));
        }
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    Ok(())
}

/// What a new object has from the server.
pub fn begin_life(object: &mut Value, now: Timestamp) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"]
    {
        meta::set(object, field, Value::Null);
    }
    meta::set(object, "uid", new_uid());
    meta::set(object, "creationTimestamp", time::seconds(now));
}

/// What an update cannot change is as it was.
pub fn carry_over(new: &mut Value, old: &Value) {
    meta::set(new, "selfLink", Value::Null);
    meta::set(new, "creationTimestamp", old["metadata"]["creationTimestamp"].clone());
    for field in ["uid", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if matches!(&new["metadata"][field], Value::Null) || new["metadata"][field] == "" {
            meta::set(new, field, old["metadata"][field].clone());
        }
    }
}

/// Marks an object as being deleted within `grace_s`; its generation moves when that begins.
pub fn mark_deleted(object: &mut Value, grace_s: i64, now: Timestamp) {
    let deadline = now.checked_add(SignedDuration::from_secs(grace_s)).unwrap_or(now);
    if !meta::is_terminating(object) {
        let generation = meta::generation(object);
        if generation > 0 {
            meta::set(object, "generation", generation + 1);
        }
        meta::set(object, "deletionTimestamp", time::seconds(deadline));
    } else if let Some(before_s) = meta::deletion_grace_period_seconds(object)
        && grace_s < before_s
    {
        let began = meta::deletion_timestamp(object)
            .and_then(|at| at.checked_sub(SignedDuration::from_secs(before_s)).ok());
        let deadline = began.and_then(|at| at.checked_add(SignedDuration::from_secs(grace_s)).ok());
        meta::set(object, "deletionTimestamp", time::seconds(deadline.unwrap_or(now)));
    }
    meta::set(object, "deletionGracePeriodSeconds", json!(grace_s));
}

/// Whether an object that nobody waits for any more is to be removed.
pub fn has_ended(new: &Value, old: &Value) -> bool {
    meta::is_terminating(old)
        && meta::deletion_grace_period_seconds(old).unwrap_or(0) == 0
        && !is_held(new)
}

/// Whether something must happen before an object can be removed.
pub fn is_held(object: &Value) -> bool {
    let is_namespace = meta::kind(object) == "Namespace" && meta::api_version(object) == "v1";
    !meta::finalizers(object).is_empty()
        || (is_namespace && !meta::items(object, &["spec", "finalizers"]).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate_name(&"x".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(generate_name("web-").starts_with("web-"));
        assert_ne!(generate_name("web-"), generate_name("web-"));
    }

    #[test]
    fn shorter_grace_moves_the_deadline_back() {
        let now: Timestamp = "2026-11-21T06:00:00Z".parse().unwrap();
        let mut pod = json!({"metadata": {"generation": 1}});
        mark_deleted(&mut pod, 30, now);
        assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-11-21T06:00:30Z");
        assert_eq!(pod["metadata"]["generation"], 2);
        mark_deleted(&mut pod, 5, now);
        assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-11-21T06:00:05Z");
        assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 5);
    }

    #[test]
    fn terminating_object_ends_when_nobody_holds_it() {
        let check = |new: Value, old: Value, expected| assert_eq!(has_ended(&new, &old), expected);
        let dying = json!({"metadata": {"deletionTimestamp": "2026-11-21T06:00:00Z"}});
        check(json!({"metadata": {}}), dying.clone(), true);
        check(json!({"metadata": {"finalizers": ["x"]}}), dying.clone(), false);
        check(json!({"metadata": {}}), json!({"metadata": {}}), false);
        let graceful = json!({"metadata": {"deletionTimestamp": "2026-11-21T06:00:00Z", "deletionGracePeriodSeconds": 30}});
        check(json!({"metadata": {}}), graceful, false);
        let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {}, "spec": {"finalizers": ["kubernetes"]}});
        check(namespace, dying, false);
    }
}
