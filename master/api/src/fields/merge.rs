//! An applied configuration laid over the object that is there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::shape::{Form, Shape, entry, fields, form, items, step};

/// Lays `config` over `live`: what it mentions has its value, nothing is removed.
///
/// Lists that divide have `config`'s order where both have an item; what only `live` has stays near its neighbours.
pub fn merge<'a, S: Shape<'a>>(
    shape: Option<S>,
    live: Option<&Value>,
    config: Option<&Value>,
) -> Value {
    let newest = || config.or(live).cloned().unwrap_or_default();
    let form = form(shape, [live, config]);
    match form {
        Form::Leaf => newest(),
        Form::Object if fields(live).is_empty() && fields(config).is_empty() => newest(),
        Form::Object => {
            let mut merged = Map::new();
            let (live, config) = (fields(live), fields(config));
            let added = config.keys().filter(|name| !live.contains_key(*name));
            for name in live.keys().chain(added) {
                let value = match (live.get(name), config.get(name)) {
                    (Some(old), None) => old.clone(),
                    (old, new) => merge(entry(shape, name).0, old, new),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        Form::Set | Form::Keyed(_) if items(live).is_empty() && items(config).is_empty() => {
            newest()
        }
        Form::Set | Form::Keyed(_) => {
            Value::Array(lists(shape.and_then(Shape::item), form, items(live), items(config)))
        }
    }
}

/// A list's items by step, each once, in order. One that has no step is left out: it was refused before.
fn index<'v>(form: Form<'_>, list: &'v [Value]) -> (Vec<String>, BTreeMap<String, &'v Value>) {
    let (mut order, mut found) = (Vec::new(), BTreeMap::new());
    for item in list {
        let Ok(step) = step(form, item) else { continue };
        if found.insert(step.clone(), item).is_none() {
            order.push(step);
        }
    }
    (order, found)
}

fn lists<'a, S: Shape<'a>>(
    shape: Option<S>,
    form: Form<'_>,
    live: &[Value],
    config: &[Value],
) -> Vec<Value> {
    let (live_order, live) = index(form, live);
    let (config_order, config) = index(form, config);
    let both = |step: &String| merge(shape, live.get(step).copied(), config.get(step).copied());
    let mut merged = Vec::new();
    let mut done: BTreeSet<&String> = BTreeSet::new();
    let mut shared = config_order.iter().filter(|step| live.contains_key(*step)).peekable();
    let (mut left_at, mut right_at) = (0, 0);
    loop {
        let (left, right) = (live_order.get(left_at), config_order.get(right_at));
        let wanted = shared.peek().copied();
        match (left, right) {
            (None, None) => return merged,
            (Some(left), Some(right)) if left != right => {
                // One that both have, but whose turn it is not yet; or what only the object has.
                let waits = config.contains_key(left) && wanted.is_some_and(|step| step != left);
                if waits || done.contains(left) {
                    left_at += 1;
                    continue;
                }
                if !config.contains_key(left) {
                    merged.push(live[left].clone());
                    left_at += 1;
                    continue;
                }
            }
            (Some(left), None) => {
                if !config.contains_key(left) {
                    merged.push(live[left].clone());
                }
                left_at += 1;
                continue;
            }
            (Some(_), Some(_)) => left_at += 1,
            (None, Some(_)) => {}
        }
        let right = right.expect("the loop went on above without one");
        merged.push(both(right));
        done.insert(right);
        right_at += 1;
        if wanted == Some(right) {
            shared.next();
        }
    }
}
