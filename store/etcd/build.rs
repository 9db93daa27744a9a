//! Compiles etcd's protocol: names and field numbers are etcd's, the files are ours.

fn main() -> std::io::Result<()> {
    let files = ["proto/kv.proto", "proto/rpc.proto", "proto/health.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    tonic_prost_build::configure().build_client(false).bytes(".").compile_protos(&files, &["proto"])
}
