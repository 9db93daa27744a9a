//! `v1/persistentvolumes`.

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::status::FieldError;
use master_api::{meta, names, time};
use serde_json::{Value, json};

use crate::check::{self, Findings};
use crate::fill::{absent, made, zero};
use crate::pod::validate::node_selector;
use crate::pod::volumes::{HOST_PATH_TYPES, driver};
use crate::rules::{self, Must, Rule};
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

/// The access modes that a claim must have.
pub(crate) fn modes(spec: &Value, path: &FieldPath, errors: &mut Findings) {
    let path = path.child("accessModes");
    let modes = meta::items(spec, &["accessModes"]);
    if modes.is_empty() {
        let detail = "at least 1 access mode is required";
        errors.push(FieldError::required(path.clone(), detail));
    }
    known_modes(modes, &path, errors);
}

fn known_modes(modes: &[Value], path: &FieldPath, errors: &mut Findings) {
    for mode in modes {
        if !MODES.iter().any(|known| mode == known) {
            errors.push(FieldError::not_supported(path.clone(), mode.clone(), &MODES));
        }
    }
}

/// What there is to say of a specification's fields.
const RULES: &[Rule] = &[
    ("hostPath.path", Must::BeThere("")),
    ("hostPath.type", Must::BeOneOf(&HOST_PATH_TYPES)),
    ("csi.volumeHandle", Must::BeThere("")),
    ("nfs.server", Must::BeThere("")),
    ("nfs.path", Must::BeThere("")),
    ("local.path", Must::BeThere("")),
    ("storageClassName", Must::BeFormedIfAny(names::dns1123_subdomain)),
    ("volumeMode", Must::BeOneOf(&["Block", "Filesystem"])),
];

/// A volume has a size, and nothing else that is counted.
fn capacity(volume: &Value, path: &FieldPath, errors: &mut Findings) {
    let capacity = &volume["spec"]["capacity"];
    let names: Vec<&String> =
        capacity.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    if names.is_empty() {
        errors.push(FieldError::required(path.clone(), ""));
    }
    if names.len() != 1 || names[0] != "storage" {
        errors.push(FieldError::not_supported(path.clone(), capacity.clone(), &["storage"]));
    }
    for (name, amount) in capacity.as_object().into_iter().flatten() {
        let parsed = Quantity::from_json(amount);
        if parsed.is_some_and(|amount| amount.is_zero() || amount.is_negative()) {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(path.key(name), amount.clone(), detail));
        }
    }
}

/// Which nodes can reach the volume.
fn reach(volume: &Value, path: &FieldPath, errors: &mut Findings) {
    let Some(affinity) = meta::at(volume, &["spec", "nodeAffinity"]) else { return };
    match meta::at(affinity, &["required"]) {
        None => {
            let detail = "must specify required node constraints";
            errors.push(FieldError::required(path.child("required"), detail));
        }
        Some(required) => node_selector(required, &path.child("required"), errors),
    }
}

/// Requirements by the labels that zones had before they were stable: one may become the other.
fn with_old_labels(affinity: &Value) -> Value {
    let mut affinity = affinity.clone();
    let terms = affinity.pointer_mut("/required/nodeSelectorTerms").and_then(Value::as_array_mut);
    for term in terms.into_iter().flatten() {
        let found = term.get_mut("matchExpressions").and_then(Value::as_array_mut);
        for requirement in found.into_iter().flatten() {
            let key = match meta::text(requirement, &["key"]) {
                "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
                "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
                "beta.kubernetes.io/os" => "kubernetes.io/os",
                "beta.kubernetes.io/arch" => "kubernetes.io/arch",
                "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
                _ => continue,
            };
            requirement["key"] = key.into();
        }
    }
    affinity
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
        let accessible = meta::items(new, &["spec", "accessModes"]);
        if accessible.is_empty() {
            errors.push(FieldError::required(path.child("accessModes"), ""));
        }
        known_modes(accessible, &path.child("accessModes"), &mut errors);
        capacity(new, &path.child("capacity"), &mut errors);
        rules::check(&new["spec"], &path, RULES, &mut errors);
        if let Some(csi) = meta::at(new, &["spec", "csi"]) {
            driver(csi, "driver", &path.child("csi"), &mut errors);
        }
        reach(new, &path.child("nodeAffinity"), &mut errors);
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
            // Upstream looks at a volume by itself twice.
            errors.extend(errors.clone());
            if source(old) != sources {
                let detail = "spec.persistentvolumesource is immutable after creation";
                errors.push(FieldError::forbidden(path.child("persistentvolumesource"), detail));
            }
            check::immutable(new, old, &["spec", "volumeMode"], &mut errors);
            // Upstream leaves out the word "spec".
            let reach = |volume: &Value| with_old_labels(&volume["spec"]["nodeAffinity"]);
            let (is, was) = (reach(new), reach(old));
            if !was.is_null() && is != was {
                let shown = new["spec"]["nodeAffinity"].clone();
                let detail = "field is immutable, except for updating from beta label to GA";
                errors.push(FieldError::invalid("nodeAffinity", shown, detail));
            }
        }
        errors
    }

    tabled!(CELLS);
}
