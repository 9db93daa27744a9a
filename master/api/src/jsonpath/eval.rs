//! Applying a template to a value.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Operand, Path, Piece, Step, Test, shown};

/// Appends the template's text. `here` is the current object of a range, `root` the whole one.
pub(super) fn write(pieces: &[Piece], here: &Value, root: &Value, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Path(path) => {
                let texts: Vec<_> = find(path, here, root).into_iter().map(shown).collect();
                out.push_str(&texts.join(" "));
            }
            Piece::Range(path, inner) => {
                for found in find(path, here, root) {
                    // A range over one list means its elements.
                    match found {
                        Value::Array(items) => {
                            items.iter().for_each(|item| write(inner, item, root, out));
                        }
                        one => write(inner, one, root, out),
                    }
                }
            }
        }
    }
}

/// What a path finds, in order.
pub(super) fn find<'v>(path: &Path, here: &'v Value, root: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![if path.is_absolute { root } else { here }];
    for step in &path.steps {
        found = found.into_iter().flat_map(|value| take(step, value, root)).collect();
    }
    found
}

fn take<'v>(step: &Step, value: &'v Value, root: &'v Value) -> Vec<&'v Value> {
    match step {
        Step::Field(name) => match value {
            Value::Object(map) => map.get(name).into_iter().collect(),
            _ => Vec::new(),
        },
        Step::Wildcard => children(value),
        Step::Recursive => {
            let mut all = Vec::new();
            descend(value, &mut all);
            all
        }
        Step::Index(index) => {
            items(value).get(place(*index, items(value).len())).into_iter().collect()
        }
        Step::Slice { from, to, step } => slice(items(value), *from, *to, *step),
        Step::Union(steps) => steps.iter().flat_map(|step| take(step, value, root)).collect(),
        Step::Filter { left, test } => {
            let keep = |item: &&Value| is_kept(left, test.as_ref(), item, root);
            children(value).into_iter().filter(keep).collect()
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn descend<'v>(value: &'v Value, all: &mut Vec<&'v Value>) {
    all.push(value);
    for child in children(value) {
        descend(child, all);
    }
}

/// A place in a list; negative ones count from its end. Out of range is out of range.
fn place(index: i64, length: usize) -> usize {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let place = if index < 0 { index + length } else { index };
    usize::try_from(place).unwrap_or(usize::MAX)
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>, step: i64) -> Vec<&Value> {
    let bound = |index: Option<i64>, default: usize| match index {
        None => default,
        Some(index) => match place(index, items.len()) {
            usize::MAX => 0,
            place => place.min(items.len()),
        },
    };
    let (from, to) = (bound(from, 0), bound(to, items.len()));
    let step = usize::try_from(step).unwrap_or(1);
    items.get(from..to.max(from)).unwrap_or_default().iter().step_by(step).collect()
}

fn is_kept(left: &Operand, test: Option<&(Test, Operand)>, item: &Value, root: &Value) -> bool {
    let resolve = |operand: &Operand| match operand {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path(path) => find(path, item, root).first().map(|&value| value.clone()),
    };
    let left = resolve(left);
    match test {
        None => left.is_some(),
        Some((test, right)) => match (left, resolve(right)) {
            (Some(left), Some(right)) => holds(*test, compare(&left, &right)),
            _ => false,
        },
    }
}

fn holds(test: Test, order: Option<Ordering>) -> bool {
    match test {
        Test::Equal => order == Some(Ordering::Equal),
        Test::NotEqual => order != Some(Ordering::Equal),
        Test::Less => order == Some(Ordering::Less),
        Test::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Test::More => order == Some(Ordering::Greater),
        Test::MoreOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (left, right) => (left == right).then_some(Ordering::Equal),
    }
}
