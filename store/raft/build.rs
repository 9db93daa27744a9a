//! Compiles the protocol between members.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=proto/peer.proto");
    tonic_prost_build::configure().bytes(".").compile_protos(&["proto/peer.proto"], &["proto"])
}
