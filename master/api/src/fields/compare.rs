//! What differs between two versions of an object, field by field.

use std::collections::BTreeMap;

use serde_json::Value;

use super::set::{Node, Set};
use super::shape::{Form, Shape, entry, fields, form, items, step};
use super::step;

/// The fields that a new version adds, changes and leaves out; none is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Changes {
    /// Those in which something new stands.
    pub(super) fn touched(&self) -> Set {
        let mut touched = self.modified.clone();
        touched.add(&self.added);
        touched
    }
}

/// Compares two versions of an object of one type.
pub(super) fn compare<'a, S: Shape<'a>>(
    shape: Option<S>,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Changes {
    let found = differ(shape, old, new);
    Changes {
        added: found.added.below,
        modified: found.modified.below,
        removed: found.removed.below,
    }
}

/// [`Changes`] of one place.
#[derive(Debug, Default)]
struct Difference {
    added: Node,
    modified: Node,
    removed: Node,
}

impl Difference {
    fn put(&mut self, step: &str, below: Self) {
        self.added.below.put(step, below.added);
        self.modified.below.put(step, below.modified);
        self.removed.below.put(step, below.removed);
    }
}

fn differ<'a, S: Shape<'a>>(
    shape: Option<S>,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Difference {
    let mut found = Difference::default();
    if old == new {
        return found;
    }
    let form = form(shape, [old, new]);
    let is_bare = match form {
        Form::Leaf => true,
        Form::Object => fields(old).is_empty() && fields(new).is_empty(),
        Form::Set | Form::Keyed(_) => items(old).is_empty() && items(new).is_empty(),
    };
    if is_bare {
        // An empty list or object is one value, so that it differs from none.
        found.modified.is_member = old.is_some() && new.is_some();
    } else if matches!(form, Form::Object) {
        objects(shape, old, new, &mut found);
    } else if lists(shape, form, old, new, &mut found).is_err() {
        // Items that cannot be told apart are not owned one by one.
        found = Difference::default();
        found.modified.is_member = old.is_some() && new.is_some();
    }
    found.added.is_member = old.is_none();
    found.removed.is_member = new.is_none();
    found
}

fn objects<'a, S: Shape<'a>>(
    shape: Option<S>,
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Difference,
) {
    let (old, new) = (fields(old), fields(new));
    let added = new.keys().filter(|name| !old.contains_key(*name));
    for name in old.keys().chain(added) {
        let (before, after) = (old.get(name), new.get(name));
        if before != after {
            let below = differ(entry(shape, name).0, before, after);
            found.put(&step::field(name), below);
        }
    }
}

fn lists<'a, S: Shape<'a>>(
    shape: Option<S>,
    form: Form<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Difference,
) -> Result<(), String> {
    let mut sides: BTreeMap<String, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, list) in [items(old), items(new)].into_iter().enumerate() {
        for item in list {
            sides.entry(step(form, item)?).or_default()[side].push(item);
        }
    }
    let shape = shape.and_then(Shape::item);
    for (step, [old, new]) in sides {
        let below = match (old.as_slice(), new.as_slice()) {
            ([] | [_], [] | [_]) => differ(shape, old.first().copied(), new.first().copied()),
            // Duplicates are compared as a whole.
            (old, new) if old == new => Difference::default(),
            ([], _) => Difference { added: Node::member(), ..Difference::default() },
            (_, []) => Difference { removed: Node::member(), ..Difference::default() },
            _ => Difference { modified: Node::member(), ..Difference::default() },
        };
        found.put(&step, below);
    }
    Ok(())
}
