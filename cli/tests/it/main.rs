//! `kctl`, the program, against a real API server on a store in memory.

mod objects;
mod refusals;
mod world;
