//! Images without a registry: archives that are built here, loaded into a node's containerd, and saved.
//!
//! `ctr` speaks to containerd for it: CRI has no call that imports or exports an archive.

mod build;
mod load;
mod oci;

pub use build::{DEMO_IMAGES, build_demo};
pub use load::{Loader, list, load, save};
