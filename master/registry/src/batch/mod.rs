//! `batch/v1`.

pub mod cronjobs;
mod job_policies;
mod job_status;
pub mod jobs;
