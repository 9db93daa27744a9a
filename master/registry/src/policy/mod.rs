//! `policy/v1`.

pub mod poddisruptionbudgets;
