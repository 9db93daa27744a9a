//! The columns that a definition gives its kind's table.

use std::borrow::Cow;

use jiff::Timestamp;
use master_api::jsonpath::Path;
use master_api::time;
use serde_json::Value;

use crate::strategy::Column;

/// A column after the name's.
#[derive(Clone, Debug)]
pub struct PrinterColumn {
    column: Column,
    path: Path,
}

/// The columns of a version; the age where it has none of its own.
pub fn of_version(version: &Value) -> Vec<PrinterColumn> {
    let listed = version["additionalPrinterColumns"].as_array();
    // As upstream does, without those from the first on that cannot be read.
    let columns: Vec<PrinterColumn> = listed.into_iter().flatten().map_while(column).collect();
    if listed.is_none_or(Vec::is_empty) {
        return column(&serde_json::json!({
            "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
        }))
        .into_iter()
        .collect();
    }
    columns
}

fn column(described: &Value) -> Option<PrinterColumn> {
    let path = Path::parse(described["jsonPath"].as_str()?).ok()?;
    let column = Column {
        name: Cow::Owned(described["name"].as_str()?.to_owned()),
        kind: kind(described["type"].as_str()?)?,
        format: format(described["format"].as_str().unwrap_or_default()),
        priority: described["priority"].as_i64().and_then(|it| i32::try_from(it).ok()).unwrap_or(0),
    };
    Some(PrinterColumn { column, path })
}

/// The types that a column may have.
pub const KINDS: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
/// The formats that a column may have.
pub const FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

fn kind(text: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|known| *known == text)
}

fn format(text: &str) -> &'static str {
    FORMATS.into_iter().find(|known| *known == text).unwrap_or("")
}

impl PrinterColumn {
    pub fn head(&self) -> &Column {
        &self.column
    }

    /// The cell of an object; null where there is nothing, or nothing of the column's type.
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.first(object).filter(|value| !value.is_null()) else {
            return Value::Null;
        };
        match self.column.kind {
            "integer" => match value.as_i64() {
                Some(number) => number.into(),
                None => value.as_f64().map_or(Value::Null, |float| (float as i64).into()),
            },
            "number" => {
                if value.is_number() {
                    value.clone()
                } else {
                    Value::Null
                }
            }
            "boolean" => {
                if value.is_boolean() {
                    value.clone()
                } else {
                    Value::Null
                }
            }
            "date" => match value.as_str().map(time::parse) {
                Some(Some(then)) => time::age(Some(then), now).into(),
                Some(None) => "<invalid>".into(),
                None => Value::Null,
            },
            _ => match value {
                Value::String(text) => text.as_str().into(),
                other => other.to_string().into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_end_before_the_first_that_cannot_be_read() {
        let column = |path: &str| json!({"name": path, "type": "string", "jsonPath": path});
        let names = |columns: Value| {
            let columns = of_version(&json!({ "additionalPrinterColumns": columns }));
            columns.iter().map(|column| column.head().name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(json!([column(".a"), column(".b[x]"), column(".c")])), [".a"]);
        assert!(names(json!([column(".b[x]")])).is_empty());
        assert_eq!(names(json!([])), ["Age"]);
    }

    #[test]
    fn cells_have_the_type_of_their_column() {
        let object = json!({"spec": {"n": 3, "f": 1.5, "b": true, "t": "x", "o": {"a": 1}},
            "metadata": {"creationTimestamp": "1969-12-31T23:59:00Z"}});
        #[rustfmt::skip]
        let cases = [
            ("integer", ".spec.n", json!(3)),       ("integer", ".spec.f", json!(1)),
            ("number",  ".spec.f", json!(1.5)),     ("boolean", ".spec.b", json!(true)),
            ("string",  ".spec.t", json!("x")),     ("string",  ".spec.o", json!("{\"a\":1}")),
            ("string",  ".spec.n", json!("3")),     ("string",  ".spec.none", Value::Null),
            ("date",    ".metadata.creationTimestamp", json!("60s")),
            ("date",    ".spec.t", json!("<invalid>")),
        ];
        for (kind, path, expected) in cases {
            let version = json!({"additionalPrinterColumns": [{"name": "C", "type": kind, "jsonPath": path}]});
            let cell = of_version(&version)[0].cell(&object, Timestamp::UNIX_EPOCH);
            assert_eq!(cell, expected, "{kind} {path}");
        }
        assert_eq!(of_version(&json!({}))[0].head().name, "Age");
    }
}
