//! `v1/configmaps`.
//!
//! Rules of the kind: at most 1 MiB together; an immutable one keeps its data.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::names;
use master_api::status::FieldError;
use serde_json::Value;

use crate::check::Findings;
use crate::strategy::Strategy;
use crate::table::{Cell, tabled};

pub(crate) const DATA_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub struct ConfigMaps;

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Data", |object, _| {
        (entries(object, "data") + entries(object, "binaryData")).into()
    }),
    Cell::AGE,
];

pub(crate) fn entries(object: &Value, field: &str) -> usize {
    object[field].as_object().map_or(0, serde_json::Map::len)
}

/// Keys of a data field, well formed; returns the bytes of its values.
pub(crate) fn keys_and_bytes(object: &Value, field: &str, errors: &mut Findings) -> usize {
    let mut bytes = 0;
    for (key, value) in object[field].as_object().into_iter().flatten() {
        for problem in names::config_key(key) {
            let path = FieldPath::new(field).key(key);
            errors.push(FieldError::invalid(path, key.as_str(), problem));
        }
        bytes += value.as_str().map_or(0, str::len);
    }
    bytes
}

/// What an immutable object must keep.
pub(crate) fn kept_immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Findings) {
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        let detail = "field is immutable when `immutable` is set";
        errors.push(FieldError::forbidden("immutable", detail));
    }
    for field in fields {
        if new[*field] != old[*field] {
            let detail = "field is immutable when `immutable` is set";
            errors.push(FieldError::forbidden(*field, detail));
        }
    }
}

impl Strategy for ConfigMaps {
    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let bytes = keys_and_bytes(new, "data", &mut errors)
            + keys_and_bytes(new, "binaryData", &mut errors) / 4 * 3;
        let keys = |field: &str| -> BTreeSet<&String> {
            new[field].as_object().into_iter().flatten().map(|(key, _)| key).collect()
        };
        for key in keys("data").intersection(&keys("binaryData")) {
            let path = FieldPath::new("data").key(key);
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(path, key.as_str(), detail));
        }
        if bytes > DATA_BYTES_MAX {
            errors.push(FieldError::too_long("[]", DATA_BYTES_MAX));
        }
        if let Some(old) = old {
            kept_immutable(new, old, &["data", "binaryData"], &mut errors);
        }
        errors
    }

    tabled!(CELLS);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(new: Value, old: Option<Value>, expected: &[&str]) {
        let found: Vec<String> =
            ConfigMaps.validate(&new, old.as_ref()).into_iter().map(|error| error.field).collect();
        assert_eq!(found, expected, "{new}");
    }

    #[test]
    fn immutable_maps_keep_their_data() {
        let map =
            |immutable: bool, value: &str| json!({"data": {"k": value}, "immutable": immutable});
        check(map(false, "1"), Some(map(false, "2")), &[]);
        check(map(true, "1"), Some(map(true, "1")), &[]);
        check(map(true, "1"), Some(map(true, "2")), &["data"]);
        check(map(false, "2"), Some(map(true, "1")), &["immutable", "data"]);
    }

    #[test]
    fn keys_and_size_are_bounded() {
        check(json!({"data": {"a b": ""}}), None, &["data[a b]"]);
        check(json!({"data": {"a": "x"}, "binaryData": {"a": "eA=="}}), None, &["data[a]"]);
        check(json!({"data": {"a": "x".repeat((1 << 20) + 1)}}), None, &["[]"]);
        assert_eq!(ConfigMaps.row(&json!({"data": {"a": "x"}}), jiff::Timestamp::UNIX_EPOCH)[1], 1);
    }
}
