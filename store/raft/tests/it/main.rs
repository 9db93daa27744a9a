//! Members of one group, in one process: over pipes or TCP, on disks in memory.

#[cfg(test)]
mod battery;
#[cfg(test)]
mod broken_disk;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod fail_over;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod rebuild;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod slow_disk;
#[cfg(test)]
mod storage;
