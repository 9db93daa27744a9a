//! The shapes of kinds: which fields there are and of which type.
//!
//! Compiled once from k8s-openapi's JSON schemas into a flat table of nodes, so that a body is
//! checked in one pass without looking at a description or a regular expression.

mod catalog;
mod decode;
mod division;
mod go_names;
mod typed;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::custom::structural::Structural;

pub use catalog::definitions;
pub use decode::{FieldValidation, MediaType, Sent, decode, parse, parse_lenient, parse_object};
pub use division::Divided;
pub(crate) use walk::metadata;
pub use walk::{check, check_patched};

/// A place in a [`Table`].
type Index = usize;

/// The type of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// Known fields only.
    Struct(Struct),
    Map(Index),
    List(Index),
    Text,
    /// Base64.
    Bytes,
    /// RFC 3339.
    Time,
    Int32,
    Int64,
    Float,
    Bool,
    IntOrString,
    Quantity,
    /// Whatever JSON there is.
    Any,
    /// A schema within a schema, or what may be in its place.
    SchemaOr(Index, Instead),
    /// A type of k8s-openapi within a schema of its own.
    Builtin(&'static str),
}

/// What may stand where a schema could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instead {
    Bool,
    /// Several schemas; other values are not looked at.
    List,
    /// Names of properties.
    Texts,
}

/// The metadata of every object.
pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A type with fields; `name` is what Go calls it (`DeploymentSpec`), for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Struct {
    name: Box<str>,
    fields: BTreeMap<Box<str>, Index>,
    /// Fields that are there even where they hold nothing.
    required: Vec<Box<str>>,
    /// Kept where the list is not complete (custom resources).
    keeps_unknown: bool,
}

/// All nodes of some schemas, and where named types start.
#[derive(Debug, Default)]
pub(crate) struct Table {
    nodes: Vec<Node>,
    named: BTreeMap<Box<str>, Index>,
    divisions: division::Divisions,
}

/// The shape of a kind.
#[derive(Clone, Debug)]
pub struct Schema {
    /// For instance `io.k8s.api.apps.v1.Deployment`.
    name: Arc<str>,
    /// `None`: the built-in types, compiled when first used.
    own: Option<(Arc<Table>, Index)>,
    /// Of custom kinds: what their fields are pruned by.
    custom: Option<Arc<Structural>>,
}

impl Schema {
    /// The schema of a type of k8s-openapi by its full name; unknown names accept any object.
    pub fn builtin(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), own: None, custom: None }
    }

    /// The schema of a type that this server knows by full name.
    pub fn named(name: &str) -> Option<Self> {
        catalog::table().named.contains_key(name).then(|| Self::builtin(name))
    }

    /// A schema from a JSON schema of its own, such as a custom resource's.
    pub fn from_json(name: &str, schema: &Value) -> Self {
        let mut table = Table::default();
        let root = catalog::Compiler::new(&mut table, &BTreeMap::new()).compile(name, schema);
        Self { name: name.into(), own: Some((Arc::new(table), root)), custom: None }
    }

    /// The schema of a custom kind: bodies are checked by `structural`, of which only what is unknown
    /// and the metadata are matters of decoding.
    pub fn custom(name: &str, schema: &Value, structural: &Arc<Structural>) -> Self {
        let mut table = Table::default();
        let definitions = BTreeMap::new();
        let mut compiler = catalog::Compiler::new(&mut table, &definitions);
        let root = compiler.custom(name, schema);
        let own = Some((Arc::new(table), root));
        Self { name: name.into(), own, custom: Some(structural.clone()) }
    }

    /// The type's full name, as OpenAPI refers to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A cursor on the type of the whole object; `None` for a type that is not known.
    pub fn cursor(&self) -> Option<Cursor<'_>> {
        self.root().map(|(table, index)| Cursor { table, index })
    }

    fn root(&self) -> Option<(&Table, Index)> {
        match &self.own {
            Some((table, root)) => Some((table, *root)),
            None => {
                let table = catalog::table();
                Some((table, *table.named.get(&*self.name)?))
            }
        }
    }
}

/// A type within a schema.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    table: &'a Table,
    index: Index,
}

impl<'a> Cursor<'a> {
    /// The full name of a type with fields.
    pub fn type_name(&self) -> Option<&'a str> {
        match &self.table.nodes[self.index] {
            Node::Struct(kind) => Some(&kind.name),
            _ => None,
        }
    }

    /// The type of a field's value, or of its items where it is a list.
    pub fn field(&self, name: &str) -> Option<Self> {
        let index = match &self.table.nodes[self.index] {
            Node::Struct(kind) => *kind.fields.get(name)?,
            Node::Map(inner) => *inner,
            _ => return None,
        };
        let index = match &self.table.nodes[index] {
            Node::List(inner) => *inner,
            _ => index,
        };
        match self.table.nodes[index] {
            Node::Builtin(name) => {
                let table = catalog::table();
                Some(Self { table, index: *table.named.get(name)? })
            }
            _ => Some(Self { table: self.table, index }),
        }
    }
}

#[cfg(test)]
mod tests;
