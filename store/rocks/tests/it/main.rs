//! The store on real disks and loopback TCP.

#[cfg(test)]
mod disks;
#[cfg(test)]
mod members;
