//! Rules of volumes.

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::Value;

use super::containers::{no_backsteps, relative};
use crate::check::{self, Findings};

const HOST_PATH_TYPES: [&str; 7] = [
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
        check::named(volume, "name", &path, names::dns1123_label, errors);
        let name = meta::text(volume, &["name"]);
        if !name.is_empty() && !found.insert(name.to_owned()) {
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
            no_backsteps(source, "path", path, errors);
        }
        "csi" => check::required(source, "driver", path, errors),
        "image" => check::required(source, "reference", path, errors),
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

fn downward_files(source: &Value, path: &FieldPath, errors: &mut Findings) {
    for (at, item) in meta::items(source, &["items"]).iter().enumerate() {
        let path = path.child("items").index(at);
        file(item, &path, errors);
        let has = |field: &str| meta::at(item, &[field]).is_some();
        match (has("fieldRef"), has("resourceFieldRef")) {
            (true, true) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", detail));
            }
            (false, false) => {
                let detail = "one of fieldRef and resourceFieldRef is required";
                errors.push(FieldError::required(path, detail));
            }
            _ => {}
        }
    }
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

fn projected(projection: &Value, path: &FieldPath, errors: &mut Findings) {
    mode(projection, "defaultMode", path, errors);
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
        let Some(kind) = present.first() else {
            errors.push(FieldError::required(path, "must specify a volume type"));
            continue;
        };
        let (details, path) = (&source[kind.as_str()], path.child(kind));
        match kind.as_str() {
            "configMap" | "secret" => {
                check::required(details, "name", &path, errors);
                key_files(details, &path, errors);
            }
            "downwardAPI" => downward_files(details, &path, errors),
            "serviceAccountToken" => {
                check::required(details, "path", &path, errors);
                if meta::number(details, &["expirationSeconds"]).is_some_and(|age| age < 600) {
                    let age = details["expirationSeconds"].clone();
                    let detail = "may not specify a duration less than 10 minutes";
                    errors.push(FieldError::invalid(path.child("expirationSeconds"), age, detail));
                }
            }
            _ => {}
        }
    }
}
