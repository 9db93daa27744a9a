//! `batch/v1`.

pub mod cronjobs;
mod job_policies;
pub mod jobs;
