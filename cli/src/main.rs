//! The door of `kctl`: parse, run, exit.

fn main() {
    std::process::exit(cli::app::main());
}
