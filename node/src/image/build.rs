//! The images of the walkthrough, made on the spot from the machine's static busybox.
//!
//! `pause` holds a pod's namespaces and reaps its orphans; `busybox` is a shell to look around with;
//! `hello-node` is an HTTP server that says which version and which pod answered whom.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::oci::{Layer, LayerBuilder, write_archive};
use crate::error::{Error, Result};

/// The images that [`build_demo`] makes: file name and the names they load as.
pub const DEMO_IMAGES: &[(&str, &[&str])] = &[
    ("pause.tar", &["trireme.dev/pause:1"]),
    ("busybox.tar", &["docker.io/library/busybox:1", "docker.io/library/busybox:latest"]),
    ("hello-node-v1.tar", &["docker.io/library/hello-node:v1"]),
    ("hello-node-v2.tar", &["docker.io/library/hello-node:v2"]),
];

const BUSYBOX_PATHS: &[&str] = &["/bin/busybox", "/usr/bin/busybox"];

/// PID 1 of a pod: ends on SIGTERM, reaps what is left to it.
const PAUSE: &str = "trap 'exit 0' TERM INT; while :; do sleep 2147483 & wait; done";

/// After SIGTERM the server goes on for a while: clients learn of the end of an endpoint later than
/// the pod does. What is in flight then is finished before the container ends.
const HELLO: &str = "#!/bin/sh
httpd -f -p 0.0.0.0:8080 -h /www &
server=$!
trap 'sleep 3; kill $server; sleep 1; exit 0' TERM INT
wait $server
";

/// Builds all demo images into `out`, from the busybox at its usual place.
pub fn build_demo(out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let path = BUSYBOX_PATHS.iter().map(Path::new).find(|path| path.exists());
    let path = path.ok_or(Error::NoBusybox)?;
    let binary = std::fs::read(path).map_err(Error::io(path))?;
    let applets = applets(path)?;
    let base = base_layer(&binary, &applets).map_err(Error::io(path))?;
    for (file, names) in DEMO_IMAGES {
        let target = out.join(file);
        let (config, layers) = content(file, &base).map_err(Error::io(&target))?;
        write_archive(&target, names, &config, &layers).map_err(Error::io(&target))?;
    }
    Ok(())
}

fn applets(busybox: &Path) -> Result<Vec<String>> {
    let output = Command::new(busybox).arg("--list").output().map_err(Error::io(busybox))?;
    let list = String::from_utf8_lossy(&output.stdout);
    Ok(list.split_whitespace().filter(|name| *name != "busybox").map(str::to_owned).collect())
}

fn base_layer(busybox: &[u8], applets: &[String]) -> std::io::Result<Layer> {
    let mut layer = LayerBuilder::new();
    for directory in ["bin", "etc", "proc", "sys", "dev", "root", "var", "home"] {
        layer.directory(directory, 0o755)?;
    }
    layer.directory("tmp", 0o1777)?;
    layer.file("bin/busybox", 0o755, busybox)?;
    for applet in applets {
        layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    layer.file("etc/passwd", 0o644, users.as_bytes())?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    layer.finish()
}

fn content(file: &str, base: &Layer) -> std::io::Result<(Value, Vec<Layer>)> {
    let path = "PATH=/bin:/usr/bin:/sbin:/usr/sbin";
    let image = |config: Value| {
        let mut config = config;
        config["Env"] = json!([path]);
        config["WorkingDir"] = json!("/");
        config
    };
    Ok(match file {
        "pause.tar" => {
            let config = json!({"Entrypoint": ["/bin/sh", "-c", PAUSE], "User": "65535:65535"});
            (image(config), vec![base.clone()])
        }
        "busybox.tar" => (image(json!({"Cmd": ["sh"]})), vec![base.clone()]),
        _ => {
            let version = if file.contains("v2") { "v2" } else { "v1" };
            let config = json!({"Cmd": ["/bin/hello-node"], "ExposedPorts": {"8080/tcp": {}}});
            (image(config), vec![base.clone(), hello_layer(version)?])
        }
    })
}

fn hello_layer(version: &str) -> std::io::Result<Layer> {
    let page = format!(
        "#!/bin/sh\nread pod </proc/sys/kernel/hostname\n\
         printf 'Content-Type: text/plain\\r\\n\\r\\nHello from hello-node {version}, \
         pod %s, client %s\\n' \"$pod\" \"$REMOTE_ADDR\"\n"
    );
    let mut layer = LayerBuilder::new();
    layer.directory("www", 0o755)?;
    layer.directory("www/cgi-bin", 0o755)?;
    layer.file("www/cgi-bin/index.cgi", 0o755, page.as_bytes())?;
    layer.file("www/healthz", 0o644, b"ok\n")?;
    layer.file("bin/hello-node", 0o755, HELLO.as_bytes())?;
    layer.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn entries(path: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
        let read = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        });
        read.collect()
    }

    #[test]
    fn archives_carry_their_names_and_every_blob_that_they_mention() {
        let dir = tempfile::tempdir().unwrap();
        build_demo(dir.path()).unwrap();
        for (file, names) in DEMO_IMAGES {
            let entries = entries(&dir.path().join(file));
            let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
            let blob = |described: &Value| {
                let digest = described["digest"].as_str().unwrap().replace(':', "/");
                let content = &entries[&format!("blobs/{digest}")];
                assert_eq!(described["size"], content.len());
                content.clone()
            };
            for (manifest, name) in index["manifests"].as_array().unwrap().iter().zip(*names) {
                assert_eq!(manifest["annotations"]["io.containerd.image.name"], **name);
                let manifest: Value = serde_json::from_slice(&blob(manifest)).unwrap();
                let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
                let layers = manifest["layers"].as_array().unwrap();
                assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), layers.len());
                layers.iter().for_each(|layer| drop(blob(layer)));
            }
        }
    }
}
