//! Strategic merge patch: a merge patch whose lists merge by key, steered by directives.
//!
//! `$patch` (replace, delete), `$retainKeys`, `$deleteFromPrimitiveList/<list>`,
//! `$setElementOrder/<list>`. Upstream: k8s.io/apimachinery/pkg/util/strategicpatch.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{Merge, PatchError, PatchMeta, shown};
use crate::go;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

type Fields = Map<String, Value>;

/// Lays a strategic merge patch over an object of the type that `meta` points at.
pub fn strategic_merge<M: PatchMeta>(
    original: Value,
    patch: Value,
    meta: &M,
) -> Result<Value, PatchError> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => {
            objects(original, patch, meta).map(Value::Object)
        }
        _ => Err(malformed("invalid JSON document")),
    }
}

fn malformed(text: &str) -> PatchError {
    PatchError::Malformed(text.to_owned())
}

fn no_key(item: &Value, key: &str) -> PatchError {
    PatchError::Untold(format!(
        "map: {} does not contain declared merge key: {key}",
        go::printed(item)
    ))
}

fn unknown_directive(directive: &Value, item: &Value) -> PatchError {
    PatchError::Untold(format!(
        "unknown patch type: {} in map: {}",
        shown(directive),
        go::printed(item)
    ))
}

fn objects<M: PatchMeta>(
    mut original: Fields,
    mut patch: Fields,
    meta: &M,
) -> Result<Fields, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Fields::new()),
            _ => Err(unknown_directive(&directive, &Value::Object(patch))),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    orders(&mut original, &mut patch, meta)?;
    for (key, change) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            delete_scalars(&mut original, list, &change)?;
            continue;
        }
        if change.is_null() {
            original.remove(&key);
            continue;
        }
        let (how, inner) = meta.field(&key);
        let merged = match (original.remove(&key), change) {
            (Some(Value::Object(old)), Value::Object(new)) if how != Merge::Replace => {
                Some(Value::Object(objects(old, new, &inner)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                Some(Value::Array(lists(old, new, how, &inner)?))
            }
            (_, new) => plain(new),
        };
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

/// Clears what the directive does not name, so that a union's old member goes.
fn retain_keys(original: &mut Fields, patch: &mut Fields) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let wrong = || malformed("invalid patch format of retainKeys");
    let retained = directive.as_array().ok_or_else(wrong)?;
    let is_retained = |key: &str| retained.iter().any(|name| name.as_str() == Some(key));
    let counts = |key: &str, value: &Value| {
        !value.is_null() && !key.starts_with(DELETE_FROM) && !key.starts_with(ORDER)
    };
    if patch.iter().any(|(key, value)| counts(key, value) && !is_retained(key)) {
        return Err(wrong());
    }
    original.retain(|key, _| is_retained(key));
    Ok(())
}

/// Handles each `$setElementOrder/<list>` together with the list it orders.
fn orders<M: PatchMeta>(
    original: &mut Fields,
    patch: &mut Fields,
    meta: &M,
) -> Result<(), PatchError> {
    let wrong = || malformed("invalid patch format of setElementOrder list");
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER)).cloned().collect();
    for key in keys {
        let Some(Value::Array(order)) = patch.remove(&key) else { return Err(wrong()) };
        let list = &key[ORDER.len()..];
        let (how, inner) = meta.field(list);
        let old = match original.remove(list) {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => Some(items),
            Some(_) => return Err(wrong()),
        };
        let new = match patch.remove(list) {
            None => None,
            Some(Value::Array(items)) => Some(items),
            Some(other) => {
                // A null or another type replaces; there is nothing to order.
                patch.insert(list.to_owned(), other);
                continue;
            }
        };
        if let Some(new) = &new {
            follows(new, &order, how)?;
        }
        let live = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(plain).collect(),
            (Some(old), Some(new)) => lists(old, new, how, &inner)?,
        };
        original.insert(list.to_owned(), Value::Array(ordered(merged, &order, &live, how)?));
    }
    Ok(())
}

/// Refuses a patch list with items that the order lacks or has in another order.
fn follows(new: &[Value], order: &[Value], how: Merge) -> Result<(), PatchError> {
    if new.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut places = order.iter();
    for item in new.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let wanted = identity(item, how)?;
        if !places.any(|place| identity(place, how).is_ok_and(|found| found == wanted)) {
            let (new, order) = (Value::from(new.to_vec()), Value::from(order.to_vec()));
            return Err(PatchError::Malformed(format!(
                "The order in patch list:\n{new}\n doesn't match $setElementOrder list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

fn delete_scalars(original: &mut Fields, list: &str, doomed: &Value) -> Result<(), PatchError> {
    let wrong = || malformed("invalid patch format of primitive list");
    let doomed = doomed.as_array().ok_or_else(wrong)?;
    if let Some(Value::Array(items)) = original.get_mut(list) {
        items.retain(|item| !doomed.contains(item));
    }
    Ok(())
}

/// What tells an item of a list from others.
fn identity(item: &Value, how: Merge) -> Result<&Value, PatchError> {
    match how {
        Merge::ByKey(key) => item.get(key).ok_or_else(|| no_key(item, key)),
        Merge::Plain | Merge::Set | Merge::Replace => Ok(item),
    }
}

fn lists<M: PatchMeta>(
    old: Vec<Value>,
    new: Vec<Value>,
    how: Merge,
    inner: &M,
) -> Result<Vec<Value>, PatchError> {
    match how {
        Merge::Plain | Merge::Replace => Ok(new.into_iter().filter_map(plain).collect()),
        Merge::Set => {
            let (mut merged, live) = (old.clone(), old);
            for item in &new {
                if item.is_object() {
                    let name = inner.name();
                    return Err(PatchError::Malformed(format!(
                        "cannot merge lists without merge key for {name}"
                    )));
                }
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            ordered(merged, &new, &live, how)
        }
        Merge::ByKey(key) => {
            let (live, new) = special_items(old, new, key)?;
            let merged = by_key(live.clone(), &new, key, inner)?;
            ordered(merged, &new, &live, how)
        }
    }
}

/// Obeys the items that carry `$patch`; returns what is left of the old list and the other items.
fn special_items(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &'static str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain_items = Vec::new();
    let mut is_replaced = false;
    for item in new {
        if !item.is_object() {
            return Err(malformed("expected a map[string]interface {}, but received a string"));
        }
        match item.get(DIRECTIVE) {
            None => plain_items.push(item),
            Some(directive) => match directive.as_str() {
                Some("replace") => is_replaced = true,
                Some("delete") => {
                    let doomed = identity(&item, Merge::ByKey(key))?;
                    old.retain(|kept| kept.get(key) != Some(doomed));
                }
                Some("merge") => {
                    return Err(malformed("merging lists cannot yet be specified in the patch"));
                }
                _ => return Err(unknown_directive(directive, &item)),
            },
        }
    }
    if is_replaced {
        old.clear();
    }
    Ok((old, plain_items))
}

fn by_key<M: PatchMeta>(
    mut merged: Vec<Value>,
    new: &[Value],
    key: &'static str,
    inner: &M,
) -> Result<Vec<Value>, PatchError> {
    for item in new {
        let wanted = identity(item, Merge::ByKey(key))?;
        match merged.iter_mut().find(|old| old.get(key) == Some(wanted)) {
            Some(old) => *old = strategic_merge(old.take(), item.clone(), inner)?,
            None => merged.extend(plain(item.clone())),
        }
    }
    Ok(merged)
}

/// Items named by `order` in that order, the others in their live order, interleaved as they lived.
fn ordered(
    merged: Vec<Value>,
    order: &[Value],
    live: &[Value],
    how: Merge,
) -> Result<Vec<Value>, PatchError> {
    let place = |list: &[Value], item: &Value| {
        let wanted = identity(item, how).ok();
        list.iter().position(|other| identity(other, how).ok() == wanted)
    };
    for item in &merged {
        identity(item, how)?;
    }
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by(|left, right| match (place(live, left), place(live, right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (left, right) => right.is_some().cmp(&left.is_some()).then(Ordering::Equal),
    });
    let mut result = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let takes_other = match (others.peek(), named.peek()) {
            (None, None) => return Ok(result),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(named)) => {
                matches!((place(live, other), place(live, named)), (Some(o), Some(n)) if o < n)
            }
        };
        result.extend(if takes_other { others.next() } else { named.next() });
    }
}

/// A patch's value where the original has none: without directives and nulls. `None` when the value
/// is itself a directive to delete.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            // There is nothing to replace or to delete: the directive goes, with what it stands in.
            if fields.contains_key(DIRECTIVE) {
                return None;
            }
            let kept = fields.into_iter().filter(|(key, value)| {
                let is_directive =
                    key == RETAIN_KEYS || key.starts_with(ORDER) || key.starts_with(DELETE_FROM);
                !is_directive && !value.is_null()
            });
            let kept = kept.filter_map(|(key, value)| Some((key, plain(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(plain).collect())),
        other => Some(other),
    }
}
