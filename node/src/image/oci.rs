//! An OCI image archive, written by hand: layers, configuration, manifest, index, in one tar.
//!
//! `containerd` takes the image's name from the annotation `io.containerd.image.name` in the index;
//! an archive without it loads nothing, silently.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One layer: the gzipped tar and the digest of the plain one.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    gzipped: Vec<u8>,
    diff_id: String,
}

/// Collects the entries of a layer. Times are zero, so that equal content has an equal digest.
pub(super) struct LayerBuilder {
    tar: tar::Builder<Vec<u8>>,
}

impl LayerBuilder {
    pub(super) fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }

    pub(super) fn directory(&mut self, path: &str, mode: u32) -> std::io::Result<()> {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        self.tar.append_data(&mut header, path, std::io::empty())
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> std::io::Result<()> {
        let size = u64::try_from(content.len()).expect("a length fits");
        let mut header = header(tar::EntryType::Regular, mode, size);
        self.tar.append_data(&mut header, path, content)
    }

    pub(super) fn symlink(&mut self, path: &str, target: &str) -> std::io::Result<()> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, path, target)
    }

    pub(super) fn finish(self) -> std::io::Result<Layer> {
        let plain = self.tar.into_inner()?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain)?;
        Ok(Layer { gzipped: encoder.finish()?, diff_id: digest(&plain) })
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Writes an archive that loads as each of `names`. `config` is the image's `config` object.
pub(super) fn write_archive(
    out: &Path,
    names: &[&str],
    config: &Value,
    layers: &[Layer],
) -> std::io::Result<()> {
    let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut described = Vec::new();
    for layer in layers {
        let name = digest(&layer.gzipped);
        described.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": name, "size": layer.gzipped.len(),
        }));
        blobs.insert(name, layer.gzipped.clone());
    }
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let image = json!({
        "architecture": architecture(), "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let image = image.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&image), "size": image.len(),
        },
        "layers": described,
    });
    let manifest = manifest.to_string().into_bytes();
    let manifests: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(&manifest), "size": manifest.len(),
                "annotations": {"io.containerd.image.name": name,
                                "org.opencontainers.image.ref.name": tag_of(name)},
            })
        })
        .collect();
    blobs.insert(digest(&image), image);
    blobs.insert(digest(&manifest), manifest);
    let mut archive = LayerBuilder::new();
    archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    archive.file("index.json", 0o644, index.to_string().as_bytes())?;
    for (name, content) in &blobs {
        let hex = name.trim_start_matches("sha256:");
        archive.file(&format!("blobs/sha256/{hex}"), 0o644, content)?;
    }
    write_whole(out, &archive.tar.into_inner()?)
}

/// A reader never sees half an archive: written beside, then renamed.
fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, content)?;
    std::fs::rename(&partial, path)
}

fn tag_of(name: &str) -> &str {
    name.rsplit_once(':').map_or("latest", |(_, tag)| tag)
}
