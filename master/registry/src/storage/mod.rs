//! `storage.k8s.io/v1`: kinds with defaults and tables, but no rules that depend on what was before,
//! except that a class stays as it is.

mod rules;

use master_api::meta;
use master_api::status::FieldError;
use serde_json::{Value, json};

use crate::check;
use crate::fill::{absent, made};
use crate::networking::default_name;
use crate::plain::Plain;
use crate::statuses;
use crate::table::{Cell, or};

pub const STORAGE_CLASSES: Plain =
    Plain::bare().default(storage_class).validate(storage_class_rules).cells(&[
        Cell::text("Name", |class, _| {
            default_name(class, "storageclass.kubernetes.io/is-default-class").into()
        }),
        Cell::text("Provisioner", |class, _| or(class, &["provisioner"], "")),
        Cell::text("ReclaimPolicy", |class, _| or(class, &["reclaimPolicy"], "Delete")),
        Cell::text("VolumeBindingMode", |class, _| or(class, &["volumeBindingMode"], "Immediate")),
        Cell::text("AllowVolumeExpansion", |class, _| {
            meta::is_true(class, &["allowVolumeExpansion"]).into()
        }),
        Cell::AGE,
    ]);

pub const CSI_DRIVERS: Plain = Plain::bare()
    .generation_of_updates()
    .default(csi_driver)
    .validate(rules::csi_driver)
    .warnings(driver_warnings)
    .cells(&[
        Cell::NAME,
        Cell::boolean("AttachRequired", |driver, _| flag(driver, "attachRequired")),
        Cell::boolean("PodInfoOnMount", |driver, _| flag(driver, "podInfoOnMount")),
        Cell::boolean("StorageCapacity", |driver, _| flag(driver, "storageCapacity")),
        Cell::text("TokenRequests", |driver, _| token_requests(driver)),
        Cell::boolean("RequiresRepublish", |driver, _| flag(driver, "requiresRepublish")),
        Cell::text("Modes", |driver, _| modes(driver)),
        Cell::AGE,
    ]);

pub const CSI_NODES: Plain = Plain::bare().validate(rules::csi_node).cells(&[
    Cell::NAME,
    Cell::integer("Drivers", |node, _| meta::items(node, &["spec", "drivers"]).len().into()),
    Cell::AGE,
]);

pub const CSI_STORAGE_CAPACITIES: Plain = Plain::bare().validate(rules::capacity).cells(&[
    Cell::NAME,
    Cell::text("Created At", |capacity, _| {
        meta::text(capacity, &["metadata", "creationTimestamp"]).into()
    }),
]);

pub const VOLUME_ATTACHMENTS: Plain = Plain::bare()
    .status()
    .validate(volume_attachment_rules)
    .validate_status(statuses::volume_attachment)
    .cells(&[
        Cell::NAME,
        Cell::text("Attacher", |attachment, _| or(attachment, &["spec", "attacher"], "")),
        Cell::text("PV", |attachment, _| {
            or(attachment, &["spec", "source", "persistentVolumeName"], "")
        }),
        Cell::text("Node", |attachment, _| or(attachment, &["spec", "nodeName"], "")),
        Cell::boolean("Attached", |attachment, _| {
            meta::is_true(attachment, &["status", "attached"]).into()
        }),
        Cell::AGE,
    ]);

pub const VOLUME_ATTRIBUTES_CLASSES: Plain = Plain::bare().validate(rules::attributes).cells(&[
    Cell::NAME,
    Cell::text("DriverName", |class, _| or(class, &["driverName"], "")),
    Cell::AGE,
]);

fn driver_warnings(driver: &Value) -> Vec<String> {
    let tokens = meta::items(driver, &["spec", "tokenRequests"]);
    let is_settled = meta::at(driver, &["spec", "serviceAccountTokenInSecrets"]).is_some();
    let text = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";
    if tokens.is_empty() || is_settled { Vec::new() } else { vec![text.to_owned()] }
}

fn flag(driver: &Value, field: &str) -> Value {
    meta::is_true(driver, &["spec", field]).into()
}

fn token_requests(driver: &Value) -> Value {
    match meta::at(driver, &["spec", "tokenRequests"]).and_then(Value::as_array) {
        None => "<unset>".into(),
        Some(requests) => {
            let audiences = requests.iter().map(|request| meta::text(request, &["audience"]));
            audiences.collect::<Vec<_>>().join(",").into()
        }
    }
}

fn modes(driver: &Value) -> Value {
    let modes = meta::items(driver, &["spec", "volumeLifecycleModes"]);
    match modes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",") {
        text if text.is_empty() => "<none>".into(),
        text => text.into(),
    }
}

fn storage_class(class: &mut Value) {
    let Some(fields) = class.as_object_mut() else { return };
    absent(fields, "reclaimPolicy", "Delete");
    absent(fields, "volumeBindingMode", "Immediate");
}

fn storage_class_rules(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = master_api::field::FieldPath::default();
    rules::storage_class(new, &mut errors);
    check::required(new, "provisioner", &path, &mut errors);
    check::one_of(new, "reclaimPolicy", &path, &["Delete", "Retain"], &mut errors);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    check::required_one_of(new, "volumeBindingMode", &path, &modes, &mut errors);
    let Some(old) = old else { return errors };
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if new[field] != old[field] {
            let detail = format!("updates to {field} are forbidden.");
            errors.push(FieldError::forbidden(field, detail));
        }
    }
    check::immutable(new, old, &["volumeBindingMode"], &mut errors);
    errors
}

fn volume_attachment_rules(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = master_api::field::FieldPath::new("spec");
    rules::attachment(new, &mut errors);
    if old.is_some_and(|old| old["spec"] != new["spec"]) {
        errors.push(FieldError::invalid(path, new["spec"].clone(), check::IMMUTABLE));
    }
    errors
}

fn csi_driver(driver: &mut Value) {
    let Some(fields) = driver.as_object_mut() else { return };
    let spec = made(fields, "spec");
    absent(spec, "attachRequired", true);
    absent(spec, "podInfoOnMount", false);
    absent(spec, "storageCapacity", false);
    absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    absent(spec, "volumeLifecycleModes", json!(["Persistent"]));
    absent(spec, "requiresRepublish", false);
    absent(spec, "seLinuxMount", false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_class_keeps_its_provisioner() {
        let mut class = json!({"metadata": {"name": "c"}, "provisioner": "x"});
        storage_class(&mut class);
        assert_eq!(storage_class_rules(&class, None), []);
        let mut other = class.clone();
        other["provisioner"] = "y".into();
        assert_eq!(
            storage_class_rules(&other, Some(&class))[0].detail,
            "updates to provisioner are forbidden."
        );
    }
}
