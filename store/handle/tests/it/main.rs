//! The battery on the store in memory, and what only that one promises.

mod local;
