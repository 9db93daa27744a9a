//! The masters as the cluster last named them, kept on disk.
//!
//! Those that the node was told of when it joined may all have been replaced by the time it starts again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Endpoints;
use kube::Api;
use store_env::task::TaskResult;
use tokio_util::sync::CancellationToken;

/// In the node's data directory: a list of URLs.
const FILE: &str = "masters.json";
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What was written last; nothing if nothing was.
pub fn read(data_dir: &Path) -> Vec<String> {
    let text = std::fs::read(data_dir.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Writes them whenever they have changed, until stopped.
pub async fn keep(client: kube::Client, data_dir: PathBuf, stop: CancellationToken) -> TaskResult {
    let endpoints: Api<Endpoints> = Api::namespaced(client, "default");
    let mut written = read(&data_dir);
    loop {
        match endpoints.get("kubernetes").await {
            Err(error) => tracing::debug!(%error, "masters not read"),
            Ok(found) => {
                let masters = urls(&found);
                if !masters.is_empty() && masters != written {
                    match write(&data_dir, &masters) {
                        Ok(()) => written = masters,
                        Err(error) => tracing::warn!(%error, "masters not written"),
                    }
                }
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return Ok(());
        }
    }
}

/// Complete or not at all.
fn write(data_dir: &Path, masters: &[String]) -> std::io::Result<()> {
    let beside = data_dir.join(format!(".{FILE}"));
    std::fs::write(&beside, serde_json::to_vec(masters)?)?;
    std::fs::rename(beside, data_dir.join(FILE))
}

fn urls(endpoints: &Endpoints) -> Vec<String> {
    let mut urls = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        for address in subset.addresses.iter().flatten() {
            let ports = subset.ports.iter().flatten();
            urls.extend(ports.map(|port| format!("https://{}:{}", address.ip, port.port)));
        }
    }
    urls.sort();
    urls
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn masters_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).is_empty());
        let found = json!({"subsets": [{
            "addresses": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1"}],
            "ports": [{"name": "https", "port": 6443}],
        }]});
        let masters = urls(&serde_json::from_value(found).unwrap());
        assert_eq!(masters, ["https://10.0.0.1:6443", "https://10.0.0.2:6443"]);
        write(folder.path(), &masters).unwrap();
        assert_eq!(read(folder.path()), masters);
    }
}
