//! The fields that an object mentions.

use serde_json::Value;

use super::set::{Node, Set};
use super::shape::{Form, Shape, behind, entry, fields, form, items, step};
use super::step;

/// Every leaf and every item that `value` mentions.
pub(super) fn mentioned<'a, S: Shape<'a>>(shape: Option<S>, value: &Value) -> Set {
    node(shape, value).below
}

fn node<'a, S: Shape<'a>>(shape: Option<S>, value: &Value) -> Node {
    let form = form(shape, [Some(value), None]);
    let mut found = Node::default();
    match form {
        Form::Leaf => found.is_member = true,
        Form::Object => {
            for (name, value) in fields(Some(value)) {
                let (inner, is_named) = entry(shape, name);
                let mut below = node(inner, value);
                let is_bare =
                    value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                below.is_member |= is_bare || !is_named;
                found.below.put(&step::field(name), below);
            }
        }
        Form::Set | Form::Keyed(_) => {
            for item in items(Some(value)) {
                let Ok(step) = step(form, item) else { continue };
                let mut below = node(shape.and_then(Shape::item), item);
                below.is_member = true;
                found.below.put(&step, below);
            }
        }
    }
    found
}

/// The set with every named field a member below which there are some.
///
/// Such fields are seldom members of what is stored; for a removal they count as mentioned.
pub(super) fn with_named<'a, S: Shape<'a>>(shape: Option<S>, set: &Set) -> Set {
    let mut all = Set::default();
    for (step, mut node) in set.steps() {
        let (inner, is_named) = behind(shape, step);
        node.is_member |= is_named && !node.below.is_empty();
        node.below = with_named(inner, &node.below);
        all.put(step, node);
    }
    all
}
