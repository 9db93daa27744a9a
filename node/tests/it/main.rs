//! A whole node on real containers: `knode run` with static pods, in a network namespace of its own.
//!
//! Needs root, containerd, runc and the CNI plugins, as a node does. No master takes part.

#[cfg(test)]
mod lab;
#[cfg(test)]
mod life;
