//! Assembles a master: `Config` → `app::run`.

pub mod app;
pub mod config;
pub mod desk;
pub mod endpoints;
pub mod keys;
pub mod removed;
pub mod store;
