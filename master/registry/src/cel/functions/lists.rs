//! Functions of lists: Kubernetes' `lists` library, cel-go's `lists` and `sets` extensions.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use super::{Answer, numbers};
use crate::cel::ast::Binary;
use crate::cel::eval::Budget;
use crate::cel::value::Val;

pub(super) fn call<'a>(name: &str, values: &[Val<'a>], budget: &mut Budget) -> Answer<'a> {
    let [list, rest @ ..] = values else { return None };
    let items = list.items()?;
    let cost = match rest {
        [other] if name.starts_with("sets.") => items.len() * other.size().unwrap_or(0),
        _ if name == "distinct" => items.len() * items.len(),
        _ => items.len(),
    };
    if let Err(spent) = budget.spend(cost) {
        return Some(Err(spent));
    }
    let position = |wanted: &Val<'_>, is_last: bool| {
        let found = if is_last {
            items.iter().rposition(|item| item.equals(wanted))
        } else {
            items.iter().position(|item| item.equals(wanted))
        };
        found.map_or(Val::Int(-1), Val::count)
    };
    Some(Ok(match (name, rest) {
        ("isSorted", []) => Val::Bool(items.is_sorted_by(|left, right| {
            matches!(left.compare(right), Some(Ordering::Less | Ordering::Equal))
        })),
        ("sum", []) => return Some(sum(items)),
        ("min", []) => return Some(extreme(items, Ordering::Less, "min")),
        ("max", []) => return Some(extreme(items, Ordering::Greater, "max")),
        ("indexOf", [wanted]) => position(wanted, false),
        ("lastIndexOf", [wanted]) => position(wanted, true),
        ("reverse", []) => Val::list(items.into_iter().rev().collect()),
        ("sort", []) => {
            let mut sorted = items;
            sorted.sort_by(|left, right| left.compare(right).unwrap_or(Ordering::Equal));
            Val::list(sorted)
        }
        ("distinct", []) => {
            let mut kept: Vec<Val<'a>> = Vec::new();
            for item in items {
                if !kept.iter().any(|known| known.equals(&item)) {
                    kept.push(item);
                }
            }
            Val::list(kept)
        }
        ("slice", [Val::Int(start), Val::Int(end)]) => return Some(slice(&items, *start, *end)),
        ("flatten", []) => Val::list(
            items.into_iter().flat_map(|item| item.items().unwrap_or_else(|| vec![item])).collect(),
        ),
        ("first", []) => items.into_iter().next().map_or(Val::Optional(None), Val::some),
        ("last", []) => items.into_iter().next_back().map_or(Val::Optional(None), Val::some),
        ("sets.contains", [other]) => Val::Bool(contains(&items, &other.items()?)),
        ("sets.equivalent", [other]) => {
            let other = other.items()?;
            Val::Bool(contains(&items, &other) && contains(&other, &items))
        }
        ("sets.intersects", [other]) => {
            let other = other.items()?;
            Val::Bool(items.iter().any(|item| other.iter().any(|wanted| wanted.equals(item))))
        }
        _ => return None,
    }))
}

/// One list after the other. To a set, what it does not have is added; in a list with keys, items of the same key
/// are replaced.
pub(in crate::cel) fn added<'a>(left: &Val<'a>, right: &Val<'a>) -> Option<Val<'a>> {
    let (mut items, more) = (left.items()?, right.items()?);
    let Some(schema) = left.keyed() else {
        items.extend(more);
        return Some(Val::list(items));
    };
    let mut places: BTreeMap<String, usize> =
        items.iter().enumerate().map(|(at, item)| (item.identity(schema), at)).collect();
    for item in more {
        match places.entry(item.identity(schema)) {
            Entry::Occupied(place) => items[*place.get()] = item,
            Entry::Vacant(place) => {
                place.insert(items.len());
                items.push(item);
            }
        }
    }
    Some(Val::Joined(Rc::new(items), schema))
}

fn contains(items: &[Val<'_>], wanted: &[Val<'_>]) -> bool {
    wanted.iter().all(|wanted| items.iter().any(|item| item.equals(wanted)))
}

fn sum(items: Vec<Val<'_>>) -> Result<Val<'_>, String> {
    let mut items = items.into_iter();
    let Some(first) = items.next() else { return Ok(Val::Int(0)) };
    items.try_fold(first, |sum, item| numbers::arithmetic(Binary::Add, &sum, &item))
}

fn extreme<'a>(items: Vec<Val<'a>>, wanted: Ordering, name: &str) -> Result<Val<'a>, String> {
    let better = |best: Val<'a>, item: Val<'a>| {
        if item.compare(&best) == Some(wanted) { item } else { best }
    };
    items.into_iter().reduce(better).ok_or_else(|| format!("{name} called on empty list"))
}

fn slice<'a>(items: &[Val<'a>], start: i64, end: i64) -> Result<Val<'a>, String> {
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let part = range.and_then(|(start, end)| items.get(start..end));
    let wrong = || format!("cannot slice({start}, {end}), outside of the list");
    part.map(|part| Val::list(part.to_vec())).ok_or_else(wrong)
}
