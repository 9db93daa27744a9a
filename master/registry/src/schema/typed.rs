//! The same table of nodes as expressions see it: what fields a type has, and of which types they are.

use super::{Cursor, Index, Node, catalog};
use crate::cel::Type;
use crate::cel::unescape;

impl<'a> Cursor<'a> {
    /// What a value is of.
    pub(crate) fn expressed(self) -> Type<'a> {
        let of = |index: Index| Box::new(Self { index, ..self }.expressed());
        match &self.table.nodes[self.index] {
            Node::Struct(kind) if kind.fields.is_empty() => Type::Dyn,
            Node::Struct(_) => Type::Shaped(self),
            Node::Map(inner) => Type::Map(of(*inner)),
            Node::List(inner) => Type::List(of(*inner)),
            Node::Text => Type::Text,
            Node::Bytes => Type::Bytes,
            Node::Time => Type::Timestamp,
            Node::Int32 | Node::Int64 => Type::Int,
            Node::Float => Type::Double,
            Node::Bool => Type::Bool,
            Node::IntOrString | Node::Quantity | Node::Any | Node::SchemaOr(..) => Type::Dyn,
            Node::Builtin(name) => Cursor::named(name).map_or(Type::Dyn, Cursor::expressed),
        }
    }

    /// The type of a field, by the name that expressions write; `None` if there is no such field.
    pub(crate) fn member(self, name: &str) -> Option<Type<'a>> {
        let Node::Struct(kind) = &self.table.nodes[self.index] else { return Some(Type::Dyn) };
        match kind.fields.get(unescape(name).as_str()) {
            Some(index) => Some(Self { index: *index, ..self }.expressed()),
            None => kind.keeps_unknown.then_some(Type::Dyn),
        }
    }
}

impl Cursor<'static> {
    /// A type of ours by its full name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let table = catalog::table();
        Some(Self { table, index: *table.named.get(name)? })
    }
}
