//! The store on real disks and loopback TCP.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod disks;
#[cfg(test)]
mod members;
#[cfg(test)]
mod storage;
