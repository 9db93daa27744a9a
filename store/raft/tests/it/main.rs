//! Members of one group, in one process: over pipes or TCP, on disks in memory.

mod battery;
mod cluster;
mod fail_over;
mod membership;
mod restart;
