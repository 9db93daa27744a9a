//! The containerd of a node: its own root, state and socket, supervised, and outliving the agent.
//!
//! Nothing is shared with a containerd of the machine or of another node. Whoever starts the agent
//! again finds the one that runs; when it dies it is started again, and the containers, which hang on
//! their shims, do not notice.

mod config;
mod process;
mod supervise;

pub use config::Layout;
pub use process::Found;
pub use supervise::Containerd;
