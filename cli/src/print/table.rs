//! The server's tables, printed.

use master_api::jsonpath::{Template, shown};
use serde_json::{Value, json};

use super::human;
use super::tabs::Tabs;
use crate::api::discovery::Resource;
use crate::term;

/// What a table shows besides the server's columns.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub is_wide: bool,
    pub has_namespace: bool,
    pub has_headers: bool,
    /// Rows carry their kind: `pod/x`.
    pub has_kind: bool,
    pub has_labels: bool,
    pub label_columns: Vec<String>,
    pub output_watch_events: bool,
}

/// Prints tables of one kind; a watch's rows follow in the same columns.
#[derive(Debug)]
pub struct Printer {
    look: Look,
    tabs: Tabs,
    columns: Vec<(String, bool)>,
    has_printed_headers: bool,
}

impl Printer {
    /// Nothing printed yet.
    pub fn new(look: Look) -> Self {
        Self { look, tabs: Tabs::of_tables(), columns: Vec::new(), has_printed_headers: false }
    }

    /// The text of a table. `event` is a watch's word for what happened.
    pub fn text(&mut self, table: &Value, resource: &Resource, event: &str) -> String {
        if let Some(definitions) =
            table["columnDefinitions"].as_array().filter(|list| !list.is_empty())
        {
            self.columns = definitions
                .iter()
                .map(|column| {
                    let name = column["name"].as_str().unwrap_or_default().to_uppercase();
                    (name, column["priority"].as_i64().unwrap_or(0) == 0)
                })
                .collect();
        }
        let mut text = String::new();
        if self.look.has_headers && !self.has_printed_headers {
            self.has_printed_headers = true;
            text.push_str(&format!("{}\n", self.headers().join("\t")));
        }
        for row in table["rows"].as_array().into_iter().flatten() {
            text.push_str(&format!("{}\n", self.row(row, resource, event).join("\t")));
        }
        self.tabs.lay_out(&text)
    }

    fn headers(&self) -> Vec<String> {
        let look = &self.look;
        let mut cells = Vec::new();
        if look.output_watch_events {
            cells.push("EVENT".into());
        }
        if look.has_namespace {
            cells.push("NAMESPACE".into());
        }
        let shown = self.columns.iter().filter(|(_, is_always)| *is_always || look.is_wide);
        cells.extend(shown.map(|(name, _)| name.clone()));
        let last = |label: &String| label.rsplit('/').next().unwrap_or_default().to_uppercase();
        cells.extend(look.label_columns.iter().map(last));
        if look.has_labels {
            cells.push("LABELS".into());
        }
        cells
    }

    fn row(&self, row: &Value, resource: &Resource, event: &str) -> Vec<String> {
        let look = &self.look;
        let metadata = &row["object"]["metadata"];
        let mut cells = Vec::new();
        if look.output_watch_events {
            cells.push(event.to_owned());
        }
        if look.has_namespace {
            cells.push(cell(&metadata["namespace"]));
        }
        let given = row["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (place, (value, (_, is_always))) in given.iter().zip(&self.columns).enumerate() {
            if !is_always && !look.is_wide {
                continue;
            }
            let text = cell(value);
            cells.push(if place == 0 && look.has_kind { resource.named(&text) } else { text });
        }
        let label = |name: &String| match &metadata["labels"][name.as_str()] {
            Value::Null => "<none>".to_owned(),
            value => cell(value),
        };
        cells.extend(look.label_columns.iter().map(label));
        if look.has_labels {
            cells.push(labels(&metadata["labels"]));
        }
        cells
    }
}

/// `a=b,c=d`, or `<none>`.
pub fn labels(labels: &Value) -> String {
    let pairs: Vec<_> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", shown(value)))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// The table that kubectl makes when the server sends objects: their names and ages.
pub fn fallback(object: &Value) -> Value {
    let row = |one: Value| {
        let age = human::age(one["metadata"]["creationTimestamp"].as_str());
        json!({ "cells": [one["metadata"]["name"], age], "object": { "metadata": one["metadata"] } })
    };
    let rows: Vec<_> = super::objects(object).into_iter().map(row).collect();
    json!({
        "kind": "Table",
        "metadata": object["metadata"],
        "columnDefinitions": [{ "name": "Name", "priority": 0 }, { "name": "Age", "priority": 0 }],
        "rows": rows,
    })
}

/// Orders a table's rows by what a path finds in their objects.
pub fn sort(table: &mut Value, by: &Template) {
    if let Some(rows) = table["rows"].as_array_mut() {
        rows.sort_by(|a, b| order(by, &a["object"], &b["object"]));
    }
}

/// Orders objects by what a path finds in them: numbers as numbers, names with numbers by their sense.
pub fn order(by: &Template, a: &Value, b: &Value) -> std::cmp::Ordering {
    let first = |value| by.values(value).first().map(|&found| found.clone());
    match (first(a), first(b)) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(std::cmp::Ordering::Equal)
        }
        (a, b) => a.as_ref().map(shown).cmp(&b.as_ref().map(shown)),
    }
}

fn cell(value: &Value) -> String {
    term::safe_line(&shown(value)).replace('\t', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Value {
        json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Ready", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [
                {"cells": ["b", "1/1", "10.0.0.2"], "object": {"metadata": {"namespace": "ns", "labels": {"app": "x"}}}},
                {"cells": ["a\u{1b}[31m", "0/1", null], "object": {"metadata": {"namespace": "other"}}},
            ],
        })
    }

    fn pods() -> Resource {
        Resource {
            singular: "pod".into(),
            plural: "pods".into(),
            kind: "Pod".into(),
            ..Resource::default()
        }
    }

    fn check(change: fn(&mut Look), wanted: &str) {
        let mut look = Look { has_headers: true, ..Look::default() };
        change(&mut look);
        assert_eq!(Printer::new(look).text(&table(), &pods(), "ADDED"), wanted);
    }

    #[test]
    fn tables_show_what_was_asked_for() {
        check(|_| {}, "NAME      READY\nb         1/1\na^[[31m   0/1\n");
        check(
            |look| look.is_wide = true,
            "NAME      READY   IP\nb         1/1     10.0.0.2\na^[[31m   0/1     \n",
        );
        check(|look| look.has_headers = false, "b         1/1\na^[[31m   0/1\n");
        check(
            |look| look.has_namespace = true,
            "NAMESPACE   NAME      READY\nns          b         1/1\nother       a^[[31m   0/1\n",
        );
        check(
            |look| look.has_kind = true,
            "NAME          READY\npod/b         1/1\npod/a^[[31m   0/1\n",
        );
        check(
            |look| look.has_labels = true,
            "NAME      READY   LABELS\nb         1/1     app=x\na^[[31m   0/1     <none>\n",
        );
        check(
            |look| look.label_columns = vec!["app".into()],
            "NAME      READY   APP\nb         1/1     x\na^[[31m   0/1     <none>\n",
        );
    }
}
