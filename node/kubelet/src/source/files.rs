//! Static pods: manifests in a directory, run without any master.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use serde_json::Value;
use sha2::{Digest, Sha256};
use store_env::task::TaskResult;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pod::{self, HASH_ANNOTATION, SOURCE_ANNOTATION};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The static pods by uid; `None` until the directory was read once.
pub(crate) type StaticPods = Option<BTreeMap<String, Arc<Pod>>>;

/// Reads the directory again and again, until told to stop.
pub(crate) async fn run(
    directory: Option<PathBuf>,
    node: String,
    pods: watch::Sender<StaticPods>,
    stop: CancellationToken,
) -> TaskResult {
    loop {
        let found = directory.as_deref().map(|path| read(path, &node)).unwrap_or_default();
        pods.send_if_modified(|known| {
            let is_news = known.as_ref().map(|known| known.keys().collect::<Vec<_>>())
                != Some(found.keys().collect());
            if is_news {
                *known = Some(found);
            }
            is_news
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn read(directory: &Path, node: &str) -> BTreeMap<String, Arc<Pod>> {
    let mut pods = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if is_hidden || !matches!(extension, Some("yaml" | "yml" | "json")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        match parse(&text, node, &path) {
            Ok(pod) => drop(pods.insert(pod::uid(&pod).to_owned(), Arc::new(pod))),
            Err(error) => tracing::warn!(file = %path.display(), error, "static pod not read"),
        }
    }
    pods
}

/// Reads a manifest and completes it as the API server would.
pub(crate) fn parse(text: &str, node: &str, path: &Path) -> Result<Pod, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if value["kind"] != "Pod" || value["apiVersion"] != "v1" {
        return Err("not a v1 Pod".to_owned());
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let name = pod.metadata.name.clone().ok_or("metadata.name is missing")?;
    let mut hash = Sha256::new();
    hash.update(node);
    hash.update(path.as_os_str().as_encoded_bytes());
    hash.update(text);
    let hash = pod::hex(&hash.finalize())[..32].to_owned();
    let uid = format!(
        "{}-{}-{}-{}-{}",
        &hash[..8],
        &hash[8..12],
        &hash[12..16],
        &hash[16..20],
        &hash[20..]
    );
    pod.metadata.name = Some(format!("{name}-{node}"));
    pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
    pod.metadata.resource_version = Some(hash.clone());
    pod.metadata.uid = Some(uid);
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(SOURCE_ANNOTATION.to_owned(), "file".to_owned());
    annotations.insert(HASH_ANNOTATION.to_owned(), hash);
    let spec = pod.spec.as_mut().ok_or("spec is missing")?;
    spec.node_name = Some(node.to_owned());
    spec.enable_service_links.get_or_insert(true);
    spec.tolerations.get_or_insert_default().push(Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Default::default()
    });
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_becomes_a_pod_of_this_node_with_a_lasting_uid() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n\
                    spec: {containers: [{name: c, image: busybox:1}]}\n";
        let path = Path::new("/manifests/web.yaml");
        let pod = parse(text, "node-1", path).unwrap();
        assert_eq!(pod::key(&pod), "default/web-node-1");
        assert!(pod::is_static(&pod));
        assert_eq!(parse(text, "node-1", path).unwrap().metadata.uid, pod.metadata.uid);
        assert_ne!(parse(text, "node-2", path).unwrap().metadata.uid, pod.metadata.uid);
        assert_eq!(parse("kind: Service", "node-1", path).unwrap_err(), "not a v1 Pod");
    }
}
