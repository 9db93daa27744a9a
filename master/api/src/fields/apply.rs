//! Server-side apply: what a manager wants of an object, merged into what is there.

use serde_json::{Value, json};

use super::collect::{mentioned, with_named};
use super::compare::compare;
use super::conflict::Conflicts;
use super::entry::{Entry, Managed, Manager, Operation};
use super::merge::merge;
use super::remove::remove;
use super::update::{Scope, Update, stripped, update};
use super::{BEFORE_FIRST_APPLY, Set, Shape};
use crate::meta;

/// The managers whose applied configurations may also be those of an `apply` without `--server-side`.
const BOTH_SIDES: [&str; 2] = ["kubectl", "kctl"];
/// Where those keep what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An apply.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// Who applies.
    pub manager: &'a Manager,
    /// What of the object can be changed this way.
    pub scope: Scope,
    /// Whether fields of others are taken over.
    pub force: bool,
    /// What is there; `None` for an object that is to be created.
    pub live: Option<&'a Value>,
    /// All that the manager wants.
    pub config: &'a Value,
}

/// What became of an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object, without its entries.
    pub object: Value,
    /// Who owns what.
    pub managed: Managed,
}

/// Merges a configuration that [`validate`](super::validate) let through.
///
/// # Errors
/// The fields of others that it would change.
pub fn apply<'a, S: Shape<'a>>(
    shape: Option<S>,
    wanted: &Apply<'_>,
    managed: Managed,
) -> Result<Applied, Conflicts> {
    let managed = match wanted.live {
        Some(live) if managed.is_empty() => before_first(shape, wanted, live),
        _ => managed,
    };
    let outcome = once(shape, wanted, managed.clone());
    let outcome = match outcome {
        Err(conflicts) if BOTH_SIDES.contains(&&*wanted.manager.name) => {
            let conflicts = match wanted.live.and_then(|live| last_applied(shape, wanted, live)) {
                Some(allowed) => conflicts.without(&allowed),
                None => conflicts,
            };
            if !conflicts.0.is_empty() {
                return Err(conflicts);
            }
            once(shape, &Apply { force: true, ..*wanted }, managed)
        }
        outcome => outcome,
    };
    outcome.map(|mut applied| {
        if BOTH_SIDES.contains(&&*wanted.manager.name) {
            keep_last_applied(&mut applied.object, wanted.config);
        }
        applied
    })
}

/// Whoever made what is there before anybody applied.
fn before_first<'a, S: Shape<'a>>(shape: Option<S>, wanted: &Apply<'_>, live: &Value) -> Managed {
    let manager = Manager { name: BEFORE_FIRST_APPLY.to_owned(), ..wanted.manager.clone() };
    let write = Update {
        manager: &manager,
        scope: wanted.scope,
        old: None,
        blank: None,
        has_parts: true,
        new: live,
    };
    update(shape, &write, Managed::default())
}

fn once<'a, S: Shape<'a>>(
    shape: Option<S>,
    wanted: &Apply<'_>,
    mut managed: Managed,
) -> Result<Applied, Conflicts> {
    let blank = json!({});
    let live = wanted.live.unwrap_or(&blank);
    let merged = merge(shape, Some(live), Some(wanted.config));
    let own = wanted.scope.of(mentioned(shape, wanted.config));
    let last = managed.of(wanted.manager, Operation::Apply).cloned();
    managed.0.retain(|entry| !entry.is_of(wanted.manager, Operation::Apply));
    let object = match &last {
        Some(last) => match prune(shape, &merged, &last.fields, &own, &managed) {
            // What was emptied is gone; where it is wanted empty, it comes back.
            Some(pruned) => merge(shape, Some(&pruned), Some(wanted.config)),
            None => merged,
        },
        None => merged,
    };
    let changes = wanted.scope.of_changes(compare(shape, Some(live), Some(&object)));
    let touched = changes.touched();
    let mut conflicts = Conflicts::default();
    for entry in &managed.0 {
        conflicts.push(entry, &entry.fields.intersection(&touched));
    }
    if !wanted.force && !conflicts.0.is_empty() {
        return Err(conflicts);
    }
    for entry in &mut managed.0 {
        entry.fields.subtract(&touched);
        entry.fields.subtract(&changes.removed);
    }
    managed.0.retain(|entry| !entry.fields.is_empty());
    let own = stripped(own);
    if !own.is_empty() {
        let mut entry = Entry::new(wanted.manager, Operation::Apply, own);
        // What changes nothing is no reason for a new time.
        if wanted.live.is_some() && &object == live {
            entry.time = last.map(|last| last.time).unwrap_or_default();
        }
        managed.0.push(entry);
    }
    Ok(Applied { object, managed })
}

/// Without what the manager applied last time, does not mention any more, and nobody else applies; `None` if there is no such
/// thing.
fn prune<'a, S: Shape<'a>>(
    shape: Option<S>,
    merged: &Value,
    last: &Set,
    own: &Set,
    others: &Managed,
) -> Option<Value> {
    let last = with_named(shape, last);
    let mut applied = own.clone();
    for entry in others.0.iter().filter(|entry| entry.operation == Operation::Apply) {
        applied.add(&entry.fields);
    }
    let all = with_named(shape, &mentioned(shape, merged));
    // What goes with it: an item goes with all of its fields, but not with those that others apply.
    let mut kept = with_named(shape, &mentioned(shape, &remove(shape, merged, &last)));
    kept.add(&with_named(shape, &applied));
    let mut gone = all.clone();
    gone.subtract(&kept);
    let pruned = remove(shape, merged, &gone);
    // Of that, only what was this manager's own.
    let mut gone = all;
    gone.subtract(&with_named(shape, &mentioned(shape, &pruned)));
    let gone = gone.intersection(&last);
    (!gone.is_empty()).then(|| remove(shape, merged, &gone))
}

/// The fields that an `apply` without `--server-side` applied and that still are as it wanted them.
fn last_applied<'a, S: Shape<'a>>(
    shape: Option<S>,
    wanted: &Apply<'_>,
    live: &Value,
) -> Option<Set> {
    let config: Value = serde_json::from_str(meta::annotation(live, LAST_APPLIED)).ok()?;
    if meta::api_version(&config) != wanted.manager.api_version {
        return None;
    }
    let mut fields = mentioned(shape, &config);
    let changes = compare(shape, Some(&config), Some(live));
    for gone in [&changes.modified, &changes.added, &changes.removed] {
        fields.subtract(gone);
    }
    Some(fields)
}

/// Brings its annotation up to date, if there is one, so that it may be used again.
fn keep_last_applied(object: &mut Value, config: &Value) {
    if meta::annotation(object, LAST_APPLIED).is_empty() {
        return;
    }
    let mut config = config.clone();
    if let Some(Value::Object(annotations)) = config.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_APPLIED);
    }
    object["metadata"]["annotations"][LAST_APPLIED] = format!("{config}\n").into();
}
