//! What whoever writes a pod, or a template of one, should know although it is fine.
//!
//! # Path
//! `Strategy::warnings` of pods and workloads → here

use std::collections::BTreeSet;

use master_api::field::FieldPath;
use master_api::quantity::Quantity;
use master_api::{meta, names};
use serde_json::Value;

/// Labels of nodes that have new names.
const OLD_LABELS: [(&str, &str); 4] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
];

/// What there is to say of a pod.
pub(crate) fn of_pod(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let name = meta::name(pod);
    let problems = names::dns1123_label(name);
    if !problems.is_empty() && !name.is_empty() {
        found.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.iter().map(|problem| format!("{problem:?}")).collect::<Vec<_>>().join(" ")
        ));
    }
    spec(&pod["spec"], &FieldPath::new("spec"), &mut found);
    found
}

/// What there is to say of a template; nothing of one that stays as it was.
pub(crate) fn of_template(new: &Value, old: Option<&Value>, path: &[&str]) -> Vec<String> {
    let template = meta::at(new, path);
    let mut found = Vec::new();
    if let Some(template) = template.filter(|_| old.and_then(|old| meta::at(old, path)) != template)
    {
        let place = FieldPath::new(path.join(".")).child("spec");
        spec(&template["spec"], &place, &mut found);
    }
    found
}

fn spec(spec: &Value, path: &FieldPath, found: &mut Vec<String>) {
    for label in spec["nodeSelector"].as_object().into_iter().flatten().map(|(label, _)| label) {
        if let Some((_, text)) = OLD_LABELS.iter().find(|(old, _)| old == label) {
            found.push(format!("{}: {text}", path.child("nodeSelector").key(label)));
        }
    }
    for (at, volume) in meta::items(spec, &["volumes"]).iter().enumerate() {
        if meta::at(volume, &["gitRepo"]).is_some() {
            let place = path.child("volumes").index(at).child("gitRepo");
            found.push(format!("{place}: deprecated in v1.11, and disabled by default in v1.33+"));
        }
        overlapping(volume, found);
        let sources = meta::items(volume, &["projected", "sources"]);
        let is_nothing = |source: &Value| source.as_object().is_none_or(|it| it.is_empty());
        if sources.iter().any(is_nothing) {
            let name = meta::text(volume, &["name"]);
            found.push(format!("volume {name:?} (Projected) has no sources provided"));
        }
    }
    repeated(spec, "hostAliases", "ip", path, found);
    repeated(spec, "imagePullSecrets", "name", path, found);
    for (at, secret) in meta::items(spec, &["imagePullSecrets"]).iter().enumerate() {
        if meta::text(secret, &["name"]).is_empty() {
            let place = path.child("imagePullSecrets").index(at).child("name");
            found.push(format!("{place}: invalid empty name \"\""));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (at, container) in meta::items(spec, &[list]).iter().enumerate() {
            self::container(container, &path.child(list).index(at), found);
        }
    }
    if let Some(grace) = meta::number(spec, &["terminationGracePeriodSeconds"])
        && grace < 0
    {
        let place = path.child("terminationGracePeriodSeconds");
        found.push(format!(
            "{place}: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    unselective(&spec["affinity"], &path.child("affinity"), found);
}

/// Entries of a list that say the same again.
fn repeated(spec: &Value, list: &str, field: &str, path: &FieldPath, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, item) in meta::items(spec, &[list]).iter().enumerate() {
        let text = meta::text(item, &[field]);
        if !seen.insert(text) && !text.is_empty() {
            let place = path.child(list).index(at).child(field);
            found.push(format!("{place}: duplicate {field} {text:?}"));
        }
    }
}

fn container(container: &Value, path: &FieldPath, found: &mut Vec<String>) {
    for (list, name) in [
        ("limits", "memory"),
        ("requests", "memory"),
        ("limits", "ephemeral-storage"),
        ("requests", "ephemeral-storage"),
    ] {
        let amount = &container["resources"][list][name];
        let is_whole = Quantity::from_json(amount).is_none_or(|it| it.is_whole());
        if !is_whole {
            let place = path.child("resources").child(list).key(name);
            let text = amount.as_str().unwrap_or_default();
            found.push(format!(
                "{place}: fractional byte value {text:?} is invalid, must be an integer"
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (at, variable) in meta::items(container, &["env"]).iter().enumerate() {
        let name = meta::text(variable, &["name"]);
        let refers = meta::text(variable, &["value"]).contains(&format!("$({name})"));
        if !seen.insert(name) && !refers {
            let place = path.child("env").index(at);
            found.push(format!(
                "{place}: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (at, port) in meta::items(container, &["ports"]).iter().enumerate() {
        let number = |field: &str| meta::number(port, &[field]).unwrap_or_default();
        let text = |field: &str| meta::text(port, &[field]);
        let place = path.child("ports").index(at);
        if number("hostPort") == 0 && !text("hostIP").is_empty() {
            found.push(format!(
                "{place}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                text("name"),
                number("containerPort"),
                text("protocol"),
                text("hostIP")
            ));
        }
        if number("containerPort") != 0
            && !seen.insert((
                number("containerPort"),
                text("protocol"),
                number("hostPort"),
                text("hostIP"),
            ))
        {
            found.push(format!("{place}: duplicate port definition with {}", {
                let same = |other: &&Value| {
                    other["containerPort"] == port["containerPort"]
                        && other["protocol"] == port["protocol"]
                };
                let first = meta::items(container, &["ports"]).iter().position(|it| same(&it));
                path.child("ports").index(first.unwrap_or_default())
            }));
        }
    }
}

/// Files of one volume that are in each other's way.
fn overlapping(volume: &Value, found: &mut Vec<String>) {
    let name = meta::text(volume, &["name"]);
    for (kind, field, word) in [
        ("configMap", "name", "ConfigMap"),
        ("secret", "secretName", "Secret"),
        ("downwardAPI", "", "DownwardAPI"),
    ] {
        let Some(source) = meta::at(volume, &[kind]) else { continue };
        let shown = match meta::text(source, &[field]) {
            "" => word.to_owned(),
            of => format!("{word} {of:?}"),
        };
        let mut paths: Vec<&str> = meta::items(source, &["items"])
            .iter()
            .map(|item| meta::text(item, &["path"]))
            .collect();
        paths.sort_unstable();
        for pair in paths.windows(2) {
            if pair[0] == pair[1] || pair[1].starts_with(&format!("{}/", pair[0])) {
                found.push(format!(
                    "volume {name:?} ({shown}): overlapping paths: {:?} with {:?}",
                    pair[1], pair[0]
                ));
            }
        }
    }
}

/// Terms that no pod fits.
fn unselective(affinity: &Value, path: &FieldPath, found: &mut Vec<String>) {
    const TEXT: &str = "a null labelSelector results in matching no pod";
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (list, term) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", None),
            ("preferredDuringSchedulingIgnoredDuringExecution", Some("podAffinityTerm")),
        ] {
            for (at, item) in meta::items(affinity, &[kind, list]).iter().enumerate() {
                let place = path.child(kind).child(list).index(at);
                let (item, place) = match term {
                    None => (item, place),
                    Some(term) => (&item[term], place.child(term)),
                };
                if meta::at(item, &["labelSelector"]).is_none() {
                    found.push(format!("{}: {TEXT}", place.child("labelSelector")));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_hides_or_repeats_something_is_told() {
        let pod = json!({"metadata": {"name": "a.b"}, "spec": {"nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "containers": [{"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
                "resources": {"limits": {"memory": "100m"}}}]}});
        let expected = [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [\"must not contain dots\"]",
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        ];
        assert_eq!(of_pod(&pod), expected);
    }

    #[test]
    fn a_template_that_stays_is_not_spoken_of() {
        let of = |image: &str| json!({"spec": {"template": {"spec": {"imagePullSecrets": [{}], "containers": [{"image": image}]}}}});
        let path = ["spec", "template"];
        assert_eq!(of_template(&of("a"), None, &path).len(), 1);
        assert_eq!(of_template(&of("a"), Some(&of("a")), &path), [""; 0]);
        assert_eq!(of_template(&of("b"), Some(&of("a")), &path).len(), 1);
    }
}
