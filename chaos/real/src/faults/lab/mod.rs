//! Machines of one's own: namespaces, a switch with a cable to each, disks that can be filled and slowed down, a
//! clock that can be set.

pub(crate) mod cage;
pub(crate) mod clock;
mod disk;
mod switch;

pub(crate) use disk::Disk;
pub(crate) use switch::{Link, Place, Switch};

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Runs a program of the machine to its end.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, args: &[A]) -> anyhow::Result<()> {
    feed(program, args, "")
}

/// The same, with something to read.
pub(crate) fn feed<A: AsRef<OsStr>>(program: &str, args: &[A], input: &str) -> anyhow::Result<()> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be run"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let args: Vec<_> = args.iter().map(|it| it.as_ref().to_string_lossy()).collect();
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", args.join(" "), words.trim());
    }
    Ok(())
}
