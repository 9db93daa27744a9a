//! `cargo ci`: the checks a change must pass.

fn main() {}
