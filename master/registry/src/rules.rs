//! Rules as data: where a field is, and what must hold of it, in upstream's words.
//!
//! A place is a path of field names; `[]` after a name stands for every item of that list, and an empty path for the
//! object itself. What has no such place, or depends on several fields, is code in the file of its kind.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::selector;
use master_api::status::FieldError;
use serde_json::Value;

use crate::check::Findings;
use crate::objectmeta;

/// What is wrong with a text.
pub(crate) type Form = fn(&str) -> Vec<String>;

/// A place, and what must hold there.
pub(crate) type Rule = (&'static str, Must);

/// What must hold of a field. Most say nothing of a field that is not there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Must {
    /// Something is there.
    BeThere(&'static str),
    /// The object has this field; it is missed at the object's own place.
    Have(&'static str, &'static str),
    /// One of some texts.
    BeOneOf(&'static [&'static str]),
    /// The same, and no text is none of them.
    BeGivenOneOf(&'static [&'static str]),
    /// The same, with a word for its absence.
    BeChosen(&'static str, &'static [&'static str]),
    /// A well-formed text.
    BeFormed(Form),
    /// The same, and no text is an empty one.
    BeGivenFormed(Form),
    /// A well-formed text, unless it is empty.
    BeFormedIfAny(Form),
    /// Something that is well formed.
    BeThereFormed(Form),
    /// The object's field is well formed; it is told at the object's own place.
    HaveFormed(&'static str, Form),
    /// Not negative.
    NotBeNegative,
    /// A number from one to another, for this reason.
    BeWithin(i64, i64, &'static str),
    /// The same, and no number is zero.
    BeGivenWithin(i64, i64, &'static str),
    /// No scalar twice in the list.
    NotRepeat,
    /// No two objects of the list with the same field; told at that field.
    DifferIn(&'static str),
    /// The same, told at the object's own place.
    DifferAtItem(&'static str),
    /// At most so many bytes.
    BeShort(usize),
    /// Labels.
    BeLabels,
    /// A label selector.
    BeSelector,
}

/// Holds an object at `path` against rules.
pub(crate) fn check(object: &Value, path: &FieldPath, rules: &[Rule], errors: &mut Findings) {
    for (place, must) in rules {
        walk(object, path, place, must, errors);
    }
}

fn walk(object: &Value, path: &FieldPath, place: &str, must: &Must, errors: &mut Findings) {
    if place.is_empty() {
        judge(object, path, must, errors);
        return;
    }
    let (step, rest) = place.split_once('.').unwrap_or((place, ""));
    if let Some(name) = step.strip_suffix("[]") {
        let items = object.get(name).and_then(Value::as_array);
        for (at, item) in items.into_iter().flatten().enumerate() {
            walk(item, &path.child(name).index(at), rest, must, errors);
        }
        return;
    }
    const NOTHING: &Value = &Value::Null;
    let found = object.get(step).unwrap_or(NOTHING);
    // What is missing in something that is missing itself is nobody's fault.
    if rest.is_empty() || found.is_object() {
        walk(found, &path.child(step), rest, must, errors);
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn judge(value: &Value, path: &FieldPath, must: &Must, errors: &mut Findings) {
    let text = value.as_str().unwrap_or_default();
    match must {
        Must::BeThere(detail) => {
            if is_nothing(value) {
                errors.push(FieldError::required(path.clone(), *detail));
            }
        }
        Must::Have(field, detail) => {
            if value.get(*field).is_none_or(is_nothing) {
                errors.push(FieldError::required(path.clone(), *detail));
            }
        }
        Must::BeOneOf(known) => {
            if !value.is_null() && !known.contains(&text) {
                errors.push(FieldError::not_supported(path.clone(), text, known));
            }
        }
        Must::BeGivenOneOf(known) => {
            if !known.contains(&text) {
                errors.push(FieldError::not_supported(path.clone(), text, known));
            }
        }
        Must::BeChosen(detail, known) => {
            if text.is_empty() {
                errors.push(FieldError::required(path.clone(), *detail));
            } else if !known.contains(&text) {
                errors.push(FieldError::not_supported(path.clone(), text, known));
            }
        }
        Must::BeFormed(form) if !value.is_null() => formed(text, path, *form, errors),
        Must::BeGivenFormed(form) => formed(text, path, *form, errors),
        Must::BeFormedIfAny(form) if !text.is_empty() => formed(text, path, *form, errors),
        Must::BeThereFormed(form) => {
            if text.is_empty() {
                errors.push(FieldError::required(path.clone(), ""));
            } else {
                formed(text, path, *form, errors);
            }
        }
        Must::HaveFormed(field, form) => {
            let text = value.get(*field).and_then(Value::as_str).unwrap_or_default();
            formed(text, path, *form, errors);
        }
        other => judge_rest(value, path, other, errors),
    }
}

/// Numbers, lists, and what has rules elsewhere.
fn judge_rest(value: &Value, path: &FieldPath, must: &Must, errors: &mut Findings) {
    match must {
        Must::NotBeNegative => {
            let amount = Quantity::from_json(value).filter(|_| value.is_string());
            let is_negative = value.as_i64().is_some_and(|number| number < 0)
                || amount.is_some_and(Quantity::is_negative);
            if is_negative {
                let detail = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(path.clone(), value.clone(), detail));
            }
        }
        Must::BeWithin(least, most, detail) if !value.is_null() => {
            within(value, (*least, *most), detail, path, errors);
        }
        Must::BeGivenWithin(least, most, detail) => {
            within(value, (*least, *most), detail, path, errors);
        }
        Must::NotRepeat => {
            let mut seen = BTreeSet::new();
            for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                if !seen.insert(item.to_string()) {
                    errors.push(FieldError::duplicate(path.index(at), item.clone()));
                }
            }
        }
        Must::DifferIn(field) => differ(value, field, path, true, errors),
        Must::DifferAtItem(field) => differ(value, field, path, false, errors),
        Must::BeShort(bytes_max) if value.as_str().unwrap_or_default().len() > *bytes_max => {
            errors.push(FieldError::too_long(path.clone(), *bytes_max));
        }
        Must::BeLabels => errors.extend(objectmeta::label_map(value, path)),
        Must::BeSelector => errors.extend(selector::validate(value, path)),
        _ => {}
    }
}

fn formed(text: &str, path: &FieldPath, form: Form, errors: &mut Findings) {
    let found = form(text).into_iter();
    errors.extend(found.map(|problem| FieldError::invalid(path.clone(), text, problem)));
}

fn within(
    value: &Value,
    (least, most): (i64, i64),
    detail: &str,
    path: &FieldPath,
    errors: &mut Findings,
) {
    let number = value.as_i64().unwrap_or_default();
    if !(least..=most).contains(&number) {
        errors.push(FieldError::invalid(path.clone(), number, detail));
    }
}

fn differ(list: &Value, field: &str, path: &FieldPath, at_field: bool, errors: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (at, item) in list.as_array().into_iter().flatten().enumerate() {
        let Some(value) = item.get(field).filter(|value| !is_nothing(value)) else { continue };
        if !seen.insert(value.to_string()) {
            let item = path.index(at);
            let place = if at_field { item.child(field) } else { item };
            errors.push(FieldError::duplicate(place, value.clone()));
        }
    }
}

/// One address, of either family, as one reader reads it like any other.
pub(crate) fn address(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => vec![MAPPED.to_owned()],
        Ok(_) => Vec::new(),
        Err(_) if without_zeros(text).parse::<IpAddr>().is_ok() => vec![ZEROS.to_owned()],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// A range of addresses, as one reader reads it like any other.
pub(crate) fn range(text: &str) -> Vec<String> {
    let read = |text: &str| {
        let (address, bits) = text.split_once('/')?;
        let bits = bits.bytes().all(|digit| digit.is_ascii_digit()).then_some(bits)?;
        IpNet::new(address.parse().ok()?, bits.parse().ok()?).ok()
    };
    let bits = text.rsplit('/').next().unwrap_or_default();
    let has_zeros = bits.len() > 1 && bits.starts_with('0');
    let problem = match read(text).filter(|_| !has_zeros) {
        Some(IpNet::V6(range)) if range.addr().to_ipv4_mapped().is_some() => RANGE_MAPPED,
        Some(range) if range.addr() != range.network() => RANGE_BITS,
        Some(_) => return Vec::new(),
        None if read(&without_zeros(text)).is_some() => RANGE_ZEROS,
        None => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
    };
    vec![problem.to_owned()]
}

const MAPPED: &str = "must not be an IPv4-mapped IPv6 address";
const ZEROS: &str = "must not have leading 0s";
const RANGE_MAPPED: &str = "must not have an IPv4-mapped IPv6 address";
const RANGE_ZEROS: &str = "must not have leading 0s in IP or prefix length";
const RANGE_BITS: &str = "must not have bits set beyond the prefix length";

/// Numbers as they were read before leading zeros were refused.
fn without_zeros(text: &str) -> String {
    let number = |number: &str| {
        let kept = number.trim_start_matches('0');
        if kept.is_empty() && !number.is_empty() { "0".to_owned() } else { kept.to_owned() }
    };
    let parts = |text: &str| text.split('.').map(number).collect::<Vec<_>>().join(".");
    match text.split_once('/') {
        Some((address, bits)) => format!("{}/{}", parts(address), number(bits)),
        None => parts(text),
    }
}

/// Whether this refuses an address only for how it is written: what an object has stays, until somebody changes it.
pub(crate) fn is_about_form(error: &FieldError) -> bool {
    [MAPPED, ZEROS, RANGE_MAPPED, RANGE_ZEROS, RANGE_BITS].contains(&&*error.detail)
}

/// What a client should know of an address that is right and not written in the one form (RFC 5952).
pub(crate) fn address_warning(text: &str, path: &FieldPath) -> Option<String> {
    let canonical = text.parse::<Ipv6Addr>().ok()?.to_string();
    (canonical != text).then(|| {
        format!(
            "{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})"
        )
    })
}

/// A port's number is told as upstream's webhooks and services of API servers tell it.
pub(crate) const PORT: Must =
    Must::BeWithin(1, 65535, "port is not valid: must be between 1 and 65535, inclusive");

/// A user or group by number.
pub(crate) const ID: Must =
    Must::BeWithin(0, i32::MAX as i64, "must be between 0 and 2147483647, inclusive");

/// A path with a domain before it, such as `acme.io/foo`.
pub(crate) fn domain_path(text: &str) -> Vec<String> {
    let is_domain_path = text.split_once('/').is_some_and(|(domain, path)| {
        let is_path = !path.is_empty()
            && path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/_.-~%!$&'()*+,;=:@".contains(&byte));
        master_api::names::dns1123_subdomain(domain).is_empty() && is_path
    });
    if is_domain_path {
        return Vec::new();
    }
    vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()]
}

#[cfg(test)]
mod tests {
    use master_api::names;
    use serde_json::json;

    use super::*;

    const RULES: &[Rule] = &[
        ("spec.name", Must::BeThere("why")),
        ("spec.mode", Must::BeOneOf(&["A", "B"])),
        ("spec.items[].key", Must::BeGivenFormed(names::dns1123_label)),
        ("spec.items", Must::DifferIn("key")),
        ("spec.words[]", Must::BeFormed(names::dns1123_label)),
        ("spec.words", Must::NotRepeat),
        ("spec.inner.count", Must::BeGivenWithin(1, 3, "must be between 1 and 3")),
        ("spec.items[]", Must::Have("value", "must have a value")),
    ];

    fn found(spec: Value) -> Vec<String> {
        let mut errors = Vec::new();
        check(&json!({ "spec": spec }), &FieldPath::default(), RULES, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_read_in_one_way() {
        #[rustfmt::skip]
        let cases = [
            ("10.9.8.7",            vec![]),
            ("2001:DB8:0::1",       vec![]),
            ("010.9.8.7",           vec![ZEROS]),
            ("10.9.8.00",           vec![ZEROS]),
            ("::ffff:10.9.8.7",     vec![MAPPED]),
            ("10.9.8",              vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
            ("010.9.8",             vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
        ];
        for (text, expected) in cases {
            assert_eq!(address(text), expected, "{text}");
        }
        let none = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        #[rustfmt::skip]
        let cases = [
            ("10.9.8.0/24",         vec![]),
            ("0.0.0.0/0",           vec![]),
            ("2001:DB8::/64",       vec![]),
            ("10.9.8.7/24",         vec![RANGE_BITS]),
            ("2001:db8::1/64",      vec![RANGE_BITS]),
            ("010.9.8.0/24",        vec![RANGE_ZEROS]),
            ("10.9.8.0/024",        vec![RANGE_ZEROS]),
            ("10.9.8.0/08",         vec![RANGE_ZEROS]),
            ("::ffff:10.9.8.0/120", vec![RANGE_MAPPED]),
            ("10.9.8.0/33",         vec![none]),
            ("10.9.8.0",            vec![none]),
            ("10.9.8.0/",           vec![none]),
            ("10.9.8.0/+8",         vec![none]),
        ];
        for (text, expected) in cases {
            assert_eq!(range(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_right_is_not_told() {
        let item = json!({"key": "a", "value": "v"});
        let right = json!({"name": "n", "mode": "A", "items": [item], "words": ["a", "b"], "inner": {"count": 2}});
        assert_eq!(found(right), [""; 0]);
        assert_eq!(found(json!({"name": "n"})), [""; 0]);
    }

    #[test]
    fn each_place_is_told_by_its_own_path() {
        let label = names::dns1123_label("-");
        #[rustfmt::skip]
        let cases = [
            (json!({}),                                "spec.name: Required value: why".to_owned()),
            (json!({"name": "n", "mode": ""}),         "spec.mode: Unsupported value: \"\": supported values: \"A\", \"B\"".to_owned()),
            (json!({"name": "n", "words": ["a", "a"]}), "spec.words[1]: Duplicate value: \"a\"".to_owned()),
            (json!({"name": "n", "words": ["-"]}),     format!("spec.words[0]: Invalid value: \"-\": {}", label[0])),
            (json!({"name": "n", "items": [{"value": "v"}]}), format!("spec.items[0].key: Invalid value: \"\": {}", label[0])),
            (json!({"name": "n", "items": [{"key": "a"}]}), "spec.items[0]: Required value: must have a value".to_owned()),
            (json!({"name": "n", "inner": {}}),        "spec.inner.count: Invalid value: 0: must be between 1 and 3".to_owned()),
        ];
        for (spec, expected) in cases {
            assert_eq!(found(spec.clone()), [expected], "{spec}");
        }
    }
}
