//! `cargo ci`: house rules that neither rustc nor clippy knows. Reads the tree, never writes it.

#![expect(clippy::print_stdout, reason = "this is a command-line tool")]

mod arrows;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let complaints = tidy::check(Path::new("."));
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("tidy: {} complaints", complaints.len());
    ExitCode::from(u8::from(!complaints.is_empty()))
}
