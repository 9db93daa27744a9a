//! How the values of each type divide into fields of their own: the same table of nodes, seen by those who keep owners.

use master_api::fields::{Atom, Key, Kind, Shape};
use serde_json::Value;

use super::{Cursor, Index, Node, Schema, Table, catalog};
use crate::patchmeta::{Fact, default_of_key};

/// A division that does not follow from the node: lists are one value unless noted, objects are not.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Division {
    Whole,
    Set,
    Keyed(Box<[Key]>),
}

impl Division {
    /// What upstream declares of a field of a built-in type; `items` is the schema of a list's items.
    pub(super) fn of_fact(node: &Node, fact: &Fact, items: &Value) -> Option<Self> {
        let default = |name: &str| default_of_key(name).or_else(|| zero(items, name));
        match (node, fact.list_type, fact.map_type) {
            (Node::List(_), "set", _) => Some(Self::Set),
            (Node::List(_), "map", _) => Some(keyed(fact.list_map_keys, default)),
            (Node::Struct(_) | Node::Map(_) | Node::Any, _, "atomic") => Some(Self::Whole),
            _ => None,
        }
    }

    /// What the extensions in a schema say, as custom resources have them.
    pub(super) fn of_schema(node: &Node, schema: &Value) -> Option<Self> {
        let text = |name: &str| schema[name].as_str().unwrap_or_default();
        match (node, text("x-kubernetes-list-type"), text("x-kubernetes-map-type")) {
            (Node::List(_), "set", _) => Some(Self::Set),
            (Node::List(_), "map", _) => {
                let names = schema["x-kubernetes-list-map-keys"].as_array();
                let names: Vec<&str> =
                    names.into_iter().flatten().filter_map(Value::as_str).collect();
                let properties = &schema["items"]["properties"];
                Some(keyed(&names, |name| properties[name].get("default").cloned()))
            }
            (Node::Struct(_) | Node::Map(_) | Node::Any, _, "atomic") => Some(Self::Whole),
            _ => None,
        }
    }
}

/// The keys in alphabetical order, as paths have them.
fn keyed(names: &[&str], default: impl Fn(&str) -> Option<Value>) -> Division {
    let mut names = names.to_vec();
    names.sort_unstable();
    let key = |name: &str| Key { name: name.into(), default: default(name) };
    Division::Keyed(names.into_iter().map(key).collect())
}

/// Go has no absent string or number: what a required field begins with is its zero.
fn zero(item: &Value, name: &str) -> Option<Value> {
    let required = item["required"].as_array()?;
    match item["properties"][name]["type"].as_str()? {
        "string" if required.contains(&name.into()) => Some("".into()),
        "integer" if required.contains(&name.into()) => Some(0.into()),
        _ => None,
    }
}

/// The divisions of a table that were noted.
#[derive(Debug, Default)]
pub(super) struct Divisions(Vec<Option<Division>>);

impl Divisions {
    pub(super) fn note(&mut self, index: Index, division: Division) {
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        self.0[index] = Some(division);
    }

    fn get(&self, index: Index) -> Option<&Division> {
        self.0.get(index)?.as_ref()
    }
}

/// A type as owners of fields see it.
#[derive(Clone, Copy, Debug)]
pub struct Divided<'a> {
    cursor: Cursor<'a>,
}

impl Schema {
    /// The type of the whole object; `None` for one that is not known.
    pub fn divided(&self) -> Option<Divided<'_>> {
        self.cursor().map(|cursor| Divided { cursor })
    }
}

impl<'a> Divided<'a> {
    fn table(&self) -> &'a Table {
        self.cursor.table
    }

    /// Another type of the table, or the one of ours that it stands for.
    fn inner(&self, index: Index) -> Option<Self> {
        let table = self.table();
        let cursor = match table.nodes[index] {
            Node::Builtin(name) => {
                let table = catalog::table();
                Cursor { table, index: *table.named.get(name)? }
            }
            _ => Cursor { table, index },
        };
        Some(Self { cursor })
    }
}

impl<'a> Shape<'a> for Divided<'a> {
    fn atom(self) -> Atom<'a> {
        let node = &self.table().nodes[self.cursor.index];
        match (self.table().divisions.get(self.cursor.index), node) {
            (Some(Division::Whole), _) => Atom::Leaf,
            (Some(Division::Set), _) => Atom::Set,
            (Some(Division::Keyed(keys)), _) => Atom::Keyed(keys),
            (None, Node::Struct(kind)) => Atom::Struct { keeps_unknown: kind.keeps_unknown },
            (None, Node::Map(_)) => Atom::Map,
            (None, Node::Any) => Atom::Any,
            (None, _) => Atom::Leaf,
        }
    }

    fn kind(self) -> Kind {
        match &self.table().nodes[self.cursor.index] {
            Node::Struct(_) | Node::Map(_) | Node::Builtin(_) => Kind::Object,
            Node::List(_) => Kind::List,
            Node::Text | Node::Bytes => Kind::Text,
            Node::Int32 | Node::Int64 | Node::Float => Kind::Number,
            Node::Bool => Kind::Bool,
            Node::Time | Node::IntOrString | Node::Quantity => Kind::Scalar,
            Node::Any | Node::SchemaOr(..) => Kind::Any,
        }
    }

    fn field(self, name: &str) -> Option<Self> {
        match &self.table().nodes[self.cursor.index] {
            Node::Struct(kind) => kind.fields.get(name).and_then(|index| self.inner(*index)),
            _ => None,
        }
    }

    fn item(self) -> Option<Self> {
        match &self.table().nodes[self.cursor.index] {
            Node::Map(inner) | Node::List(inner) => self.inner(*inner),
            _ => None,
        }
    }
}
