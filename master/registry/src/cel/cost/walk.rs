//! The estimate itself: cel-go's `checker/cost.go`, node by node.

use super::calls::{self, Operand};
use super::expand::{Form, Loop, Tree};
use super::path::Path;
use super::sizes::Sizes;
use super::{LIST_COST, MAP_COST, OBJECT_COST, Size};
use crate::cel::types::Type;

/// What a name or a field costs.
const NAME_COST: u64 = 1;

/// The most that a tree of so many nodes costs.
pub(super) fn cost(tree: &Tree<'_>, count: usize, sizes: &Sizes) -> u64 {
    let mut walk = Walk { sizes, known: vec![Known::default(); count], locals: Vec::new() };
    walk.node(tree)
}

/// Sizes of what a list or map holds.
#[derive(Clone, Copy, Debug)]
struct Entries {
    is_list: bool,
    keys: Size,
    values: Size,
}

impl Entries {
    fn or(self, other: Self) -> Self {
        let (keys, values) = (self.keys.or(other.keys), self.values.or(other.values));
        Self { is_list: self.is_list, keys, values }
    }
}

/// What is known of a node's value.
#[derive(Clone, Debug, Default)]
struct Known {
    path: Option<Path>,
    size: Option<Size>,
    entries: Option<Entries>,
}

/// A name that the expression gives itself.
#[derive(Debug)]
struct Local {
    name: String,
    path: Option<Path>,
    size: Option<Size>,
    entries: Option<Entries>,
}

struct Walk<'s> {
    sizes: &'s Sizes,
    known: Vec<Known>,
    locals: Vec<Local>,
}

/// Which part of a list or map a loop's variable is.
#[derive(Clone, Copy)]
enum Part {
    Key,
    Value,
    /// The item of a list or the key of a map.
    Only,
}

impl Walk<'_> {
    fn node(&mut self, tree: &Tree<'_>) -> u64 {
        match &tree.form {
            Form::Literal(..) => 0,
            Form::Name(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => Some(Path::of(name)),
                };
                self.known[tree.id].path = path;
                NAME_COST
            }
            Form::Has(of) => self.node(of),
            Form::Field(of, name) => {
                let cost = self.node(of);
                let path = self.path(of);
                self.known[tree.id].path = Some(Path::further(path.as_ref(), name));
                let has_fields = matches!(of.kind, Type::Map(_)) || of.kind.has_fields();
                cost.saturating_add(if has_fields { NAME_COST } else { 0 })
            }
            Form::Call(name, target, arguments) => {
                self.call(tree, name, target.as_deref(), arguments)
            }
            Form::List(items) => self.list(tree, items),
            Form::Map(pairs) => self.map(tree, pairs),
            Form::Object(fields) => {
                let cost = fields.iter().fold(0, |sum: u64, it| sum.saturating_add(self.node(it)));
                cost.saturating_add(OBJECT_COST)
            }
            Form::Loop(of) => self.looped(tree, of),
            Form::Bind(name, value, result) => {
                // Upstream binds in a loop over an empty list.
                let cost = LIST_COST.saturating_add(self.node(value));
                self.bind(name, value);
                let cost = cost.saturating_add(self.node(result));
                self.forget(name);
                self.same_size(tree, result);
                cost
            }
        }
    }

    fn list(&mut self, tree: &Tree<'_>, items: &[Tree<'_>]) -> u64 {
        let mut cost = LIST_COST;
        let mut values = if items.is_empty() { Size::exactly(0) } else { NOTHING };
        for item in items {
            cost = cost.saturating_add(self.node(item));
            values = values.or(self.size(item));
        }
        let entries = Entries { is_list: true, keys: Size::exactly(1), values };
        self.known[tree.id].entries = Some(entries);
        cost
    }

    fn map(&mut self, tree: &Tree<'_>, pairs: &[(Tree<'_>, Tree<'_>)]) -> u64 {
        let mut cost = MAP_COST;
        let nothing = if pairs.is_empty() { Size::exactly(0) } else { NOTHING };
        let (mut keys, mut values) = (nothing, nothing);
        for (key, value) in pairs {
            cost = cost.saturating_add(self.node(key)).saturating_add(self.node(value));
            keys = keys.or(self.size(key));
            values = values.or(self.size(value));
        }
        self.known[tree.id].entries = Some(Entries { is_list: false, keys, values });
        cost
    }

    fn looped(&mut self, tree: &Tree<'_>, of: &Loop<'_>) -> u64 {
        let before = self.node(&of.range).saturating_add(self.node(&of.start));
        self.bind(Loop::RESULT, &of.start);
        match of.variables.as_slice() {
            [only] => self.turn(only, &of.range, Part::Only),
            [key, value, ..] => {
                self.turn(key, &of.range, Part::Key);
                self.turn(value, &of.range, Part::Value);
            }
            [] => {}
        }
        let turn = self.node(&of.condition).saturating_add(self.node(&of.step));
        of.variables.iter().for_each(|name| self.forget(name));
        let after = self.node(&of.result);
        self.forget(Loop::RESULT);
        let count = self.size(&of.range);
        match &of.start.form {
            Form::Literal(..) => self.known[tree.id].size = self.known_size(&of.start),
            _ => {
                self.known[tree.id].size = Some(count);
                if let Some(entries) = self.entries(&of.step) {
                    self.known[tree.id].entries = Some(entries);
                }
            }
        }
        before.saturating_add(after).saturating_add(count.max.saturating_mul(turn))
    }

    fn call(
        &mut self,
        tree: &Tree<'_>,
        name: &str,
        target: Option<&Tree<'_>>,
        arguments: &[Tree<'_>],
    ) -> u64 {
        if let ("dyn", None, [of]) = (name, target, arguments) {
            let cost = self.node(of);
            self.same_size(tree, of);
            return cost.saturating_add(1);
        }
        let mut costs = Vec::new();
        let mut operands = Vec::new();
        for argument in arguments {
            costs.push(self.node(argument));
            operands.push(self.operand(argument));
        }
        let before = target.map_or(0, |target| self.node(target));
        let on = target.map(|target| self.operand(target));
        let mut most = 0;
        let mut size: Option<Size> = None;
        for overload in calls::overloads(name, on.as_ref(), &operands) {
            let sizes = self.sizes;
            let found = calls::cost(sizes, (name, overload), on.as_ref(), &operands, &costs);
            most = most.max(found.cost);
            size = match (size, found.result) {
                (Some(size), Some(more)) => Some(size.or(more)),
                (size, more) => size.or(more),
            };
            let part = match overload {
                calls::Overload::IndexList => Some("@items"),
                calls::Overload::IndexMap => Some("@values"),
                _ => None,
            };
            if let (Some(part), [of, ..]) = (part, arguments) {
                size = self.entries(of).map(|entries| entries.values);
                let path = self.path(of);
                self.known[tree.id].path = Some(Path::further(path.as_ref(), part));
            }
            if size.is_none() {
                size = self.known_size(tree);
            }
        }
        self.entries_of_call(tree, name, arguments);
        if size.is_some() {
            self.known[tree.id].size = size;
        }
        before.saturating_add(most)
    }

    /// Sums and choices hold what their operands hold.
    fn entries_of_call(&mut self, tree: &Tree<'_>, name: &str, arguments: &[Tree<'_>]) {
        let (left, right) = match (name, arguments) {
            ("_+_", [left, right]) | ("_?_:_", [_, left, right]) => (left, right),
            _ => return,
        };
        if let (Some(left), Some(right)) = (self.entries(left), self.entries(right)) {
            self.known[tree.id].entries = Some(left.or(right));
        }
    }

    fn operand<'t, 'a>(&mut self, tree: &'t Tree<'a>) -> Operand<'t, 'a> {
        let literal = match &tree.form {
            Form::Literal(_, number) => *number,
            _ => None,
        };
        Operand { kind: &tree.kind, literal, path: self.path(tree), size: self.known_size(tree) }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    /// Gives a value a name.
    fn bind(&mut self, name: &str, value: &Tree<'_>) {
        let (path, entries) = (self.path(value), self.entries(value));
        let size = self.known_size(value);
        self.locals.push(Local { name: name.to_owned(), path, size, entries });
    }

    /// Gives a part of what is looped over a name.
    fn turn(&mut self, name: &str, range: &Tree<'_>, part: Part) {
        let entries = self.entries(range);
        let is_list =
            entries.map_or(matches!(range.kind, Type::List(_)), |entries| entries.is_list);
        let (step, is_value) = match (part, is_list) {
            (Part::Key, true) => ("@indices", false),
            (Part::Key, false) | (Part::Only, false) => ("@keys", false),
            (Part::Value, false) => ("@values", true),
            (Part::Value | Part::Only, true) => ("@items", true),
        };
        let size = entries.map(|it| if is_value { it.values } else { it.keys });
        let path = Some(Path::further(self.path(range).as_ref(), step));
        self.locals.push(Local { name: name.to_owned(), path, size, entries: None });
    }

    fn forget(&mut self, name: &str) {
        if let Some(at) = self.locals.iter().rposition(|local| local.name == name) {
            self.locals.remove(at);
        }
    }

    fn path(&self, tree: &Tree<'_>) -> Option<Path> {
        if let Form::Name(name) = &tree.form
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.known[tree.id].path.clone()
    }

    fn entries(&self, tree: &Tree<'_>) -> Option<Entries> {
        if let Some(entries) = self.known[tree.id].entries {
            return Some(entries);
        }
        match &tree.form {
            Form::Name(name) => self.local(name)?.entries,
            _ => None,
        }
    }

    fn size(&mut self, tree: &Tree<'_>) -> Size {
        self.known_size(tree).unwrap_or(Size::UNKNOWN)
    }

    fn known_size(&mut self, tree: &Tree<'_>) -> Option<Size> {
        if let Some(size) = self.known[tree.id].size {
            return Some(size);
        }
        match &tree.form {
            Form::Literal(size, _) => return Some(Size::exactly(*size)),
            Form::List(items) => return Some(Size::exactly(items.len() as u64)),
            Form::Map(pairs) => return Some(Size::exactly(pairs.len() as u64)),
            _ => {}
        }
        if let Some(size) = calls::size_at(self.sizes, self.path(tree).as_ref()) {
            self.known[tree.id].size = Some(size);
            return Some(size);
        }
        if is_scalar(&tree.kind) {
            return Some(Size::exactly(1));
        }
        match &tree.form {
            Form::Name(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn same_size(&mut self, to: &Tree<'_>, from: &Tree<'_>) {
        if let Some(size) = self.known_size(from) {
            self.known[to.id].size = Some(size);
        }
        if let Some(entries) = self.entries(from) {
            self.known[to.id].entries = Some(entries);
        }
    }
}

/// Before anything is known: any size is less and more.
const NOTHING: Size = Size { min: u64::MAX, max: 0 };

fn is_scalar(kind: &Type<'_>) -> bool {
    match kind {
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Duration | Type::Timestamp => {
            true
        }
        Type::Optional(held) => is_scalar(held),
        _ => false,
    }
}
