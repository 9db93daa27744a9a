//! A node to try things on: directory, namespace, cgroup and pods of its own, all gone at the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use node_cri::v1::{self, ContainerState};
use node_cri::{CriClient, Runtime};

const KNODE: &str = env!("CARGO_BIN_EXE_knode");
const DEADLINE: Duration = Duration::from_secs(90);

/// A container as the tests look at it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) is_running: bool,
    pub(crate) status: v1::ContainerStatus,
}

pub(crate) struct Lab {
    dir: tempfile::TempDir,
    name: String,
    agent: Option<Child>,
    pub(crate) runtime: CriClient,
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip is installed");
    assert!(status.success(), "ip {arguments:?}");
}

impl Lab {
    /// A node that runs and has the demo images.
    pub(crate) async fn new() -> Self {
        let name = format!("trit{:08x}", rand_part());
        let dir = tempfile::Builder::new().prefix("trireme-it-").tempdir().unwrap();
        for part in ["manifests", "images", "cni/net.d"] {
            std::fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        node::image::build_demo(&dir.path().join("images")).unwrap();
        ip(&["netns", "add", &name]);
        ip(&["-n", &name, "link", "set", "lo", "up"]);
        let ipam = dir.path().join("ipam").display().to_string();
        let network = serde_json::json!({
            "cniVersion": "0.4.0", "name": name,
            "plugins": [{"type": "ptp", "ipMasq": false, "ipam": {
                "type": "host-local", "dataDir": ipam, "ranges": [[{"subnet": "10.245.77.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}]}}],
        });
        let file = dir.path().join("cni/net.d/10-it.conflist");
        std::fs::write(file, network.to_string()).unwrap();
        let runtime = CriClient::new(&dir.path().join("containerd/containerd.sock"));
        let mut lab = Self { dir, name, agent: None, runtime };
        lab.start_agent();
        lab.until("the runtime answers", async |lab| lab.runtime.version().await.is_ok()).await;
        lab
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    fn knode(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(KNODE);
        command.args(arguments).arg("--data-dir").arg(self.dir.path());
        command.args(["--netns", &self.name, "--cgroup-root", &format!("/{}", self.name)]);
        command.args(["--cluster-id", &self.name]).stdin(Stdio::null());
        command
    }

    pub(crate) fn start_agent(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("knode.log"))
            .unwrap();
        let mut command = self.knode(&["run", "--name", "it", "--node-ip", "10.245.77.254"]);
        command.arg("--images").arg(self.path("images"));
        command.arg("--manifests").arg(self.path("manifests"));
        self.agent = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// `kill -9` of the agent.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("an agent runs");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// `knode stop-all`, as `kctl stop` calls it after the agent has ended.
    pub(crate) fn stop_all(&self) {
        let status = self.knode(&["stop-all", "--grace", "1"]).status().unwrap();
        assert!(status.success());
    }

    pub(crate) fn containerd_pid(&self) -> Option<i32> {
        let text = std::fs::read(self.path("containerd/containerd.pid")).ok()?;
        let found: node::containerd::Found = serde_json::from_slice(&text).ok()?;
        found.is_alive().then_some(found.pid)
    }

    pub(crate) fn apply(&self, name: &str, spec: &str) {
        let text =
            format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {spec}}}\n");
        std::fs::write(self.path(&format!("manifests/{name}.yaml")), text).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(&format!("manifests/{name}.yaml"))).unwrap();
    }

    /// The containers of a name, newest first.
    pub(crate) async fn containers(&self, name: &str) -> Vec<Seen> {
        let listed = self.runtime.list_containers(Default::default()).await.unwrap_or_default();
        let mut seen = Vec::new();
        for container in listed {
            let metadata = container.metadata.clone().unwrap_or_default();
            if metadata.name != name {
                continue;
            }
            let Ok(status) = self.runtime.container_status(&container.id).await else { continue };
            let is_running = status.state() == ContainerState::ContainerRunning;
            seen.push(Seen { id: container.id, attempt: metadata.attempt, is_running, status });
        }
        seen.sort_by_key(|found| std::cmp::Reverse(found.attempt));
        seen
    }

    /// Waits until a container of this name runs.
    pub(crate) async fn running(&self, name: &str) -> Seen {
        self.until(&format!("{name} runs"), async |lab| {
            lab.containers(name).await.first().is_some_and(|found| found.is_running)
        })
        .await;
        self.containers(name).await.remove(0)
    }

    pub(crate) async fn exec(&self, id: &str, script: &str) -> String {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let output = self.runtime.exec_sync(id, command, Duration::from_secs(10)).await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.exit_code, 0, "{script}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, async {
            while !condition(self).await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        if waited.await.is_err() {
            let log = std::fs::read_to_string(self.path("knode.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            panic!("not reached: {what}; the agent said, latest first:\n{}", tail.join("\n"));
        }
    }

    /// What is left of the node on this machine, outside of its directory.
    pub(crate) fn left(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let directory = self.dir.path().display().to_string();
        let mut left: Vec<String> =
            mounts.lines().filter(|line| line.contains(&directory)).map(str::to_owned).collect();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let path = hierarchy.path().join(&self.name);
            left.extend(path.exists().then(|| path.display().to_string()));
        }
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            left.extend(line.contains(&directory).then_some(line));
        }
        left
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let _ = self.knode(&["stop-all", "--grace", "0"]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Nothing else on this machine has this name.
fn rand_part() -> u32 {
    let mut bytes = [0; 4];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut source, &mut bytes).unwrap();
    u32::from_ne_bytes(bytes)
}

pub(crate) fn kill_9(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
