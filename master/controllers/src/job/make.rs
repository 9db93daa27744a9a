//! The pods that a Job makes. Pure.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::manage::NewPod;
use super::{FAILURES, FAILURES_IGNORED, INDEX, TRACKING};
use crate::owner::name_of;
use crate::pods;

const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";
/// What the server leaves of a prefix, for five letters of its own.
const PREFIX_BYTES_MAX: usize = 58;

/// A pod of the job's template, with what the job knows of it.
pub(super) fn new_pod(job: &Job, new: NewPod) -> Pod {
    let template = job.spec.clone().unwrap_or_default().template;
    let mut pod = pods::from_template(job, &template);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    let Some(index) = new.index else { return pod };
    let name = name_of(&job.metadata);
    pod.metadata.generate_name = Some(prefix(name, index));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(INDEX.to_owned(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), index.to_string());
    if let Some((counted, ignored)) = new.failures {
        annotations.insert(FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            annotations.insert(FAILURES_IGNORED.to_owned(), ignored.to_string());
        }
    }
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{name}-{index}"));
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        let variables = container.env.get_or_insert_default();
        if !variables.iter().any(|variable| variable.name == INDEX_ENV) {
            variables.push(index_variable());
        }
    }
    pod
}

fn prefix(job: &str, index: i32) -> String {
    let end = format!("-{index}-");
    let start = &job[..job.floor_char_boundary(PREFIX_BYTES_MAX.saturating_sub(end.len()))];
    format!("{start}{end}")
}

fn index_variable() -> EnvVar {
    let field = ObjectFieldSelector {
        field_path: format!("metadata.labels['{INDEX}']"),
        ..ObjectFieldSelector::default()
    };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: INDEX_ENV.to_owned(), value: None, value_from: Some(source) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::object;

    #[test]
    fn pods_of_an_index_carry_what_their_index_has_been_through() {
        let job: Job = object(
            json!({"metadata": {"name": "j", "namespace": "ns", "uid": "u"}, "spec": {"template": {
            "metadata": {"labels": {"a": "b"}, "finalizers": [TRACKING]},
            "spec": {"hostname": "other", "initContainers": [{"name": "i"}],
                "containers": [{"name": "c"}, {"name": "d", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "x"}]}]}}}}),
        );
        let made = |new: NewPod| serde_json::to_value(new_pod(&job, new)).unwrap();
        let plain = made(NewPod::default());
        assert_eq!(plain["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(plain["metadata"]["finalizers"], json!([TRACKING]));
        assert_eq!(plain["metadata"]["generateName"], "j-");
        let second = made(NewPod { index: Some(7), failures: Some((2, 1)) });
        assert_eq!(second["metadata"]["labels"], json!({"a": "b", INDEX: "7"}));
        let counts = json!({INDEX: "7", FAILURES: "2", FAILURES_IGNORED: "1"});
        assert_eq!(second["metadata"]["annotations"], counts);
        assert_eq!(second["metadata"]["generateName"], "j-7-");
        assert_eq!(second["spec"]["hostname"], "j-7");
        let of_label = json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef":
            {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}]);
        assert_eq!(second["spec"]["containers"][0]["env"], of_label);
        assert_eq!(second["spec"]["initContainers"][0]["env"], of_label);
        assert_eq!(second["spec"]["containers"][1]["env"][0]["value"], "x");
        let first = made(NewPod { index: Some(0), failures: Some((0, 0)) });
        assert_eq!(first["metadata"]["annotations"], json!({INDEX: "0", FAILURES: "0"}));
        assert_eq!(prefix(&"x".repeat(63), 12), format!("{}-12-", "x".repeat(54)));
    }
}
