//! Names of drivers, pools, attributes and the like, and sets of things: what is wrong with them.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::names;
use master_api::status::FieldError;
use serde_json::Value;

use crate::check::Findings;
use crate::rules::{self, Must};

const DRIVER_BYTES_MAX: usize = 63;
const POOL_BYTES_MAX: usize = 253;
const ID_BYTES_MAX: usize = 32;

pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// A list, whose length is bounded: of one that is longer nothing else is told.
pub(super) fn bounded<'a>(
    object: &'a Value,
    field: &str,
    max: usize,
    path: &FieldPath,
    errors: &mut Findings,
) -> &'a [Value] {
    let items = object[field].as_array().map_or(&[][..], Vec::as_slice);
    if items.len() <= max {
        return items;
    }
    errors.push(FieldError::too_many(path.child(field), items.len(), max));
    &[]
}

/// What is there twice, by some key.
pub(super) fn distinct(keys: impl Iterator<Item = Value>, path: &FieldPath, errors: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (at, key) in keys.enumerate() {
        if !seen.insert(key.to_string()) {
            errors.push(FieldError::duplicate(path.index(at), key));
        }
    }
}

/// A name, which is wrong if it is not there.
pub(super) fn label(object: &Value, field: &'static str, path: &FieldPath, errors: &mut Findings) {
    let rule = (field, Must::BeGivenFormed(names::dns1123_label));
    rules::check(object, path, &[rule], errors);
}

/// A label's key, which is wrong if it is not there.
pub(super) fn key(text: &str, path: &FieldPath, errors: &mut Findings) {
    formed(text, names::qualified_name(text), path, errors);
}

pub(super) fn formed(text: &str, problems: Vec<String>, path: &FieldPath, errors: &mut Findings) {
    errors.extend(problems.into_iter().map(|it| FieldError::invalid(path.clone(), text, it)));
}

/// A driver's name.
pub(super) fn driver(text: &str, path: &FieldPath, errors: &mut Findings) {
    if text.is_empty() {
        errors.push(FieldError::required(path.clone(), ""));
        return;
    }
    if text.len() > DRIVER_BYTES_MAX {
        errors.push(FieldError::too_long(path.clone(), DRIVER_BYTES_MAX));
    }
    formed(text, names::dns1123_subdomain(&text.to_lowercase()), path, errors);
}

/// The name of a pool: subdomains between slashes.
pub(super) fn pool(name: &str, path: &FieldPath, errors: &mut Findings) {
    if name.is_empty() {
        errors.push(FieldError::required(path.clone(), ""));
        return;
    }
    if name.len() > POOL_BYTES_MAX {
        errors.push(FieldError::too_long(path.clone(), POOL_BYTES_MAX));
    }
    for part in name.split('/') {
        formed(part, names::dns1123_subdomain(part), path, errors);
    }
}

/// An identifier of a share, in the one form that upstream takes.
pub(super) fn uid(text: &str, path: &FieldPath, errors: &mut Findings) {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_form = |text: &str| {
        text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    };
    let inner = |prefix: &str, suffix: &str| {
        text.strip_prefix(prefix).and_then(|text| text.strip_suffix(suffix)).is_some_and(has_form)
    };
    let problem = match text.len() {
        36 if has_form(text) => None,
        45 if !text.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("urn:uuid:")) => {
            let start = text.get(..9).unwrap_or(text);
            Some(format!("error validating uid: invalid urn prefix: {start:?}"))
        }
        45 if has_form(&text[9..]) => None,
        38 if inner("{", "}") => None,
        32 if is_hex(text) => None,
        36 | 45 | 38 | 32 => Some("error validating uid: invalid UUID format".to_owned()),
        length => Some(format!("error validating uid: invalid UUID length: {length}")),
    };
    let is_normal = text.len() == 36 && text == text.to_lowercase();
    let problem = problem.or_else(|| {
        (!is_normal).then(|| "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters".to_owned())
    });
    errors.extend(problem.map(|it| FieldError::invalid(path.clone(), text, it)));
}

/// An attribute or a capacity: a domain and an identifier, or an identifier alone.
pub(super) fn qualified(name: &str, path: &FieldPath, errors: &mut Findings) {
    let nothing = |detail: &str| FieldError::invalid(path.clone(), "", detail);
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(nothing("the domain must not be empty"));
            } else {
                driver(domain, path, errors);
            }
            if id.is_empty() {
                errors.push(nothing("the name must not be empty"));
            } else {
                identifier(id, path, errors);
            }
        }
        // Upstream lets more slashes pass.
        _ => {}
    }
}

/// The same, with a domain.
pub(super) fn fully_qualified(name: &str, path: &FieldPath, errors: &mut Findings) {
    qualified(name, path, errors);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path.clone(), name, detail));
    }
}

fn identifier(id: &str, path: &FieldPath, errors: &mut Findings) {
    if id.len() > ID_BYTES_MAX {
        errors.push(FieldError::too_long(path.clone(), ID_BYTES_MAX));
    }
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_identifier =
        id.bytes().all(is_word) && id.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if !is_identifier {
        let detail = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.push(FieldError::invalid(path.clone(), id, detail));
    }
}

/// Conditions by which binding waits or fails: keys, none twice, none in both, both or none.
pub(super) fn binding(object: &Value, path: &FieldPath, errors: &mut Findings) {
    const SIZE_MAX: usize = 4;
    let (good, bad) = ("bindingConditions", "bindingFailureConditions");
    for field in [good, bad] {
        for (at, item) in bounded(object, field, SIZE_MAX, path, errors).iter().enumerate() {
            let text = item.as_str().unwrap_or_default();
            key(text, &path.child(field).index(at), errors);
        }
    }
    let all = |field: &str| object[field].as_array().cloned().unwrap_or_default();
    let (waited, failed) = (all(good), all(bad));
    distinct(waited.iter().cloned(), &path.child(good), errors);
    distinct(failed.iter().cloned(), &path.child(bad), errors);
    let known: BTreeSet<Option<&str>> = waited.iter().map(Value::as_str).collect();
    let both = failed.iter().enumerate().filter(|(_, item)| known.contains(&item.as_str()));
    for (at, item) in both {
        let detail = "bindingFailureConditions must not overlap with bindingConditions";
        errors.push(FieldError::invalid(path.child(bad).index(at), item.clone(), detail));
    }
    let mut missing = |field: &str, other: &str| {
        let detail = format!("{field} are required to use {other}");
        errors.push(FieldError::invalid(path.child(field), Value::Null, detail));
    };
    match (waited.is_empty(), failed.is_empty()) {
        (true, false) => missing(good, bad),
        (false, true) => missing(bad, good),
        _ => {}
    }
}

/// A driver's own words: an object, which is no longer than this.
pub(super) fn raw(value: &Value, bytes_max: usize, path: &FieldPath, errors: &mut Findings) {
    errors.extend(match value {
        Value::Null => Some(FieldError::required(path.clone(), "")),
        value if value.to_string().len() > bytes_max => {
            Some(FieldError::too_long(path.clone(), bytes_max))
        }
        Value::Object(_) => None,
        _ => {
            let detail = "must be a valid JSON object";
            Some(FieldError::invalid(path.clone(), "<value omitted>", detail))
        }
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_that_are_too_long_are_refused() {
        let keys = |letter: char| (0..5).map(|at| format!("{letter}{at}")).collect::<Value>();
        let object = json!({"bindingConditions": keys('a'), "bindingFailureConditions": keys('b')});
        let mut errors = Findings::new();
        binding(&object, &FieldPath::new("d"), &mut errors);
        let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "d.bindingConditions: Too many: 5: must have at most 4 items",
                "d.bindingFailureConditions: Too many: 5: must have at most 4 items",
            ]
        );
    }

    #[test]
    fn a_condition_is_waited_for_or_fails() {
        let object = json!({"bindingConditions": ["a"], "bindingFailureConditions": ["b", "a"]});
        let mut errors = Findings::new();
        binding(&object, &FieldPath::new("d"), &mut errors);
        let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let detail = "bindingFailureConditions must not overlap with bindingConditions";
        assert_eq!(
            found,
            [format!("d.bindingFailureConditions[1]: Invalid value: \"a\": {detail}")]
        );
    }
}
