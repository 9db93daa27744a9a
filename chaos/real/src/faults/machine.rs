//! A machine with a member on it: its process is started, killed, stopped and continued.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use super::lab::cage::GROUPS;
use super::lab::clock::Clock;
use super::lab::{Disk, Switch};
use super::upstream::Upstream;

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
/// Where a master serves its API.
const API: u16 = 6443;
/// The data directory, on the machine's disk.
const DATA: &str = "data";

/// What an operator does may take so long.
const KCTL_WITHIN: Duration = Duration::from_secs(60);

/// Joins the control group whose file comes first, if one does, and becomes the program.
const JOIN: &str = r#"[ -z "$1" ] || echo $$ > "$1"; shift; exec "$@""#;

/// What runs on machines.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// A member of the store: kstore, or etcd, which takes the same flags.
    Store(PathBuf),
    /// A whole master, and what an operator sets it up with.
    Master { kmaster: PathBuf, kctl: PathBuf },
    /// A whole master of Kubernetes' own programs.
    Upstream(Upstream),
    /// A node with containers, which is set up once and left alone.
    Node { kctl: PathBuf },
}

impl Program {
    /// The program that is put to the test, or with which that is done.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Store(program) | Self::Master { kmaster: program, .. } => program,
            Self::Upstream(upstream) => &upstream.programs,
            Self::Node { kctl } => kctl,
        }
    }
}

#[derive(Debug)]
enum Process {
    Own(Child),
    /// Its parent has ended: it is ours now, who are the first process in here.
    Left(Pid),
    /// The first of a group of processes, all of which are meant.
    Group(Pid),
}

impl Process {
    fn pid(&self) -> anyhow::Result<Pid> {
        match self {
            Self::Own(child) => Ok(Pid::from_raw(i32::try_from(child.id())?)),
            Self::Left(pid) | Self::Group(pid) => Ok(*pid),
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match self {
            Self::Group(pid) => Ok(killpg(*pid, signal)?),
            Self::Own(_) | Self::Left(_) => Ok(kill(self.pid()?, signal)?),
        }
    }

    fn is_running(&mut self) -> bool {
        match self {
            Self::Own(child) => matches!(child.try_wait(), Ok(None)),
            Self::Left(pid) | Self::Group(pid) => {
                matches!(waitpid(*pid, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive))
            }
        }
    }

    fn kill(mut self) -> anyhow::Result<()> {
        if self.is_running() {
            self.signal(Signal::SIGKILL)?;
            match self {
                Self::Own(mut child) => drop(child.wait()?),
                Self::Left(pid) => drop(waitpid(pid, None)?),
                Self::Group(pid) => {
                    // With the first its children become ours; in the end there is none of this group.
                    waitpid(pid, None)?;
                    while waitpid(Pid::from_raw(-pid.as_raw()), None).is_ok() {}
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) number: usize,
    pub(crate) disk: Disk,
    program: Program,
    log: PathBuf,
    clock: Option<Clock>,
    /// What `--initial-cluster` and `--initial-cluster-state` say.
    origin: (String, &'static str),
    process: Option<Process>,
}

impl Machine {
    /// One of `of` machines that found a group.
    pub(crate) fn new(
        number: usize,
        of: usize,
        program: &Program,
        lab: &Path,
        library: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let disk = Disk::new(lab, &name(number))?;
        let members: Vec<_> = (0..of).map(named_peer).collect();
        let log = lab.join(format!("{}.log", name(number)));
        File::create(&log)?;
        let clock = library.map(|library| Clock::new(library, lab, &name(number))).transpose()?;
        let origin = (members.join(","), "new");
        Ok(Self { number, disk, program: program.clone(), log, clock, origin, process: None })
    }

    pub(crate) fn name(&self) -> String {
        name(self.number)
    }

    /// Where clients find the store.
    pub(crate) fn endpoint(&self) -> String {
        client_url(self.number)
    }

    /// Where clients find a master.
    pub(crate) fn api(&self) -> String {
        format!("https://{}:{API}", Switch::address(self.number))
    }

    pub(crate) fn address(&self) -> String {
        Switch::address(self.number)
    }

    pub(crate) fn peer_url(&self) -> String {
        peer_url(self.number)
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The folder of all that it keeps.
    pub(crate) fn folder(&self) -> PathBuf {
        self.disk.folder.join(DATA)
    }

    /// The files of its store.
    pub(crate) fn store(&self) -> PathBuf {
        match self.program {
            Program::Store(_) => self.folder(),
            Program::Upstream(_) => self.folder().join("etcd"),
            _ => self.folder().join(self.name()).join("store"),
        }
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_running(), "{} runs already", self.name());
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = match &self.program {
            Program::Store(program) => {
                let mut command = self.here(program);
                command.args(self.member_flags());
                command
            }
            Program::Upstream(upstream) => {
                let mut command = self.here(Path::new("sh"));
                command.args(upstream.commands(self, &self.member_flags())).process_group(0);
                command
            }
            Program::Node { .. } => bail!("{} is set up once, and ends once", self.name()),
            Program::Master { kmaster, .. } => {
                let config = self.folder().join(self.name()).join("config.json");
                let mut command = self.here(kmaster);
                command.args(["run", "--config"]).arg(config);
                command
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.name()))?;
        self.process = Some(match &self.program {
            Program::Upstream(_) => Process::Group(Pid::from_raw(i32::try_from(child.id())?)),
            _ => Process::Own(child),
        });
        Ok(())
    }

    /// What tells a member of the store, or of etcd, who and where it is.
    fn member_flags(&self) -> Vec<String> {
        let (client, peer) = (self.endpoint(), self.peer_url());
        let data = self.store().display().to_string();
        let flags = [
            ["--name", &self.name(), "--data-dir", &data],
            ["--listen-client-urls", &client, "--advertise-client-urls", &client],
            ["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &self.origin.0, "--initial-cluster-state", self.origin.1],
        ];
        flags.concat().into_iter().map(str::to_owned).collect()
    }

    /// A program that runs on this machine: in its network, on its disk, by its clock.
    fn here(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", JOIN, "sh"])
            .arg(self.disk.group_file().unwrap_or_default())
            .args(["nsenter", &format!("--net=/run/netns/{}", Switch::netns(self.number)), "--"])
            .arg(program)
            .envs(self.clock.iter().flat_map(Clock::env));
        command
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Itself, if its process is not there.
    pub(crate) fn ended(&mut self) -> Option<&mut Self> {
        if self.is_running() { None } else { Some(self) }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// `SIGTERM`: it is told to end.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// `SIGSTOP`: it stands still, its connections open.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    pub(crate) fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Its calendar is wrong by this.
    pub(crate) fn set_clock(&self, offset_ms: i64) -> anyhow::Result<()> {
        self.clock.as_ref().context("it has the machine's clock")?.set(offset_ms)
    }

    /// Forgets everything.
    pub(crate) fn wipe(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.disk.wipe(DATA)
    }

    /// Is started as a member of the store that was added to a group of these members.
    pub(crate) fn join_store(&mut self, members: &[usize]) -> anyhow::Result<()> {
        let members: Vec<_> = members.iter().map(|&number| named_peer(number)).collect();
        self.origin = (members.join(","), "existing");
        self.start()
    }

    /// Becomes a master, by `kctl cluster init` or `kctl cluster join`, which starts it.
    pub(crate) async fn set_up(&mut self, verb: &[&str]) -> anyhow::Result<()> {
        let (name, folder) = (self.name(), self.folder());
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs)?;
        symlink(&self.log, logs.join(format!("{name}.log")))?;
        let address = Switch::address(self.number);
        self.kctl(&[verb, &["--name", &name, "--address", &address]].concat()).await?;
        if let Program::Node { .. } = &self.program {
            self.note_group(&folder.join(&name))?;
        }
        let pid = std::fs::read_to_string(folder.join(format!("run/{name}.pid")))?;
        self.process = Some(Process::Left(Pid::from_raw(pid.trim().parse()?)));
        Ok(())
    }

    /// Notes the control group of a node's containers, which outlives them.
    fn note_group(&self, node: &Path) -> anyhow::Result<()> {
        let facts: Value = serde_json::from_slice(&std::fs::read(node.join("facts.json"))?)?;
        let id = facts["localId"].as_str().context("a node's facts name its cluster")?;
        let notes = self.log.with_file_name(GROUPS);
        let mut notes = File::options().create(true).append(true).open(notes)?;
        Ok(writeln!(notes, "trireme-{id}")?)
    }

    /// What an operator types at this machine; what it prints.
    pub(crate) async fn kctl(&self, args: &[&str]) -> anyhow::Result<String> {
        let (Program::Master { kctl, .. } | Program::Node { kctl }) = &self.program else {
            bail!("it belongs to no cluster of Kubernetes");
        };
        let mut command = tokio::process::Command::from(self.here(kctl));
        command.args(args).arg("--data-dir").arg(self.folder());
        // A kubeconfig of its own.
        command.env("HOME", self.folder()).env_remove("KUBECONFIG").stdin(Stdio::null());
        let ended = tokio::time::timeout(KCTL_WITHIN, command.kill_on_drop(true).output()).await;
        let said = || format!("kctl {} on {}", args.join(" "), self.name());
        let output = ended.with_context(|| format!("{}: no end", said()))?.with_context(said)?;
        if !output.status.success() {
            bail!("{}: {}", said(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("it does not run")?;
        process.signal(signal)
    }
}

fn name(number: usize) -> String {
    format!("m{}", number + 1)
}

fn client_url(number: usize) -> String {
    format!("http://{}:{CLIENTS}", Switch::address(number))
}

fn peer_url(number: usize) -> String {
    format!("http://{}:{PEERS}", Switch::address(number))
}

fn named_peer(number: usize) -> String {
    format!("{}={}", name(number), peer_url(number))
}
