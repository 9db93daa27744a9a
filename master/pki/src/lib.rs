//! Keys and certificates of a cluster: who signs, what is signed, and where it lies on disk.
//!
//! Pure apart from [`files`]: time is handed in. Used by the masters (join, signing), by nodes and by `kctl`.

pub mod ca;
pub mod files;
pub mod join;
pub mod token;

pub use ca::{Authority, Credential, Csr, Error, Profile, Usage};
pub use token::{JoinToken, Part};
