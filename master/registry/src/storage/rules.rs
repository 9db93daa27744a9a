//! Rules of storage kinds that say nothing of what was before.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use crate::check::{self, Findings};
use crate::pod::volumes::{AGE_RULES, driver};
use crate::rules::{self, Must, Rule};

const DRIVER: &[Rule] = &[
    ("spec.fsGroupPolicy", Must::BeOneOf(&["File", "None", "ReadWriteOnceWithFSType"])),
    ("spec.tokenRequests", Must::DifferIn("audience")),
];

pub(super) fn csi_driver(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Upstream misspells the first of them.
    for (field, told) in
        [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
    {
        let is = &new["spec"][field];
        if old.is_some_and(|old| old["spec"][field] != *is) {
            let path = FieldPath::new("spec").child(told);
            errors.push(FieldError::invalid(path, is.clone(), check::IMMUTABLE));
        }
    }
    rules::check(new, &FieldPath::default(), DRIVER, &mut errors);
    // Upstream does not say which one of the list is wrong.
    for mode in meta::items(new, &["spec", "volumeLifecycleModes"]) {
        let known = ["Persistent", "Ephemeral"];
        if !known.iter().any(|known| mode == known) {
            let path = "spec.volumeLifecycleModes";
            errors.push(FieldError::not_supported(path, mode.clone(), &known));
        }
    }
    for (at, request) in meta::items(new, &["spec", "tokenRequests"]).iter().enumerate() {
        let path = FieldPath::new("spec.tokenRequests").index(at);
        rules::check(request, &path, AGE_RULES, &mut errors);
    }
    errors
}

pub(super) fn csi_node(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = FieldPath::new("spec").child("drivers");
    let kept = |driver: &Value| {
        let mut driver = driver.clone();
        driver.as_object_mut().map(|fields| fields.remove("allocatable"));
        driver
    };
    for was in old.map_or(&[][..], |old| meta::items(old, &["spec", "drivers"])) {
        let drivers = meta::items(new, &["spec", "drivers"]).iter();
        for is in
            drivers.filter(|is| is["name"] == was["name"] && !check::same(&kept(is), &kept(was)))
        {
            errors.push(FieldError::invalid(path.clone(), is.clone(), check::IMMUTABLE));
        }
    }
    for (at, found) in meta::items(new, &["spec", "drivers"]).iter().enumerate() {
        let path = path.index(at);
        driver(found, "name", &path, &mut errors);
        let id = meta::text(found, &["nodeID"]);
        if id.is_empty() {
            errors.push(FieldError::required(path.child("nodeID"), ""));
        } else if id.len() > 256 {
            let detail = "must be 256 characters or less";
            errors.push(FieldError::invalid(path.child("nodeID"), id, detail));
        }
        let keys = meta::items(found, &["topologyKeys"]);
        // Upstream tells keys at the driver's own place.
        for (at, key) in keys.iter().enumerate() {
            let text = key.as_str().unwrap_or_default();
            if keys[..at].contains(key) {
                errors.push(FieldError::duplicate(path.clone(), text));
            }
            if text.is_empty() {
                errors.push(FieldError::required(path.clone(), ""));
            }
            let formed = ("", Must::BeFormed(names::qualified_name));
            rules::check(key, &path, &[formed], &mut errors);
        }
        rules::check(found, &path, &[("allocatable.count", Must::NotBeNegative)], &mut errors);
    }
    rules::check(
        &new["spec"],
        &FieldPath::new("spec"),
        &[("drivers", Must::DifferIn("name"))],
        &mut errors,
    );
    errors
}

pub(super) fn capacity(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rules: &[Rule] = &[
        ("storageClassName", Must::BeGivenFormed(names::dns1123_subdomain)),
        ("nodeTopology", Must::BeSelector),
        ("capacity", Must::NotBeNegative),
        ("maximumVolumeSize", Must::NotBeNegative),
    ];
    rules::check(new, &FieldPath::default(), rules, &mut errors);
    if let Some(old) = old {
        for field in ["nodeTopology", "storageClassName"] {
            crate::check::immutable(new, old, &[field], &mut errors);
        }
    }
    errors
}

pub(super) fn attributes(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let rules: &[Rule] = &[
        ("driverName", Must::BeThere("")),
        ("driverName", Must::BeFormedIfAny(in_small_letters)),
        ("parameters", Must::BeThere("must contain at least one key/value pair")),
    ];
    let mut shown = new.clone();
    let name = meta::text(new, &["driverName"]).to_lowercase();
    shown["driverName"] = name.into();
    rules::check(&shown, &FieldPath::default(), rules, &mut errors);
    if let Some(old) = old {
        for field in ["driverName", "parameters"] {
            if new[field] != old[field] {
                let detail = format!("updates to {field} are forbidden.");
                errors.push(FieldError::forbidden(field, detail));
            }
        }
    }
    errors
}

/// Names of drivers are judged, and told, in small letters.
fn in_small_letters(name: &str) -> Vec<String> {
    names::qualified_name(&name.to_lowercase())
}

pub(super) fn attachment(new: &Value, errors: &mut Findings) {
    let path = FieldPath::new("spec");
    driver(&new["spec"], "attacher", &path, errors);
    let rules: &[Rule] = &[
        ("nodeName", Must::BeThereFormed(names::dns1123_subdomain)),
        ("source.persistentVolumeName", Must::BeFormed(names::dns1123_subdomain)),
    ];
    let source = &new["spec"]["source"];
    let name = meta::at(source, &["persistentVolumeName"]);
    if name.is_none() && meta::at(source, &["inlineVolumeSpec"]).is_none() {
        let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        errors.push(FieldError::required(path.child("source"), detail));
    }
    if name.is_some_and(|name| name == "") {
        let path = path.child("source").child("persistentVolumeName");
        errors.push(FieldError::required(path, "must specify non empty persistentVolumeName"));
    }
    rules::check(&new["spec"], &path, rules, errors);
}

/// Where volumes of a class may be, and who makes them.
pub(super) fn storage_class(new: &Value, errors: &mut Findings) {
    let rules: &[Rule] = &[
        ("allowedTopologies[].matchLabelExpressions[].values", Must::BeThere("")),
        ("allowedTopologies[].matchLabelExpressions[].values", Must::NotRepeat),
        (
            "allowedTopologies[].matchLabelExpressions[].key",
            Must::BeGivenFormed(names::qualified_name),
        ),
        ("allowedTopologies[].matchLabelExpressions", Must::DifferIn("key")),
    ];
    let provisioner = meta::text(new, &["provisioner"]).to_lowercase();
    for problem in names::qualified_name(&provisioner).iter().filter(|_| !provisioner.is_empty()) {
        errors.push(FieldError::invalid("provisioner", provisioner.as_str(), problem.as_str()));
    }
    rules::check(new, &FieldPath::default(), rules, errors);
    let terms = meta::items(new, &["allowedTopologies"]);
    for (at, term) in terms.iter().enumerate() {
        // Upstream compares a term that says nothing with as many of the kind, none of them anybody's.
        let nobodys =
            if meta::items(term, &["matchLabelExpressions"]).is_empty() { terms.len() } else { 0 };
        let same = terms[..at].iter().filter(|before| check::same(before, term)).count();
        let path = FieldPath::new("allowedTopologies").index(at).child("matchLabelExpressions");
        errors.extend((0..nobodys + same).map(|_| FieldError::duplicate(path.clone(), "")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drivers_of_a_node_are_named_and_known_by_it() {
        let node = json!({"spec": {"drivers": [
            {"name": "a.b", "nodeID": "n", "topologyKeys": ["a.b/c", "a.b/c"]}, {"name": "a.b"}]}});
        let found: Vec<String> = csi_node(&node, None).iter().map(ToString::to_string).collect();
        let expected = [
            "spec.drivers[0]: Duplicate value: \"a.b/c\"",
            "spec.drivers[1].nodeID: Required value",
            "spec.drivers[1].name: Duplicate value: \"a.b\"",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_attachment_has_a_source() {
        let mut errors = Vec::new();
        attachment(
            &json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": {}}}),
            &mut errors,
        );
        assert_eq!(errors[0].field, "spec.source");
    }
}
