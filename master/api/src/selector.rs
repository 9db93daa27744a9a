//! Label and field selectors: parsed from query strings or from JSON, then matched.
//!
//! # Invariants
//! - An empty selector matches everything; what cannot be parsed is an error, never "everything".

mod parser;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use serde_json::Value;

use crate::field::{FieldError, FieldPath};
use crate::names;

/// How a requirement compares a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The value is one of these.
    In(BTreeSet<String>),
    /// Also true where the label is absent.
    NotIn(BTreeSet<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The value is a number above this.
    GreaterThan(i64),
    /// The value is a number below this.
    LessThan(i64),
}

/// One term of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What its value must be.
    pub operator: Operator,
}

impl Requirement {
    /// Whether labels, looked up by `get`, fulfil the term.
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|text| text.parse::<i64>().ok());
        match &self.operator {
            Operator::In(set) => value.is_some_and(|value| set.contains(value)),
            Operator::NotIn(set) => value.is_none_or(|value| !set.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Operator::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

/// All terms of a label selector; an object must fulfil each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// The terms.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// The selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether there are no terms.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Parses `labelSelector=`: `a=b,c!=d,e in (f,g),!h`.
    pub fn parse(text: &str) -> Result<Self, String> {
        parser::parse(text)
    }

    /// Reads `{matchLabels, matchExpressions}`; an absent selector (`None`, null) matches nothing
    /// and is for the caller to treat.
    pub fn from_json(selector: &Value) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements
                .push(Requirement { key: key.clone(), operator: Operator::In([value].into()) });
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            requirements.push(expression_requirement(expression)?);
        }
        Ok(Self { requirements })
    }

    /// Reads a plain map of labels, as services and replication controllers have it.
    pub fn from_map(labels: &Value) -> Self {
        let pairs = labels.as_object().into_iter().flatten();
        let requirements = pairs
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In([value.as_str().unwrap_or_default().to_owned()].into()),
            })
            .collect();
        Self { requirements }
    }

    /// Whether the `metadata.labels` value (an object, or null) fulfils every term.
    pub fn matches(&self, labels: &Value) -> bool {
        self.requirements
            .iter()
            .all(|term| term.holds(labels.get(&term.key).and_then(Value::as_str)))
    }

    /// The same for a typed map.
    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|term| term.holds(labels.get(&term.key).map(String::as_str)))
    }

    /// Whether an object's own labels fulfil every term.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches(&object["metadata"]["labels"])
    }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, String> {
    let key = expression["key"].as_str().unwrap_or_default().to_owned();
    let values = || -> BTreeSet<String> {
        let items = expression["values"].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let operator = match expression["operator"].as_str().unwrap_or_default() {
        "In" => Operator::In(values()),
        "NotIn" => Operator::NotIn(values()),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(format!("{other:?} is not a valid label selector operator")),
    };
    Ok(Requirement { key, operator })
}

impl Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(",");
        for (index, Requirement { key, operator }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match operator {
                Operator::In(set) if set.len() == 1 => write!(f, "{key}={}", join(set))?,
                Operator::In(set) => write!(f, "{key} in ({})", join(set))?,
                Operator::NotIn(set) if set.len() == 1 => write!(f, "{key}!={}", join(set))?,
                Operator::NotIn(set) => write!(f, "{key} notin ({})", join(set))?,
                Operator::Exists => f.write_str(key)?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::GreaterThan(bound) => write!(f, "{key}>{bound}")?,
                Operator::LessThan(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

/// What is wrong with a JSON label selector at `path`.
pub fn validate(selector: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let labels = path.child("matchLabels");
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        for problem in names::qualified_name(key) {
            errors.push(FieldError::invalid(labels.clone(), key.as_str(), problem));
        }
        for problem in names::label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(labels.clone(), value.clone(), problem));
        }
    }
    let expressions = selector["matchExpressions"].as_array().map_or(&[][..], Vec::as_slice);
    for (index, expression) in expressions.iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        errors.extend(validate_expression(expression, &path));
    }
    errors
}

fn validate_expression(expression: &Value, path: &FieldPath) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let values = expression["values"].as_array().map_or(&[][..], Vec::as_slice);
    match expression["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
            path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
            path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Exists" | "DoesNotExist" => {}
        other => errors.push(FieldError::invalid(
            path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    let key = expression["key"].as_str().unwrap_or_default();
    for problem in names::qualified_name(key) {
        errors.push(FieldError::invalid(path.child("key"), key, problem));
    }
    for (index, value) in values.iter().enumerate() {
        for problem in names::label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(
                path.child("values").index(index),
                value.clone(),
                problem,
            ));
        }
    }
    errors
}

/// One term of a field selector, `key=value` or `key!=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field, for instance `spec.nodeName`.
    pub key: String,
    /// The value.
    pub value: String,
    /// Whether the field must have the value, or must not.
    pub is_equal: bool,
}

/// All terms of a field selector; an object must fulfil each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// The terms.
    pub terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// The selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Whether there are no terms.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Parses `fieldSelector=`: `metadata.name=x,status.phase!=Running`, with `\` escaping `,=\`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_unescaped(text, ',').into_iter().filter(|part| !part.is_empty()) {
            let fail = || format!("invalid selector: '{text}'; can't understand '{part}'");
            let (key, rest) = part.find(['=', '!']).map(|at| part.split_at(at)).ok_or_else(fail)?;
            let (value, is_equal) = if let Some(value) = rest.strip_prefix("!=") {
                (value, false)
            } else if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
                (value, true)
            } else {
                return Err(fail());
            };
            let value = unescape(value).ok_or_else(fail)?;
            terms.push(FieldTerm { key: key.to_owned(), value, is_equal });
        }
        Ok(Self { terms })
    }

    /// Whether the fields (with `metadata.name` and `metadata.namespace` among them) fulfil every
    /// term; an absent field reads as "".
    pub fn matches(&self, fields: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| {
            let value = fields.get(&term.key).map_or("", String::as_str);
            (value == term.value) == term.is_equal
        })
    }

    /// The value that a field must have, where a term says so: `metadata.name=x` makes a list a get.
    pub fn required(&self, key: &str) -> Option<&str> {
        let mut terms = self.terms.iter();
        terms.find(|term| term.is_equal && term.key == key).map(|term| term.value.as_str())
    }
}

impl Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if term.is_equal { "=" } else { "!=" };
            let value = term.value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=");
            write!(f, "{comma}{}{operator}{value}", term.key)?;
        }
        Ok(())
    }
}

fn split_unescaped(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if !is_escaped && c == separator {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
        is_escaped = !is_escaped && c == '\\';
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            '=' => return None,
            _ => plain.push(c),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests;
