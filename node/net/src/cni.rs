//! The CNI configuration that containerd reads: `ptp` (a routed veth) with `host-local` addresses.

use std::path::Path;

use serde_json::json;

use crate::Config;
use crate::ip::NetError;

/// Written into the CNI folder under this name.
pub const FILE: &str = "10-trireme.conflist";

/// The configuration's text for a node whose pods live in `pod_cidr`.
pub fn conflist(config: &Config, pod_cidr: &str) -> String {
    json!({
        "cniVersion": "0.4.0",
        "name": format!("trireme-{}", config.cluster_id),
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "dataDir": config.ipam_dir,
                    "ranges": [[{ "subnet": pod_cidr }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true }, "snat": true },
        ],
    })
    .to_string()
}

/// Writes the file, unless it is there already just so.
pub async fn write(config: &Config, pod_cidr: &str) -> Result<(), NetError> {
    let path = config.cni_conf_dir.join(FILE);
    let text = conflist(config, pod_cidr);
    if tokio::fs::read_to_string(&path).await.is_ok_and(|there| there == text) {
        return Ok(());
    }
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| NetError::File { path, source }
    };
    tokio::fs::create_dir_all(&config.cni_conf_dir).await.map_err(failed(&config.cni_conf_dir))?;
    tokio::fs::create_dir_all(&config.ipam_dir).await.map_err(failed(&config.ipam_dir))?;
    // containerd reads the folder when it changes: the file must appear whole.
    let partial = config.cni_conf_dir.join(".trireme.partial");
    tokio::fs::write(&partial, text).await.map_err(failed(&partial))?;
    tokio::fs::rename(&partial, &path).await.map_err(failed(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_get_addresses_of_their_node_and_two_clusters_do_not_meet() {
        let config = |cluster_id: &str| Config {
            cluster_id: cluster_id.into(),
            node_name: "n".into(),
            node_ip: [10, 88, 0, 1].into(),
            pod_cidr_cluster: "10.244.0.0/16".into(),
            cni_conf_dir: "/c".into(),
            ipam_dir: "/i".into(),
        };
        let text = conflist(&config("a"), "10.244.3.0/24");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.244.3.0/24");
        assert_ne!(text, conflist(&config("b"), "10.244.3.0/24"));
    }
}
