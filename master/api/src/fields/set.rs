//! A set of fields, kept in the very form in which it is stored (`FieldsV1`).
//!
//! A node is an object whose keys are steps (`f:spec`, `k:{"name":"a"}`, `v:"x"`, `i:0`) to further nodes. It is a
//! member of the set if it is empty or has the key `.`; so nothing has to be converted to answer a question.
//!
//! # Invariants
//! - A node that is no member has a member below it.

use serde_json::{Map, Value};

use super::step;

/// The key of a node that is itself a member though there are members below it.
const SELF: &str = ".";

/// Fields of an object. The object itself is never a member.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set(Map<String, Value>);

/// A place in a set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    pub(super) is_member: bool,
    pub(super) below: Set,
}

impl Node {
    pub(super) fn member() -> Self {
        Self { is_member: true, below: Set::default() }
    }

    fn of(value: &Value) -> Self {
        let below = Set(kids(value).map(|(step, node)| (step.clone(), node.clone())).collect());
        Self { is_member: is_member(value), below }
    }

    fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }

    fn into_value(self) -> Value {
        let mut fields = self.below.0;
        if self.is_member && !fields.is_empty() {
            fields.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
        Value::Object(fields)
    }
}

fn is_member(node: &Value) -> bool {
    node.as_object().is_none_or(|fields| fields.is_empty() || fields.contains_key(SELF))
}

fn kids(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    node.as_object().into_iter().flatten().filter(|(step, _)| *step != SELF)
}

impl Set {
    /// Reads `FieldsV1`; `None` for what is no such thing. Steps of kinds that nobody knows are left out.
    pub fn read(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (step, node) in fields.as_object()?.iter().filter(|(step, _)| *step != SELF) {
            if !step::is_known(step) {
                continue;
            }
            let below = Self::read(node)?;
            let is_member = is_member(node) || below.is_empty();
            set.put(&step::canonical(step)?, Node { is_member, below });
        }
        Some(set)
    }

    /// What we have written ourselves, as it is.
    pub(super) fn stored(fields: Value) -> Option<Self> {
        match fields {
            Value::Object(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    /// The form in which it is stored.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// A set of one path, given as steps.
    pub fn path(steps: &[&str]) -> Self {
        let mut set = Self::default();
        if let [first, rest @ ..] = steps {
            let node = match rest {
                [] => Node::member(),
                _ => Node { is_member: false, below: Self::path(rest) },
            };
            set.put(first, node);
        }
        set
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a node in place; an empty one is not.
    pub(super) fn put(&mut self, step: &str, node: Node) {
        if node.is_empty() {
            return;
        }
        match self.0.get_mut(step) {
            Some(found) => add(found, &node.into_value()),
            None => drop(self.0.insert(step.to_owned(), node.into_value())),
        }
    }

    /// The steps at this level, and what each leads to.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&str, Node)> {
        self.0.iter().map(|(step, node)| (step.as_str(), Node::of(node)))
    }

    /// Whether the place after one step is a member.
    pub(super) fn has(&self, step: &str) -> bool {
        self.0.get(step).is_some_and(is_member)
    }

    /// What lies below one step.
    pub(super) fn below(&self, step: &str) -> Self {
        self.0.get(step).map(|node| Node::of(node).below).unwrap_or_default()
    }

    /// Whether anything lies below one step.
    pub(super) fn has_below(&self, step: &str) -> bool {
        self.0.get(step).is_some_and(|node| kids(node).next().is_some())
    }

    /// Takes the mark off named parts, from the top down; `value` is what the set is of. A part that is one value stays.
    pub(super) fn unmark(&mut self, parts: &[&str], value: &Value) {
        unmark(&mut self.0, parts, value);
    }

    /// Only what is, or is below, one step.
    #[must_use]
    pub fn only(mut self, step: &str) -> Self {
        self.0.retain(|key, _| key == step);
        self
    }

    /// Takes away one step and all below it.
    #[must_use]
    pub fn without(mut self, step: &str) -> Self {
        self.0.remove(step);
        self
    }

    /// Adds the members of another set.
    pub fn add(&mut self, other: &Self) {
        for (step, node) in &other.0 {
            match self.0.get_mut(step) {
                Some(found) => add(found, node),
                None => drop(self.0.insert(step.clone(), node.clone())),
            }
        }
    }

    /// Takes away the members of another set. What lies below one of those stays if it is none itself.
    pub fn subtract(&mut self, other: &Self) {
        if self.is_empty() {
            return;
        }
        for (step, node) in &other.0 {
            if let Some(found) = self.0.get_mut(step)
                && subtract(found, node)
            {
                self.0.remove(step);
            }
        }
    }

    /// The members that both have.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for (step, node) in &self.0 {
            let Some(found) = other.0.get(step) else { continue };
            let (left, right) = (Node::of(node), Node::of(found));
            let below = left.below.intersection(&right.below);
            both.put(step, Node { is_member: left.is_member && right.is_member, below });
        }
        both
    }

    /// Every member as steps, those of a level before those below.
    pub fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        self.collect_paths(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
        for (step, node) in &self.0 {
            if is_member(node) {
                let mut path = prefix.clone();
                path.push(step.clone());
                paths.push(path);
            }
        }
        for (step, node) in self.steps() {
            prefix.push(step.to_owned());
            node.below.collect_paths(prefix, paths);
            prefix.pop();
        }
    }

    /// Only the members below which there are none.
    #[must_use]
    pub fn leaves(&self) -> Self {
        let mut leaves = Self::default();
        for (step, node) in self.steps() {
            let is_member = node.is_member && node.below.is_empty();
            leaves.put(step, Node { is_member, below: node.below.leaves() });
        }
        leaves
    }
}

fn unmark(fields: &mut Map<String, Value>, parts: &[&str], value: &Value) {
    fields.retain(|step, node| {
        let part = step.strip_prefix("f:").filter(|name| parts.contains(name));
        let (Some(name), Some(fields)) = (part, node.as_object_mut()) else { return true };
        let value = &value[name];
        if fields.is_empty() {
            return !value.as_object().is_some_and(Map::is_empty);
        }
        fields.remove(SELF);
        unmark(fields, parts, value);
        !fields.is_empty()
    });
}

/// Adds one node to another.
fn add(node: &mut Value, other: &Value) {
    let joins = is_member(node) || is_member(other);
    let Some(fields) = node.as_object_mut() else { return };
    for (step, below) in kids(other) {
        match fields.get_mut(step) {
            Some(found) => add(found, below),
            None => drop(fields.insert(step.clone(), below.clone())),
        }
    }
    if joins && !fields.is_empty() {
        fields.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
}

/// Takes one node from another; whether nothing is left of it.
fn subtract(node: &mut Value, other: &Value) -> bool {
    let stays = is_member(node) && !is_member(other);
    let Some(fields) = node.as_object_mut() else { return true };
    for (step, below) in kids(other) {
        if let Some(found) = fields.get_mut(step)
            && subtract(found, below)
        {
            fields.remove(step);
        }
    }
    if !stays || fields.len() == 1 {
        fields.remove(SELF);
    }
    fields.is_empty() && !stays
}
