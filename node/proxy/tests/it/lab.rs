//! Network namespaces made for one test and removed with it.
//!
//! ```text
//! pod1 10.244.0.2 --.
//! pod2 10.244.0.3 ---- node 10.88.0.1 ---- neighbour 10.88.0.2
//! ```

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Namespaces, servers and files of one test.
pub(crate) struct Lab {
    prefix: String,
    folder: PathBuf,
    servers: Vec<Child>,
}

const SPACES: [&str; 4] = ["node", "pod1", "pod2", "neighbour"];

impl Lab {
    pub(crate) fn up() -> Self {
        let prefix = format!("trip{:08x}", rand::random::<u32>());
        let folder = std::env::temp_dir().join(&prefix);
        let mut lab = Self { prefix, folder, servers: Vec::new() };
        for space in SPACES {
            lab.ip(&["netns", "add", &lab.space(space)]);
            lab.ip(&["-n", &lab.space(space), "link", "set", "lo", "up"]);
        }
        for (pod, address) in [("pod1", "10.244.0.2"), ("pod2", "10.244.0.3")] {
            lab.cable(pod, "10.244.0.1", address);
            lab.ip(&["-n", &lab.space("node"), "route", "add", address, "dev", pod]);
        }
        lab.cable("neighbour", "10.88.0.1", "10.88.0.2");
        lab.ip(&["-n", &lab.space("node"), "route", "add", "10.88.0.2", "dev", "neighbour"]);
        // A route for service addresses, as the default route is on a real node.
        lab.ip(&[
            "-n",
            &lab.space("node"),
            "route",
            "add",
            "default",
            "via",
            "10.88.0.2",
            "onlink",
            "dev",
            "neighbour",
        ]);
        lab.run("node", "sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        for pod in ["pod1", "pod2"] {
            lab.serve(pod);
        }
        lab
    }

    fn space(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// A veth between the node and another space, routed by single addresses.
    fn cable(&self, space: &str, node_address: &str, address: &str) {
        let (node, other) = (self.space("node"), self.space(space));
        self.ip(&[
            "link", "add", space, "netns", &node, "type", "veth", "peer", "name", "eth0", "netns",
            &other,
        ]);
        self.ip(&["-n", &node, "addr", "add", &format!("{node_address}/32"), "dev", space]);
        self.ip(&["-n", &node, "link", "set", space, "up"]);
        self.ip(&["-n", &other, "addr", "add", &format!("{address}/32"), "dev", "eth0"]);
        self.ip(&["-n", &other, "link", "set", "eth0", "up"]);
        self.ip(&["-n", &other, "route", "add", node_address, "dev", "eth0"]);
        self.ip(&["-n", &other, "route", "add", "default", "via", node_address]);
    }

    /// An HTTP server that answers with its pod's name.
    fn serve(&mut self, pod: &str) {
        let folder = self.folder.join(pod);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("index.html"), pod).unwrap();
        let server = Command::new("ip")
            .args(["netns", "exec", &self.space(pod), "busybox", "httpd", "-f", "-p", "8080", "-h"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.servers.push(server);
        let address = if pod == "pod1" { "10.244.0.2" } else { "10.244.0.3" };
        let url = format!("http://{address}:8080/");
        let up = (0..200).any(|_| self.curl(pod, &url) == pod);
        assert!(up, "{pod} does not serve");
    }

    /// What a URL answers, `refused`, or curl's exit code.
    pub(crate) fn curl(&self, space: &str, url: &str) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.space(space), "curl", "-s", "--max-time", "3", url])
            .output()
            .unwrap();
        match output.status.code() {
            Some(0) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Some(7) => "refused".into(),
            code => format!("curl ended with {code:?}"),
        }
    }

    /// Loads rules in the node's namespace.
    pub(crate) fn nft(&self, text: &str) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.space("node"), "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = nft.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nft: {told}\n{text}");
    }

    fn run(&self, space: &str, program: &str, args: &[&str]) {
        let name = self.space(space);
        let mut words = vec!["netns", "exec", &name, program];
        words.extend(args);
        self.ip(&words);
    }

    fn ip(&self, args: &[&str]) {
        let output = Command::new("ip").args(args).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {}: {told}", args.join(" "));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        for space in SPACES {
            let _ = Command::new("ip").args(["netns", "del", &self.space(space)]).output();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
