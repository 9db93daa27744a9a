//! Tables as data: a column and how its cell is read from an object, side by side.

use jiff::Timestamp;
use master_api::meta;
use serde_json::Value;

use crate::strategy::{Column, age};

/// A column with the function that fills it.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    name: &'static str,
    kind: &'static str,
    priority: i32,
    value: fn(&Value, Timestamp) -> Value,
}

impl Cell {
    /// `metadata.name`.
    pub const NAME: Self = Self::text("Name", |object, _| meta::name(object).into());
    /// Time since creation.
    pub const AGE: Self = Self::text("Age", age);

    pub const fn text(name: &'static str, value: fn(&Value, Timestamp) -> Value) -> Self {
        Self { name, kind: "string", priority: 0, value }
    }

    pub const fn integer(name: &'static str, value: fn(&Value, Timestamp) -> Value) -> Self {
        Self { name, kind: "integer", priority: 0, value }
    }

    pub const fn boolean(name: &'static str, value: fn(&Value, Timestamp) -> Value) -> Self {
        Self { name, kind: "boolean", priority: 0, value }
    }

    /// Shown with `-o wide` only.
    #[must_use]
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}

/// The two table hooks of a strategy, from a list of cells.
macro_rules! tabled {
    ($cells:expr) => {
        fn columns(&self) -> Vec<$crate::strategy::Column> {
            $crate::table::columns($cells)
        }

        fn row(&self, object: &serde_json::Value, now: jiff::Timestamp) -> Vec<serde_json::Value> {
            $crate::table::row($cells, object, now)
        }
    };
}
pub(crate) use tabled;

/// What `kubectl get` shows of kinds without columns of their own.
pub const NAME_AND_AGE: &[Cell] = &[Cell::NAME, Cell::AGE];

pub fn columns(cells: &[Cell]) -> Vec<Column> {
    let column = |cell: &Cell| Column {
        name: cell.name.into(),
        kind: if cell.name == "Created At" { "date" } else { cell.kind },
        format: if cell.name == "Name" { "name" } else { "" },
        priority: cell.priority,
    };
    cells.iter().map(column).collect()
}

pub fn row(cells: &[Cell], object: &Value, now: Timestamp) -> Vec<Value> {
    cells.iter().map(|cell| (cell.value)(object, now)).collect()
}

/// The text under a path of keys, or `<none>`.
pub fn or_none(object: &Value, path: &[&str]) -> Value {
    or(object, path, "<none>")
}

/// The text under a path of keys, or something else.
pub fn or(object: &Value, path: &[&str], other: &'static str) -> Value {
    match meta::text(object, path) {
        "" => other.into(),
        text => text.into(),
    }
}

/// The integer under a path of keys, or 0.
pub fn count(object: &Value, path: &[&str]) -> Value {
    meta::number(object, path).unwrap_or_default().into()
}

/// `key=value` pairs of a string map joined by commas, or `<none>`.
pub fn pairs(map: &Value) -> String {
    let Some(map) = map.as_object().filter(|map| !map.is_empty()) else {
        return "<none>".to_owned();
    };
    let pair =
        |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    map.iter().map(pair).collect::<Vec<_>>().join(",")
}
