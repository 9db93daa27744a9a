//! The controllers on a real API server and a store in memory; the test plays kubelet.

#[cfg(test)]
mod cleaning;
#[cfg(test)]
mod custom;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod services;
#[cfg(test)]
mod sets;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod workloads;
#[cfg(test)]
mod world;
