//! Rules of volumes.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use super::containers::{field_ref, no_backsteps, relative, resource_ref};
use crate::check::{self, Findings};
use crate::core::persistentvolumeclaims as claims;
use crate::rules::{self, Must, Rule};

pub(crate) const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Checks all volumes of a pod; returns their names.
pub(crate) fn validate(
    volumes: &[Value],
    path: &FieldPath,
    errors: &mut Findings,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, volume) in volumes.iter().enumerate() {
        let path = path.index(at);
        let before = errors.len();
        check::named(volume, "name", &path, names::dns1123_label, errors);
        let name = meta::text(volume, &["name"]);
        if !name.is_empty() && found.contains(name) {
            errors.push(FieldError::duplicate(path.child("name"), name));
        }
        let sources: Vec<&str> = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| *key != "name" && !value.is_null())
            .map(|(key, _)| key.as_str())
            .collect();
        for extra in sources.iter().skip(1) {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(path.child(extra), detail));
        }
        match sources.first() {
            None => errors.push(FieldError::required(path, "must specify a volume type")),
            Some(kind) => source(kind, &volume[*kind], &path.child(kind), errors),
        }
        // One that is wrong counts as not there for whoever refers to it.
        if errors.len() == before {
            found.insert(name.to_owned());
        }
    }
    found
}

fn source(kind: &str, source: &Value, path: &FieldPath, errors: &mut Findings) {
    match kind {
        "hostPath" => {
            check::required(source, "path", path, errors);
            no_backsteps(source, "path", path, errors);
            check::one_of(source, "type", path, &HOST_PATH_TYPES, errors);
        }
        "configMap" => {
            check::required(source, "name", path, errors);
            key_files(source, path, errors);
        }
        "secret" => {
            check::required(source, "secretName", path, errors);
            key_files(source, path, errors);
        }
        "persistentVolumeClaim" => check::required(source, "claimName", path, errors),
        "downwardAPI" => {
            mode(source, "defaultMode", path, errors);
            downward_files(source, path, errors);
        }
        "projected" => projected(source, path, errors),
        "nfs" => {
            check::required(source, "server", path, errors);
            check::required(source, "path", path, errors);
            if !meta::text(source, &["path"]).starts_with('/') {
                let detail = "must be an absolute path";
                let text = meta::text(source, &["path"]);
                errors.push(FieldError::invalid(path.child("path"), text, detail));
            }
        }
        "csi" => driver(source, "driver", path, errors),
        "ephemeral" => match meta::at(source, &["volumeClaimTemplate"]) {
            None => errors.push(FieldError::required(path.child("volumeClaimTemplate"), "")),
            Some(template) => {
                let path = path.child("volumeClaimTemplate").child("spec");
                claims::spec(&template["spec"], &path, errors);
            }
        },
        "image" => {
            check::required(source, "reference", path, errors);
            let policies = ["Always", "IfNotPresent", "Never"];
            check::one_of(source, "pullPolicy", path, &policies, errors);
        }
        "emptyDir" => {
            let size = &source["sizeLimit"];
            let amount = master_api::quantity::Quantity::from_json(size);
            if amount.is_some_and(master_api::quantity::Quantity::is_negative) {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(path.child("sizeLimit"), detail));
            }
        }
        _ => {}
    }
}

fn mode(object: &Value, field: &str, path: &FieldPath, errors: &mut Findings) {
    if let Some(mode) = meta::number(object, &[field]).filter(|mode| !(0..=0o777).contains(mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path.child(field), mode, detail));
    }
}

/// `defaultMode` and `items` of config maps and secrets.
fn key_files(source: &Value, path: &FieldPath, errors: &mut Findings) {
    mode(source, "defaultMode", path, errors);
    for (at, item) in meta::items(source, &["items"]).iter().enumerate() {
        let path = path.child("items").index(at);
        check::required(item, "key", &path, errors);
        file(item, &path, errors);
    }
}

/// Files of what a pod says about itself. Upstream leaves out which one of the list is wrong.
fn downward_files(source: &Value, path: &FieldPath, errors: &mut Findings) {
    for item in meta::items(source, &["items"]) {
        file(item, path, errors);
        match (meta::at(item, &["fieldRef"]), meta::at(item, &["resourceFieldRef"])) {
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path.clone(), "resource", detail));
            }
            (None, None) => {
                let detail = "one of fieldRef and resourceFieldRef is required";
                errors.push(FieldError::required(path.clone(), detail));
            }
            (Some(reference), None) => {
                field_ref(reference, &path.child("fieldRef"), FILE_FIELDS, errors);
            }
            (None, Some(reference)) => {
                let path = path.child("resourceFieldRef");
                if meta::text(reference, &["containerName"]).is_empty() {
                    errors.push(FieldError::required(path.child("containerName"), ""));
                } else {
                    resource_ref(reference, &path, errors);
                }
            }
        }
    }
}

/// Fields of a pod that its files may show.
const FILE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.labels",
    "metadata.annotations",
    "metadata.uid",
];

/// The name of a storage driver.
pub(crate) fn driver(object: &Value, field: &str, path: &FieldPath, errors: &mut Findings) {
    let name = meta::text(object, &[field]);
    if name.is_empty() {
        errors.push(FieldError::required(path.child(field), ""));
        return;
    }
    let rules: &[Rule] = &[("", Must::BeShort(63)), ("", Must::BeFormed(driver_name))];
    rules::check(&object[field], &path.child(field), rules, errors);
}

/// Drivers may be spelled in capitals.
fn driver_name(name: &str) -> Vec<String> {
    names::dns1123_subdomain(&name.to_lowercase())
}

/// A file that a volume makes: a relative path that stays inside, and a mode.
fn file(item: &Value, path: &FieldPath, errors: &mut Findings) {
    check::required(item, "path", path, errors);
    relative(item, "path", path, errors);
    let text = meta::text(item, &["path"]);
    if text.starts_with("..") && !text.starts_with("../") && text != ".." {
        errors.push(FieldError::invalid(path.child("path"), text, "must not start with '..'"));
    }
    mode(item, "mode", path, errors);
}

/// How long a token may live.
pub(crate) const AGE_RULES: &[Rule] = &[
    (
        "expirationSeconds",
        Must::BeWithin(600, i64::MAX, "may not specify a duration less than 10 minutes"),
    ),
    (
        "expirationSeconds",
        Must::BeWithin(i64::MIN, 1 << 32, "may not specify a duration larger than 2^32 seconds"),
    ),
];

fn projected(projection: &Value, whole: &FieldPath, errors: &mut Findings) {
    let path = whole;
    mode(projection, "defaultMode", path, errors);
    let mut paths_seen = BTreeSet::new();
    for (at, source) in meta::items(projection, &["sources"]).iter().enumerate() {
        let path = path.child("sources").index(at);
        let present: Vec<&String> = source
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, _)| key)
            .collect();
        for extra in present.iter().skip(1) {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(path.child(extra), detail));
        }
        // A source of nothing is let through by upstream.
        let Some(kind) = present.first() else { continue };
        let (details, path) = (&source[kind.as_str()], path.child(kind));
        let given = meta::items(details, &["items"]).iter().map(|item| meta::text(item, &["path"]));
        for text in given.chain(Some(meta::text(details, &["path"]))).filter(|it| !it.is_empty()) {
            if !paths_seen.insert(text) {
                let detail = "conflicting duplicate paths";
                errors.push(FieldError::invalid(whole.clone(), text, detail));
            }
        }
        match kind.as_str() {
            "configMap" | "secret" => {
                check::required(details, "name", &path, errors);
                key_files(details, &path, errors);
            }
            "downwardAPI" => downward_files(details, &path, errors),
            "serviceAccountToken" => {
                // Told of the whole volume.
                check::required(details, "path", whole, errors);
                rules::check(details, &path, AGE_RULES, errors);
            }
            _ => {}
        }
    }
}
