//! `rbac.authorization.k8s.io/v1` role bindings and cluster role bindings.

use master_api::field::FieldPath;
use master_api::status::FieldError;
use master_api::{meta, names};
use serde_json::{Map, Value};

use crate::check;
use crate::fill::{made, objects, zero};
use crate::plain::Plain;
use crate::table::Cell;

const GROUP: &str = "rbac.authorization.k8s.io";

const CELLS: &[Cell] = &[
    Cell::NAME,
    Cell::text("Role", |binding, _| {
        let text = |field: &str| meta::text(binding, &["roleRef", field]);
        format!("{}/{}", text("kind"), text("name")).into()
    }),
    Cell::AGE,
    Cell::text("Users", |binding, _| subjects(binding, "User").into()).wide(),
    Cell::text("Groups", |binding, _| subjects(binding, "Group").into()).wide(),
    Cell::text("ServiceAccounts", |binding, _| subjects(binding, "ServiceAccount").into()).wide(),
];

pub const ROLE_BINDINGS: Plain = Plain::bare()
    .path_names()
    .cells(CELLS)
    .default(default)
    .validate(|new, old| validate(new, old, &["Role", "ClusterRole"]));
pub const CLUSTER_ROLE_BINDINGS: Plain = Plain::bare()
    .path_names()
    .cells(CELLS)
    .default(default)
    .validate(|new, old| validate(new, old, &["ClusterRole"]));

fn subjects(binding: &Value, kind: &str) -> String {
    let all = meta::items(binding, &["subjects"]).iter().filter(|subject| subject["kind"] == kind);
    let name = |subject: &Value| match meta::text(subject, &["namespace"]) {
        namespace if kind == "ServiceAccount" => {
            format!("{namespace}/{}", meta::text(subject, &["name"]))
        }
        _ => meta::text(subject, &["name"]).to_owned(),
    };
    all.map(name).collect::<Vec<_>>().join(", ")
}

fn default(binding: &mut Value) {
    let Some(fields) = binding.as_object_mut() else { return };
    zero(made(fields, "roleRef"), "apiGroup", GROUP);
    for subject in objects(fields, "subjects") {
        subject_group(subject);
    }
}

fn subject_group(subject: &mut Map<String, Value>) {
    if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
        zero(subject, "apiGroup", GROUP);
    }
}

fn validate(new: &Value, old: Option<&Value>, kinds: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let is_namespaced = kinds.contains(&"Role");
    let path = FieldPath::new("roleRef");
    check::one_of(&new["roleRef"], "apiGroup", &path, &[GROUP], &mut errors);
    let kind = meta::text(new, &["roleRef", "kind"]);
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(path.child("kind"), kind, kinds));
    }
    check::named(&new["roleRef"], "name", &path, names::path_segment, &mut errors);
    for (at, subject) in meta::items(new, &["subjects"]).iter().enumerate() {
        let path = FieldPath::new("subjects").index(at);
        check::required(subject, "name", &path, &mut errors);
        match meta::text(subject, &["kind"]) {
            "ServiceAccount" => {
                check::well_formed(subject, "name", &path, names::dns1123_subdomain, &mut errors);
                let group = meta::text(subject, &["apiGroup"]);
                if !group.is_empty() {
                    let known = &[""];
                    errors.push(FieldError::not_supported(path.child("apiGroup"), group, known));
                }
                // Of a role binding it goes without saying that it is the binding's own.
                if !is_namespaced {
                    check::required(subject, "namespace", &path, &mut errors);
                }
            }
            "User" | "Group" => {
                check::one_of(subject, "apiGroup", &path, &[GROUP], &mut errors);
            }
            other => {
                let known = ["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(path.child("kind"), other, &known));
            }
        }
    }
    if let Some(old) = old
        && old["roleRef"] != new["roleRef"]
    {
        let shown = new["roleRef"].clone();
        errors.push(FieldError::invalid("roleRef", shown, "cannot change roleRef"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_role_of_a_binding_stays() {
        let binding = |role: &str| {
            let mut binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": role},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]});
            default(&mut binding);
            binding
        };
        let new = binding("x");
        assert_eq!(new["subjects"][0]["apiGroup"], GROUP);
        assert_eq!(validate(&new, Some(&new), &["Role"]), []);
        assert_eq!(
            validate(&new, Some(&binding("y")), &["Role"])[0].detail,
            "cannot change roleRef"
        );
        let row = crate::table::row(CELLS, &new, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(row, ["b", "Role/x", "<unknown>", "u", "", "n/s"]);
    }
}
