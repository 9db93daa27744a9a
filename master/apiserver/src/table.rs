//! Objects as rows and columns (`meta.k8s.io` Table), and as metadata only.

use jiff::Timestamp;
use master_api::status::ApiError;
use master_registry::Resource;
use serde_json::{Value, json};

use crate::content::Form;
use crate::query::Query;

/// What of an object goes with its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Its metadata.
    #[default]
    Metadata,
    Object,
    Nothing,
}

impl Include {
    /// What the client wants, if it wants a table.
    pub fn wanted(form: Form, query: &Query) -> Result<Self, ApiError> {
        if form == Form::Table { Self::of(query) } else { Ok(Self::default()) }
    }

    /// The parameter `includeObject`.
    pub fn of(query: &Query) -> Result<Self, ApiError> {
        match query.get("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("Object") => Ok(Self::Object),
            Some("None") => Ok(Self::Nothing),
            Some(other) => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// A Table of these objects. `metadata` is the list's.
pub fn table<'a>(
    resource: &Resource,
    objects: impl IntoIterator<Item = &'a Value>,
    metadata: Value,
    include: Include,
    now: Timestamp,
    with_columns: bool,
) -> Value {
    let row = |object: &Value| {
        let mut row = json!({ "cells": resource.strategy.row(object, now) });
        match include {
            Include::Nothing => row["object"] = Value::Null,
            Include::Metadata => row["object"] = partial(object),
            Include::Object => row["object"] = object.clone(),
        }
        row
    };
    let rows: Vec<Value> = objects.into_iter().map(row).collect();
    let columns: Vec<Value> = if with_columns {
        resource.strategy.columns().iter().map(|column| column.to_json()).collect()
    } else {
        Vec::new()
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// An object's metadata as an object of its own.
pub fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}
