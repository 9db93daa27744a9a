//! Compiles etcd's protocol: names and field numbers are etcd's, the files are ours.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let files = [
        "proto/kv.proto",
        "proto/rpc.proto",
        "proto/health.proto",
        "proto/v3lock.proto",
        "proto/v3election.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let out = std::env::var_os("OUT_DIR").ok_or(std::io::ErrorKind::NotFound)?;
    tonic_prost_build::configure()
        .build_client(false)
        .bytes(".")
        // The JSON gateway reads messages by it.
        .file_descriptor_set_path(Path::new(&out).join("descriptors.bin"))
        .compile_protos(&files, &["proto"])
}
