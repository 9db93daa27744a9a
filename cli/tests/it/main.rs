//! `kctl`, the program, against a real API server on a store in memory.

#[cfg(test)]
mod objects;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod world;
