//! `batch/v1`.

pub mod cronjobs;
pub mod jobs;
