//! What one driver offers: devices of a pool, on a node or on several.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Value, json};

use super::capacity;
use super::claim::one_taint;
use super::forms::{binding, bounded, distinct, driver, formed, label, pool, qualified, text};
use crate::check::{self, Findings};
use crate::pod::validate::node_selector;

const DEVICES_MAX: usize = 128;
/// Of devices that say more of themselves.
const ELABORATE_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const TAINTS_MAX: usize = 16;
/// Attributes and capacities of one device.
const NAMES_MAX: usize = 32;
/// Values of its attributes.
const VALUES_MAX: usize = 48;
const TEXT_BYTES_MAX: usize = 64;
/// Names of attributes and capacities are not shown longer than the longest that is right.
const SHOWN_BYTES_MAX: usize = 63 + 1 + 32;

pub(super) fn check(new: &Value, old: Option<&Value>) -> Findings {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec");
    let spec = &new["spec"];
    driver(text(spec, "driver"), &path.child("driver"), &mut errors);
    of_pool(&spec["pool"], &path.child("pool"), &mut errors);
    if let Some(old) = old {
        for field in [&["spec", "pool", "name"][..], &["spec", "driver"], &["spec", "nodeName"]] {
            check::immutable(new, old, field, &mut errors);
        }
    }
    nodes(spec, &path, &mut errors);
    if spec["sharedCounters"].is_array() && spec["devices"].is_array() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(path.clone(), "", detail));
    }
    devices(spec, old, &path, &mut errors);
    let sets = bounded(spec, "sharedCounters", COUNTER_SETS_MAX, &path, &mut errors);
    let place = path.child("sharedCounters");
    for (at, set) in sets.iter().enumerate() {
        counters(set, "name", &place.index(at), &mut errors);
    }
    distinct(sets.iter().map(|set| text(set, "name").into()), &place, &mut errors);
    errors
}

/// All that one driver has on one node, say, which may take several slices.
fn of_pool(of: &Value, path: &FieldPath, errors: &mut Findings) {
    pool(text(of, "name"), &path.child("name"), errors);
    let number = |field: &str| meta::number(of, &[field]).unwrap_or_default();
    let (count, generation) = (number("resourceSliceCount"), number("generation"));
    if count <= 0 {
        let place = path.child("resourceSliceCount");
        errors.push(FieldError::invalid(place, count, "must be greater than zero"));
    }
    if generation < 0 {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(path.child("generation"), generation, detail));
    }
}

/// Which of the ways to say on which nodes something is are taken.
fn ways(of: &Value, path: &FieldPath, empty: &str, errors: &mut Findings) -> Vec<&'static str> {
    let mut taken = Vec::new();
    match of["nodeName"].as_str() {
        None => {}
        Some("") => errors.push(FieldError::invalid(path.child("nodeName"), "", empty)),
        Some(name) => {
            taken.push("`nodeName`");
            formed(name, names::dns1123_subdomain(name), &path.child("nodeName"), errors);
        }
    }
    if let Some(selector) = meta::at(of, &["nodeSelector"]) {
        taken.push("`nodeSelector`");
        node_selector(selector, &path.child("nodeSelector"), errors);
    }
    for (field, shown) in
        [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        match of[field].as_bool() {
            Some(true) => taken.push(shown),
            Some(false) => {
                let detail = "must be either unset or set to true";
                errors.push(FieldError::invalid(path.child(field), false, detail));
            }
            None => {}
        }
    }
    taken
}

fn nodes(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let taken = ways(spec, path, "must be either unset or set to a non-empty string", errors);
    if let Some(selector) = meta::at(spec, &["nodeSelector"]) {
        let terms = meta::items(selector, &["nodeSelectorTerms"]);
        if terms.len() != 1 {
            let place = path.child("nodeSelector").child("nodeSelectorTerms");
            let detail = "must have exactly one node selector term";
            let shown = as_go(&selector["nodeSelectorTerms"]);
            errors.push(FieldError::invalid(place, shown, detail));
        }
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match taken.len() {
        0 => errors.push(FieldError::required(path.clone(), detail)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", taken.join(", "));
            let detail = format!("{detail}, but multiple fields are set");
            errors.push(FieldError::invalid(path.clone(), shown, detail));
        }
    }
}

/// Terms with Go's names of their fields.
fn as_go(terms: &Value) -> Value {
    let requirements = |of: &Value| match of.as_array() {
        None => Value::Null,
        Some(all) => all
            .iter()
            .map(|it| json!({"Key": it["key"], "Operator": it["operator"], "Values": it["values"]}))
            .collect(),
    };
    let term = |it: &Value| {
        json!({
            "MatchExpressions": requirements(&it["matchExpressions"]),
            "MatchFields": requirements(&it["matchFields"]),
        })
    };
    terms.as_array().into_iter().flatten().map(term).collect()
}

fn devices(spec: &Value, old: Option<&Value>, path: &FieldPath, errors: &mut Findings) {
    let is_elaborate = |device: &Value| {
        let has = |field: &str| !meta::items(device, &[field]).is_empty();
        has("taints") || has("consumesCounters")
    };
    let all = meta::items(spec, &["devices"]);
    let max = if all.iter().any(is_elaborate) { ELABORATE_DEVICES_MAX } else { DEVICES_MAX };
    let all = bounded(spec, "devices", max, path, errors);
    let path = path.child("devices");
    let before = old.map_or(&[][..], |old| meta::items(old, &["spec", "devices"]));
    let is_per_device = meta::is_true(spec, &["perDeviceNodeSelection"]);
    for (at, device) in all.iter().enumerate() {
        let before = before.iter().find(|it| it["name"] == device["name"]);
        one_device(device, (before, is_per_device), &path.index(at), errors);
    }
    distinct(all.iter().map(|it| text(it, "name").into()), &path, errors);
}

fn one_device(
    device: &Value,
    (before, is_per_device): (Option<&Value>, bool),
    path: &FieldPath,
    errors: &mut Findings,
) {
    label(device, "name", path, errors);
    let count = |field: &str| device[field].as_object().map_or(0, serde_json::Map::len);
    let (attributes, named) = (count("attributes"), count("attributes") + count("capacity"));
    if named > NAMES_MAX {
        let detail =
            format!("the total number of attributes and capacities must not exceed {NAMES_MAX}");
        errors.push(FieldError::invalid(path.clone(), named, detail));
    }
    if attributes > VALUES_MAX {
        let detail = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.push(FieldError::invalid(path.clone(), attributes, detail));
    }
    for (name, attribute) in device["attributes"].as_object().into_iter().flatten() {
        let path = path.child("attributes");
        qualified(name, &path, errors);
        one_attribute(attribute, &path.key(&truncated(name)), errors);
    }
    let is_shared = meta::is_true(device, &["allowMultipleAllocations"]);
    for (name, amount) in device["capacity"].as_object().into_iter().flatten() {
        let path = path.child("capacity");
        qualified(name, &path, errors);
        capacity::check(amount, is_shared, &path.key(&truncated(name)), errors);
    }
    if before.is_none_or(|before| before["taints"] != device["taints"]) {
        let taints = bounded(device, "taints", TAINTS_MAX, path, errors);
        for (at, taint) in taints.iter().enumerate() {
            one_taint(taint, &path.child("taints").index(at), errors);
        }
    }
    let consumed = bounded(device, "consumesCounters", CONSUMPTIONS_MAX, path, errors);
    let place = path.child("consumesCounters");
    for (at, set) in consumed.iter().enumerate() {
        counters(set, "counterSet", &place.index(at), errors);
    }
    distinct(consumed.iter().map(|set| text(set, "counterSet").into()), &place, errors);
    own_nodes(device, is_per_device, path, errors);
    binding(device, path, errors);
}

fn own_nodes(device: &Value, is_per_device: bool, path: &FieldPath, errors: &mut Findings) {
    let has = |field: &str| !device[field].is_null();
    if !is_per_device {
        if has("nodeName") || has("nodeSelector") || has("allNodes") {
            let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid(path.clone(), Value::Null, detail));
        }
        return;
    }
    let taken = ways(device, path, "must not be empty", errors);
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match taken.len() {
        0 => errors.push(FieldError::required(path.clone(), detail)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", taken.join(", "));
            errors.push(FieldError::invalid(path.clone(), shown, detail));
        }
    }
}

fn one_attribute(attribute: &Value, path: &FieldPath, errors: &mut Findings) {
    let kinds = ["bool", "int", "string", "version"];
    if let Some(text) = attribute["string"].as_str()
        && text.len() > TEXT_BYTES_MAX
    {
        errors.push(FieldError::too_long(path.child("string"), TEXT_BYTES_MAX));
    }
    if let Some(text) = attribute["version"].as_str() {
        let place = path.child("version");
        if !is_version(text) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid(place.clone(), text, detail));
        }
        if text.len() > TEXT_BYTES_MAX {
            errors.push(FieldError::too_long(place, TEXT_BYTES_MAX));
        }
    }
    let given = kinds.iter().filter(|kind| meta::at(attribute, &[kind]).is_some()).count();
    let shown = match given {
        0 => Value::from(""),
        1 => return,
        _ => json!({
            "IntValue": attribute["int"], "BoolValue": attribute["bool"],
            "StringValue": attribute["string"], "VersionValue": attribute["version"],
            "IntValues": null, "BoolValues": null, "StringValues": null, "VersionValues": null,
        }),
    };
    errors.push(FieldError::invalid(path.clone(), shown, "exactly one value must be specified"));
}

/// A version by the strict rules of semver.org: no empty part, no zero before other digits.
fn is_version(text: &str) -> bool {
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, before) = match rest.split_once('-') {
        Some((core, before)) => (core, Some(before)),
        None => (rest, None),
    };
    let parts: Vec<&str> = core.split('.').collect();
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3
        && parts.iter().all(|part| is_number(part))
        && before.is_none_or(|before| {
            before.split('.').all(|part| is_word(part) && (!all_digits(part) || is_number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(is_word))
}

/// Counters by their names, of a set that has a name too.
fn counters(set: &Value, name: &'static str, path: &FieldPath, errors: &mut Findings) {
    if text(set, name).is_empty() {
        errors.push(FieldError::required(path.child(name), ""));
    } else {
        label(set, name, path, errors);
    }
    let path = path.child("counters");
    match set["counters"].as_object().filter(|counters| !counters.is_empty()) {
        None => errors.push(FieldError::required(path, "")),
        Some(counters) if counters.len() > COUNTERS_MAX => {
            errors.push(FieldError::too_many(path, counters.len(), COUNTERS_MAX));
        }
        Some(counters) => {
            for name in counters.keys() {
                formed(name, names::dns1123_label(name), &path, errors);
            }
        }
    }
}

/// A name that is too long, without its middle.
fn truncated(name: &str) -> String {
    if name.len() <= SHOWN_BYTES_MAX {
        return name.to_owned();
    }
    let kept = SHOWN_BYTES_MAX - 3;
    let (front, back) = (kept.div_ceil(2), kept / 2);
    let bytes = name.as_bytes();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}...{}", text(&bytes[..front]), text(&bytes[bytes.len() - back..]))
}
