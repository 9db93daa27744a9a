//! The ground: clock, entropy, tasks, sockets, files, handed in as values.
//!
//! Production code receives these; a simulation hands in others. No other crate names `Instant`,
//! `SystemTime`, `tokio::spawn` or the operating system's generator (`.clippy.toml` bans them).

pub mod clock;
pub mod disk;
pub mod net;
pub mod rng;
pub mod signal;
pub mod task;
pub mod tls;
