//! One file per filter; `chain.rs` lists them in order.

pub mod authentication;
pub mod authorization;
pub mod compress;
pub mod impersonation;
pub mod in_flight;
pub mod observe;
pub mod panic;
pub mod ready;
pub mod request_id;
pub mod request_info;
pub mod warning;
