//! Where a node's containerd keeps what, and the configuration that says so.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Plugins that only make noise where their tools are missing.
const DISABLED: &[&str] = &[
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
];

/// The places of one node's containerd, all under one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `DATA-DIR/containerd`.
    pub directory: PathBuf,
    /// The image of the sandboxes' first process.
    pub pause_image: String,
    /// Where CNI plugins are.
    pub cni_bin: PathBuf,
    /// Where the pod network's configuration appears.
    pub cni_conf: PathBuf,
}

impl Layout {
    /// The usual places under a node's data directory.
    pub fn under(data_dir: &Path, pause_image: &str) -> Self {
        Self {
            directory: data_dir.join("containerd"),
            pause_image: pause_image.to_owned(),
            cni_bin: PathBuf::from("/usr/lib/cni"),
            cni_conf: data_dir.join("cni/net.d"),
        }
    }

    /// The socket of containerd's API and of CRI.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("containerd.sock")
    }

    /// The generated configuration.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("config.toml")
    }

    /// Who runs: pid and start time.
    pub fn pid_file(&self) -> PathBuf {
        self.directory.join("containerd.pid")
    }

    /// What containerd says.
    pub fn log_file(&self) -> PathBuf {
        self.directory.join("containerd.log")
    }

    /// Which archives were loaded into this containerd.
    pub fn loaded_images_file(&self) -> PathBuf {
        self.directory.join("images-loaded.json")
    }

    /// Registries' `hosts.toml` files, as documented for containerd.
    pub fn registries(&self) -> PathBuf {
        self.directory.join("certs.d")
    }

    /// The configuration, in containerd's version 2 (understood by 1.x and 2.x).
    pub fn render(&self) -> String {
        let mut out = String::new();
        let show = |path: PathBuf| format!("{:?}", path.display().to_string());
        let disabled: Vec<String> = DISABLED.iter().map(|name| format!("{name:?}")).collect();
        let mut line = |text: &str| writeln!(out, "{text}").expect("a string takes it");
        line("version = 2");
        line(&format!("root = {}", show(self.directory.join("root"))));
        line(&format!("state = {}", show(self.directory.join("state"))));
        line("oom_score = 0");
        line(&format!("disabled_plugins = [{}]", disabled.join(", ")));
        line("[grpc]");
        line(&format!("  address = {}", show(self.socket())));
        line("[plugins.\"io.containerd.internal.v1.opt\"]");
        line(&format!("  path = {}", show(self.directory.join("opt"))));
        line("[plugins.\"io.containerd.grpc.v1.cri\"]");
        line(&format!("  sandbox_image = {:?}", self.pause_image));
        line("  stream_server_address = \"127.0.0.1\"");
        line("  stream_server_port = \"0\"");
        line("  netns_mounts_under_state_dir = true");
        line("  tolerate_missing_hugetlb_controller = true");
        // Where CAP_SYS_RESOURCE is missing, lowering oom_score_adj would fail every sandbox.
        line("  restrict_oom_score_adj = true");
        line("  disable_apparmor = true");
        line("  enable_unprivileged_ports = true");
        line("  enable_unprivileged_icmp = true");
        line("  max_container_log_line_size = 16384");
        line("  [plugins.\"io.containerd.grpc.v1.cri\".cni]");
        line(&format!("    bin_dir = {}", show(self.cni_bin.clone())));
        line(&format!("    conf_dir = {}", show(self.cni_conf.clone())));
        line("  [plugins.\"io.containerd.grpc.v1.cri\".registry]");
        line(&format!("    config_path = {}", show(self.registries())));
        line("  [plugins.\"io.containerd.grpc.v1.cri\".containerd]");
        line("    snapshotter = \"overlayfs\"");
        line("    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]");
        line("      runtime_type = \"io.containerd.runc.v2\"");
        line("      [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]");
        line("        SystemdCgroup = false");
        line(&format!("        Root = {}", show(self.directory.join("runc"))));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_lives_under_the_nodes_own_directory() {
        let layout = Layout::under(Path::new("/data/node-1"), "trireme.dev/pause:1");
        let rendered = layout.render();
        let paths = rendered.lines().filter_map(|line| line.split_once(" = \"/"));
        let foreign: Vec<_> = paths.filter(|(_, path)| !path.starts_with("data/node-1/")).collect();
        assert_eq!(foreign, [("    bin_dir", "usr/lib/cni\"")]);
        assert!(rendered.contains("sandbox_image = \"trireme.dev/pause:1\""));
    }
}
