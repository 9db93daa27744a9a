//! The store on real disks and loopback TCP.

mod disks;
mod members;
