//! Members as processes on loopback, each with ports and a directory of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tempfile::TempDir;

/// How long anything that must come may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the battery is run against etcd.
pub(crate) fn is_etcd() -> bool {
    std::env::var("KSTORE_BATTERY_PEER").is_ok_and(|peer| peer == "etcd")
}

fn program() -> String {
    match is_etcd() {
        true => std::env::var("KSTORE_BATTERY_ETCD").unwrap_or_else(|_| "etcd".into()),
        false => env!("CARGO_BIN_EXE_kstore").into(),
    }
}

/// One member, running or not.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) client: u16,
    pub(crate) peer: u16,
    args: Vec<String>,
    process: Option<Child>,
    /// What it says, since it was last started.
    log: PathBuf,
}

impl Member {
    pub(crate) fn new(name: &str) -> Self {
        let (client, peer) = (free_port(), free_port());
        let (args, log) = (Vec::new(), PathBuf::from("/dev/null"));
        Self { name: name.into(), client, peer, args, process: None, log }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }

    /// The flags of a plain member, in both ways of writing them.
    pub(crate) fn flags(&mut self, dir: &TempDir, initial: &str, state: &str) {
        self.log = dir.path().join(format!("{}.log", self.name));
        let data = self.data_dir(dir).display().to_string();
        let (client, peer) = (format!("http://{}", self.endpoint()), self.peer_url());
        self.args = [
            "--name",
            &self.name,
            "--data-dir",
            &data,
            &format!("--listen-client-urls={client}"),
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            &format!("--initial-advertise-peer-urls={peer}"),
            "--initial-cluster",
            initial,
            "--initial-cluster-state",
            state,
            "--initial-cluster-token",
            "battery",
            "--log-level",
            "warn",
        ]
        .map(str::to_owned)
        .to_vec();
    }

    /// Every URL among the flags becomes https.
    pub(crate) fn over_tls(&mut self) {
        for arg in &mut self.args {
            *arg = arg.replace("http:", "https:");
        }
    }

    pub(crate) fn with_args(&mut self, more: &[&str]) {
        self.args.extend(more.iter().map(|arg| (*arg).to_owned()));
    }

    /// These flags and no others.
    pub(crate) fn only_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    }

    /// Gives another value to a flag that is there.
    pub(crate) fn replace_flag(&mut self, flag: &str, value: &str) {
        let at = self.args.iter().position(|arg| arg == flag).unwrap();
        self.args[at + 1] = value.into();
    }

    /// Where its data lies.
    pub(crate) fn data_dir(&self, dir: &TempDir) -> std::path::PathBuf {
        dir.path().join(&self.name)
    }

    /// Whether its process goes on.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_some() && self.ended_well().is_none()
    }

    /// Once its process has ended: whether it says that all was well.
    pub(crate) fn ended_well(&mut self) -> Option<bool> {
        let ended = self.process.as_mut()?.try_wait().unwrap();
        ended.map(|status| status.success())
    }

    pub(crate) fn start(&mut self) {
        self.start_with_log(File::create(&self.log).unwrap(), Stdio::null());
    }

    pub(crate) fn start_with_log(&mut self, out: impl Into<Stdio>, err: impl Into<Stdio>) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = Command::new(program());
        command.args(&self.args).stdin(Stdio::null()).stdout(out).stderr(err);
        self.process = Some(command.spawn().expect("the server's program starts"));
    }

    /// The flags again, with another value for one of them.
    pub(crate) fn set(&mut self, flag: &str, value: &str) {
        let at = self.args.iter().position(|arg| arg == flag).unwrap();
        self.args[at + 1] = value.into();
    }

    /// Starts it, and waits until it has given up; what it said.
    pub(crate) async fn gives_up(&mut self) -> String {
        let process = Command::new(program()).args(&self.args).stdout(Stdio::piped()).spawn();
        // Ours from now on: if it does not give up, it is killed with the test.
        self.process = Some(process.expect("the server's program starts"));
        eventually("it gives up", async || self.ended_well().is_some()).await;
        assert_eq!(self.ended_well(), Some(false));
        let said = self.process.take().and_then(|process| process.stdout).unwrap();
        std::io::read_to_string(said).unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Asks it to end, and waits until it has; returns whether it says that all was well.
    pub(crate) fn stop(&mut self) -> bool {
        if !self.asked_to_stop() {
            return true;
        }
        let mut process = self.process.take().unwrap();
        process.wait().unwrap().success() || is_etcd()
    }

    /// Asks it to end; false if it does not run.
    pub(crate) fn asked_to_stop(&mut self) -> bool {
        let Some(process) = &self.process else { return false };
        let pid = process.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap().success()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A group.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    pub(crate) dir: TempDir,
}

impl Cluster {
    /// Members that have founded a group and have a leader.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, &[]).await
    }

    pub(crate) async fn start_with(count: usize, more: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut members: Vec<Member> =
            (1..=count).map(|number| Member::new(&format!("m{number}"))).collect();
        let initial = initial(&members);
        for member in &mut members {
            member.flags(&dir, &initial, "new");
            member.with_args(more);
            member.start();
        }
        let cluster = Self { members, dir };
        for index in 0..count {
            cluster.ready(index).await;
        }
        cluster
    }

    /// A client of all members.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.members.iter().map(Member::endpoint).collect::<Vec<_>>()).await
    }

    /// A client of one member.
    pub(crate) async fn client_of(&self, index: usize) -> Client {
        connect(&[self.members[index].endpoint()]).await
    }

    /// Waits until a member can serve.
    pub(crate) async fn ready(&self, index: usize) {
        let said = || {
            let Member { name, log, .. } = &self.members[index];
            format!("{name} serves; it said\n{}", std::fs::read_to_string(log).unwrap_or_default())
        };
        eventually_or(said, async || {
            let client = Client::connect([self.members[index].endpoint()], None).await;
            match client {
                Ok(mut client) => {
                    let got = tokio::time::timeout(Duration::from_secs(2), client.get("x", None));
                    got.await.is_ok_and(|got| got.is_ok())
                }
                Err(_) => false,
            }
        })
        .await;
    }

    /// The index of the member that leads.
    pub(crate) async fn leader(&self) -> usize {
        for _ in 0..300 {
            for index in 0..self.members.len() {
                if self.members[index].process.is_none() {
                    continue;
                }
                let mut client = self.client_of(index).await;
                if let Ok(status) = client.status().await
                    && status.leader() != 0
                    && status.leader() == status.header().unwrap().member_id()
                {
                    return index;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody leads");
    }
}

/// What a command of `kstore` that is not a server answered.
pub(crate) struct Answered {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `kstore` with these words.
pub(crate) fn kstore(args: &[&str]) -> Answered {
    let output = Command::new(env!("CARGO_BIN_EXE_kstore")).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    let code = output.status.code().unwrap_or_else(|| panic!("{}: {out}{err}", output.status));
    Answered { code, out, err }
}

/// `m1=http://...,m2=http://...`
pub(crate) fn initial(members: &[Member]) -> String {
    let each = members.iter().map(|member| format!("{}={}", member.name, member.peer_url()));
    each.collect::<Vec<_>>().join(",")
}

pub(crate) async fn connect(endpoints: &[String]) -> Client {
    let options = ConnectOptions::new().with_timeout(Duration::from_secs(10));
    Client::connect(endpoints, Some(options)).await.unwrap()
}

/// Ports that the kernel gives to nobody who connects: one of those could be gone before the member starts.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port that nobody listens on at the moment, and that is given once in this process.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Another process begins elsewhere.
    let (first, count) = (std::process::id() as u16, PORTS.end - PORTS.start);
    let port = || {
        let offset = first.wrapping_mul(97).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        PORTS.start + offset % count
    };
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(port).take(count.into()).find(is_free).expect("a port is free")
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFnMut() -> bool) {
    eventually_or(|| what.to_owned(), is_so).await;
}

/// The same; what did not come is said when it did not.
async fn eventually_or(what: impl Fn() -> String, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {}", what());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A refusal as `Code: message`; `done` if there was none.
pub(crate) fn refusal<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => "done".into(),
        Err(Error::GRpcStatus(status)) => format!("{:?}: {}", status.code(), status.message()),
        Err(other) => other.to_string(),
    }
}
