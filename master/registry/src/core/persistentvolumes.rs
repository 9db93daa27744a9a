//! `v1/persistentvolumes`.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, time};
use serde_json::{Value, json};

use crate::check::{self, Findings};
use crate::fill::{absent, made, zero};
use crate::strategy::{Cx, Shape, Strategy, fresh, status_and_metadata};
use crate::table::{Cell, or, tabled};

#[derive(Clone, Copy, Debug)]
pub struct PersistentVolumes;

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// Fields of the specification that are no source of storage.
const PLAIN: [&str; 10] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
    "",
];

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Capacity", |volume, _| or(volume, &["spec", "capacity", "storage"], "")),
    Cell::text("Access Modes", |volume, _| access_modes(&volume["spec"]["accessModes"]).into()),
    Cell::text("Reclaim Policy", |volume, _| {
        or(volume, &["spec", "persistentVolumeReclaimPolicy"], "")
    }),
    Cell::text("Status", |volume, _| status(volume).into()),
    Cell::text("Claim", |volume, _| claim(volume).into()),
    Cell::text("StorageClass", |volume, _| or(volume, &["spec", "storageClassName"], "")),
    Cell::text("VolumeAttributesClass", |volume, _| {
        or(volume, &["spec", "volumeAttributesClassName"], "<unset>")
    }),
    Cell::text("Reason", |volume, _| or(volume, &["status", "reason"], "")),
    Cell::AGE,
    Cell::text("VolumeMode", |volume, _| or(volume, &["spec", "volumeMode"], "<unset>")).wide(),
];

/// `RWO,ROX`.
pub(crate) fn access_modes(modes: &Value) -> String {
    let has = |mode: &str| modes.as_array().is_some_and(|modes| modes.iter().any(|m| m == mode));
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let found = short.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short);
    found.collect::<Vec<_>>().join(",")
}

fn status(volume: &Value) -> &str {
    if meta::is_terminating(volume) {
        "Terminating"
    } else {
        meta::text(volume, &["status", "phase"])
    }
}

fn claim(volume: &Value) -> String {
    match meta::at(volume, &["spec", "claimRef"]) {
        None => String::new(),
        Some(claim) => {
            format!("{}/{}", meta::text(claim, &["namespace"]), meta::text(claim, &["name"]))
        }
    }
}

/// The access modes that a volume or claim must have.
pub(crate) fn modes(object: &Value, errors: &mut Findings) {
    let path = FieldPath::new("spec").child("accessModes");
    let modes = meta::items(object, &["spec", "accessModes"]);
    if modes.is_empty() {
        let detail = "at least 1 access mode is required";
        errors.push(FieldError::required(path.clone(), detail));
    }
    for mode in modes {
        if !MODES.iter().any(|known| mode == known) {
            errors.push(FieldError::not_supported(path.clone(), mode.clone(), &MODES));
        }
    }
}

impl Strategy for PersistentVolumes {
    fn shape(&self) -> Shape {
        Shape { status: true, generation: false }
    }

    fn default(&self, volume: &mut Value) {
        let Some(fields) = volume.as_object_mut() else { return };
        let spec = made(fields, "spec");
        zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        absent(spec, "volumeMode", "Filesystem");
        if let Some(path) = crate::fill::object(spec, "hostPath") {
            absent(path, "type", "");
        }
    }

    fn prepare_create(&self, new: &mut Value, cx: &Cx<'_>) {
        fresh(new, self.shape());
        let now = time::seconds(cx.now);
        new["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
    }

    /// When the phase changes, so does the time that it did.
    fn prepare_status_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        status_and_metadata(new, old);
        let time_of = |volume: &Value| volume["status"]["lastPhaseTransitionTime"].clone();
        let (is, was) = (time_of(new), time_of(old));
        if new["status"]["phase"] != old["status"]["phase"] && (is.is_null() || is == was) {
            let now = time::seconds(cx.now);
            meta::object_mut(new, &["status"]).insert("lastPhaseTransitionTime".into(), now.into());
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = FieldPath::new("spec");
        modes(new, &mut errors);
        let capacity = path.child("capacity");
        if meta::at(new, &["spec", "capacity", "storage"]).is_none() {
            errors.push(FieldError::required(capacity.clone(), ""));
        }
        check::amounts(&new["spec"]["capacity"], &capacity, &mut errors);
        let policies = ["Delete", "Recycle", "Retain"];
        check::one_of(&new["spec"], "persistentVolumeReclaimPolicy", &path, &policies, &mut errors);
        let source = |object: &Value| -> Vec<(String, Value)> {
            let fields = object["spec"].as_object().into_iter().flatten();
            let sources = fields.filter(|(key, _)| !PLAIN.contains(&key.as_str()));
            sources.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let sources = source(new);
        if sources.is_empty() {
            errors.push(FieldError::required(path.clone(), "must specify a volume type"));
        }
        for (extra, _) in sources.iter().skip(1) {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(path.child(extra), detail));
        }
        if let Some(old) = old {
            if source(old) != sources {
                let detail = "spec.persistentvolumesource is immutable after creation";
                errors.push(FieldError::forbidden(path.child("persistentvolumesource"), detail));
            }
            check::immutable(new, old, &["spec", "volumeMode"], &mut errors);
        }
        errors
    }

    tabled!(CELLS);
}
