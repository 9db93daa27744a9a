//! Simulated disks: they take time, fail, rot, and keep on a crash what real ones may keep.

mod log;
mod state;

pub use log::{SimLog, Written};
pub use state::SimState;
