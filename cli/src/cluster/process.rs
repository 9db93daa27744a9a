//! The daemons of a local cluster: started apart from us, found again by their pid file, stopped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store_env::clock::SystemClock;

use super::layout::Layout;

/// How often we look whether a process has gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a process may take to turn into another program.
const WORDLESS_MAX_MS: u64 = 1_000;

/// One process of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    pub name: String,
    pub program: &'static str,
    pub args: Vec<String>,
    pid_file: PathBuf,
    log_file: PathBuf,
}

impl Daemon {
    pub(super) fn new(
        layout: &Layout,
        name: &str,
        program: &'static str,
        args: Vec<String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program,
            args,
            pid_file: layout.dir.join("run").join(format!("{name}.pid")),
            log_file: layout.dir.join("logs").join(format!("{name}.log")),
        }
    }

    pub(super) fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// The process, if it runs: a pid file alone proves nothing, since pids are used again.
    pub(super) fn pid(&self) -> Option<u32> {
        let pid: u32 = std::fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()?;
        let command = command_line(pid)?;
        // Just after its start the program is still an argument of `setsid`, which then becomes it.
        let mut first = command.split(|byte| *byte == 0).take(2);
        let is_ours = first.any(|word| word.ends_with(self.program.as_bytes()))
            && self.args.iter().all(|arg| command_has(&command, arg));
        let is_zombie = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")));
        (is_ours && !is_zombie).then_some(pid)
    }

    /// Starts it in a session of its own, so that it outlives us and our terminal; returns once it runs its program, or
    /// has ended: until then it can look like none of ours, and would be started once more.
    pub(super) fn start(&self) -> anyhow::Result<u32> {
        for folder in [self.pid_file.parent(), self.log_file.parent()].into_iter().flatten() {
            std::fs::create_dir_all(folder)?;
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log_file)?;
        let program = find_program(self.program)?;
        // `setsid` execs in place when it is not a group's leader: the pid we see is the daemon's.
        let mut child = Command::new("setsid")
            .arg(&program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id();
        master_pki::files::write_public(&self.pid_file, format!("{pid}\n").as_bytes())?;
        while !runs(pid, &program) && child.try_wait()?.is_none() {
            std::thread::yield_now();
        }
        Ok(pid)
    }

    /// Asks it to stop, and after `grace` makes it. True if it was running.
    pub(super) async fn stop(&self, grace: Duration) -> anyhow::Result<bool> {
        let Some(pid) = self.pid() else {
            let _ = std::fs::remove_file(&self.pid_file);
            return Ok(false);
        };
        self.signal(pid, Signal::SIGTERM)?;
        if !self.gone_within(grace).await {
            self.signal(pid, Signal::SIGKILL)?;
            if !self.gone_within(Duration::from_secs(5)).await {
                bail!("{} (pid {pid}) does not end even when killed", self.name);
            }
        }
        let _ = std::fs::remove_file(&self.pid_file);
        Ok(true)
    }

    fn signal(&self, pid: u32, signal: Signal) -> anyhow::Result<()> {
        let raw = i32::try_from(pid).context("pids are positive")?;
        match kill(Pid::from_raw(raw), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal {}", self.name)),
        }
    }

    async fn gone_within(&self, grace: Duration) -> bool {
        let gone = async {
            while self.pid().is_some() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(grace, gone).await.is_ok()
    }

    /// The end of its log, for a person whose cluster did not start.
    pub(super) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log_file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

/// Whether a process has become this program.
fn runs(pid: u32, program: &Path) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|byte| *byte == 0).next() == Some(program.as_os_str().as_encoded_bytes())
}

/// A process's words. While it is turning into another program it has none, on a busy machine for milliseconds.
fn command_line(pid: u32) -> Option<Vec<u8>> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let words = || std::fs::read(folder.join("cmdline")).ok();
    settled(words, || folder.join("exe").read_link().is_ok())
}

/// Asks until there are words. What has no program never has any: a process that has ended, or one of the kernel's.
fn settled(words: impl Fn() -> Option<Vec<u8>>, has_program: impl Fn() -> bool) -> Option<Vec<u8>> {
    let clock = SystemClock::shared();
    let until_ms = clock.monotonic_ms() + WORDLESS_MAX_MS;
    loop {
        let words = words()?;
        if !words.is_empty() {
            return Some(words);
        }
        if !has_program() || clock.monotonic_ms() > until_ms {
            return None;
        }
        std::thread::yield_now();
    }
}

fn command_has(command: &[u8], arg: &str) -> bool {
    command.split(|byte| *byte == 0).any(|word| word == arg.as_bytes())
}

/// A binary of ours: beside this one, else on the PATH.
pub(super) fn find_program(name: &str) -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name(name);
    if beside.is_file() {
        return Ok(beside);
    }
    std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("`{name}` is neither beside kctl nor on the PATH: run `make build`")
        })
}

/// Runs a binary of ours to its end.
pub(super) async fn run_program(name: &str, args: &[String]) -> anyhow::Result<()> {
    let program = find_program(name)?;
    let output = tokio::process::Command::new(&program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    bail!("`{name} {}` failed: {}", args.join(" "), told.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_takes_long_to_start_is_waited_for_and_what_has_ended_is_not() {
        let asked = std::cell::Cell::new(0);
        let after_many = || {
            asked.set(asked.get() + 1);
            Some(if asked.get() > 20_000 { b"kmaster".to_vec() } else { Vec::new() })
        };
        assert_eq!(settled(after_many, || true).as_deref(), Some(&b"kmaster"[..]));
        assert_eq!(settled(|| Some(Vec::new()), || false), None, "a zombie");
        assert_eq!(settled(|| None, || true), None, "there is none");
    }

    #[tokio::test]
    async fn daemon_is_known_from_its_first_moment() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { dir: folder.path().to_owned() };
        let daemon = Daemon::new(&layout, "sleeper", "sleep", vec!["60".into()]);
        assert_eq!(daemon.pid(), None);
        let pid = daemon.start().unwrap();
        assert!(runs(pid, &find_program("sleep").unwrap()), "`setsid` has become it already");
        // Looked at over and over: never taken for dead.
        for _ in 0..200 {
            assert_eq!(daemon.pid(), Some(pid));
        }
        assert!(daemon.stop(Duration::from_secs(5)).await.unwrap());
        assert_eq!(daemon.pid(), None);
    }
}
