//! A calendar of one's own for each process: a small library loaded into it adds an offset to what the system says.
//!
//! Time namespaces do not cover the calendar. A program that asks the kernel without the C library (Go's) does not
//! see it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::run;

const SOURCE: &str = include_str!("clock.c");

/// The offset of one machine.
#[derive(Debug)]
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
}

/// Makes the library, and sees that it works.
pub(crate) fn library(lab: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (lab.join("clock.c"), lab.join("clock.so"));
    std::fs::write(&source, SOURCE)?;
    let (from, to) = (source.display().to_string(), library.display().to_string());
    run("cc", &["-O2", "-shared", "-fPIC", "-o", &to, &from, "-ldl"])?;
    let clock = Clock::new(&library, lab, "probe")?;
    clock.set(-3_600_000_000_000)?;
    let mut ask = Command::new("date");
    ask.arg("+%Y").envs(clock.env());
    let year = String::from_utf8(ask.output()?.stdout)?;
    // 114 years ago.
    ensure!(year.trim().parse::<i32>().is_ok_and(|year| year < 1970), "`date` says {year}");
    Ok(library)
}

impl Clock {
    pub(crate) fn new(library: &Path, lab: &Path, name: &str) -> anyhow::Result<Self> {
        let clock = Self { library: library.into(), file: lab.join(format!("{name}.clock")) };
        std::fs::write(&clock.file, 0_i64.to_ne_bytes())?;
        Ok(clock)
    }

    /// From now on, the calendar is wrong by this.
    pub(crate) fn set(&self, offset_ms: i64) -> anyhow::Result<()> {
        // In place: it is mapped.
        let file = File::options().write(true).open(&self.file)?;
        file.write_all_at(&offset_ms.to_ne_bytes(), 0).context("the clock cannot be set")
    }

    /// What a process must find in its environment.
    pub(crate) fn env(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.library.clone()), ("KCHAOS_CLOCK", self.file.clone())]
    }
}
