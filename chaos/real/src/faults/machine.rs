//! A machine with a member of the store on it: its process is started, killed, stopped and continued.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lab::clock::Clock;
use super::lab::{Disk, Switch};

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
/// The data directory, on the machine's disk.
const DATA: &str = "data";

/// Joins the control group whose file comes first, if one does, and becomes the program.
const JOIN: &str = r#"[ -z "$1" ] || echo $$ > "$1"; shift; exec "$@""#;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) number: usize,
    pub(crate) disk: Disk,
    program: PathBuf,
    log: PathBuf,
    clock: Option<Clock>,
    /// What `--initial-cluster` and `--initial-cluster-state` say.
    origin: (String, &'static str),
    process: Option<Child>,
}

impl Machine {
    /// One of `of` machines that found a group.
    pub(crate) fn new(
        number: usize,
        of: usize,
        program: &Path,
        lab: &Path,
        library: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let disk = Disk::new(lab, &name(number))?;
        let members: Vec<_> = (0..of).map(named_peer).collect();
        let log = lab.join(format!("{}.log", name(number)));
        let clock = library.map(|library| Clock::new(library, lab, &name(number))).transpose()?;
        let origin = (members.join(","), "new");
        Ok(Self { number, disk, program: program.into(), log, clock, origin, process: None })
    }

    pub(crate) fn name(&self) -> String {
        name(self.number)
    }

    /// Where clients find it.
    pub(crate) fn endpoint(&self) -> String {
        client_url(self.number)
    }

    pub(crate) fn peer_url(&self) -> String {
        peer_url(self.number)
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.disk.folder.join(DATA)
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_running(), "{} runs already", self.name());
        let log = File::options().create(true).append(true).open(&self.log)?;
        let (client, peer) = (self.endpoint(), self.peer_url());
        let group = self.disk.group_file().unwrap_or_default();
        let child = Command::new("sh")
            .args(["-c", JOIN, "sh"])
            .arg(group)
            .args(["nsenter", &format!("--net=/run/netns/{}", Switch::netns(self.number)), "--"])
            .arg(&self.program)
            .args(["--name", &self.name(), "--data-dir"])
            .arg(self.data())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.origin.0])
            .args(["--initial-cluster-state", self.origin.1])
            .envs(self.clock.iter().flat_map(Clock::env))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        self.process = Some(child);
        Ok(())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Itself, if its process is not there.
    pub(crate) fn ended(&mut self) -> Option<&mut Self> {
        if self.is_running() { None } else { Some(self) }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
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

    /// Forgets everything, and is started as one that was added to a group of these members.
    pub(crate) fn begin_again(&mut self, members: &[usize]) -> anyhow::Result<()> {
        self.kill()?;
        self.disk.wipe(DATA)?;
        let members: Vec<_> = members.iter().map(|&number| named_peer(number)).collect();
        self.origin = (members.join(","), "existing");
        self.start()
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("it does not run")?;
        Ok(kill(Pid::from_raw(i32::try_from(process.id())?), signal)?)
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
