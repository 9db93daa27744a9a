//! `kchaos real`: becomes `kchaos-real faults`, the program beside this one.
//!
//! That one links clients and runs processes; simulations need neither.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

const PROGRAM: &str = "kchaos-real";

pub(super) fn run(args: &[OsString]) -> anyhow::Result<bool> {
    let program = std::env::current_exe()?.with_file_name(PROGRAM);
    // It comes back only if it could not become that program.
    let error = Command::new(&program).arg("faults").args(args).exec();
    Err(error).with_context(|| format!("{} (`make build` makes it)", program.display()))
}
