//! How much room is left for this member, and what follows: the alarm when there is too little, its end when
//! there is enough again, and space given back meanwhile.
//!
//! The reserve is what the databases may still need once nothing grows any more: memory that is not yet in
//! tables, tables that are merged into new ones, the log of deletions. A write that finds no room at all stops
//! the member, since nobody knows what of it is on the disk; the reserve is there so that it never comes to that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use store_env::task::{TaskResult, blocking};
use store_handle::Handle;
use store_raft::RaftStore;
use tokio_util::sync::CancellationToken;

use crate::state::RocksState;

/// How often it looks: what is written meanwhile comes out of the reserve.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many looks lie between two attempts to get space back.
const RECLAIM_LOOKS: u32 = 40;

/// Measured on a file system in memory, which nothing fills faster: with 64 MiB it was full before it was seen.
const RESERVE_MIN_BYTES: u64 = 256 << 20;

/// However large a disk is: merges and write buffers are bounded (`options.rs`).
const RESERVE_MAX_BYTES: u64 = 1 << 30;

/// How large a member's data may become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub quota_bytes: Option<u64>,
    /// What stays free on the disk; `None`: 2 % of it, at least 256 MiB and at most 1 GiB.
    pub reserve_bytes: Option<u64>,
}

/// What is seen at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Of the file system.
    pub total: u64,
    pub free: u64,
    /// Of the state's database.
    pub used: u64,
}

impl Room {
    /// Looks.
    pub fn of(folder: &Path, state: &RocksState) -> std::io::Result<Self> {
        let disk = nix::sys::statvfs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.fragment_size());
        let (total, free) = (bytes(disk.blocks()), bytes(disk.blocks_available()));
        Ok(Self { total, free, used: state.bytes() })
    }

    /// What the database may become.
    pub fn used_max(self, limits: Limits) -> u64 {
        let on_disk = self.used + self.free.saturating_sub(self.reserve(limits));
        limits.quota_bytes.map_or(on_disk, |quota| quota.min(on_disk))
    }

    fn reserve(self, limits: Limits) -> u64 {
        let usual =
            (self.total / 50).clamp(RESERVE_MIN_BYTES, RESERVE_MAX_BYTES).min(self.total / 4);
        limits.reserve_bytes.unwrap_or(usual)
    }

    /// Why nothing may grow. Once it is so, it takes a quarter more of free disk, or a twentieth of the
    /// quota, until it is no longer so: an alarm that comes and goes helps nobody.
    pub fn shortage(self, limits: Limits, was_short: bool) -> Option<String> {
        let reserve = self.reserve(limits);
        let quota = limits.quota_bytes.unwrap_or(u64::MAX);
        let (free_min, used_max) = match was_short {
            true => (reserve + reserve / 4, quota - quota / 20),
            false => (reserve, quota),
        };
        match self {
            Self { free, .. } if free < free_min => {
                Some(format!("{free} bytes of the disk are free, {free_min} are wanted"))
            }
            Self { used, .. } if used >= used_max => {
                Some(format!("the database has {used} bytes of {quota} (--quota-backend-bytes)"))
            }
            _ => None,
        }
    }
}

/// Keeps the alarm true, until told to stop.
pub async fn watch(
    folder: PathBuf,
    limits: Limits,
    store: Arc<RaftStore>,
    state: RocksState,
    stop: CancellationToken,
) -> TaskResult {
    let mut is_short = false;
    let mut looks = 0_u32;
    let mut reclaimed_at = None;
    loop {
        match Room::of(&folder, &state) {
            Ok(room) => {
                let shortage = room.shortage(limits, is_short);
                match (&shortage, is_short) {
                    (Some(reason), false) => tracing::error!(
                        reason,
                        "no space: it is left to the others to grow, if they can. Make room on the disk, or delete what is not needed"
                    ),
                    (None, true) => tracing::info!("there is space again"),
                    (Some(_), true) | (None, false) => {}
                }
                is_short = shortage.is_some();
                store.alarm(|alarms| alarms.no_space = is_short);
            }
            Err(error) => tracing::warn!(%error, "cannot see how full the disk is"),
        }
        looks += 1;
        // Once for each state of things: what was not swept yet when it was last tried is worth another try.
        let position = (store.revision(), store.compacted(), store.is_swept());
        if is_short && looks.is_multiple_of(RECLAIM_LOOKS) && reclaimed_at != Some(position) {
            reclaimed_at = Some(position);
            let reclaiming = state.clone();
            let reclaimed = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                reclaimed = blocking(move || reclaiming.reclaim()) => reclaimed,
            };
            if let Err(error) = reclaimed {
                tracing::warn!(%error, "no space was given back");
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    // Nobody is to wait for it.
    state.stop_reclaiming();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn shortage_begins_at_the_limit_and_ends_beyond_it() {
        let none = Limits::default();
        let quota = Limits { quota_bytes: Some(100 * MIB), reserve_bytes: Some(0) };
        let reserve = Limits { quota_bytes: None, reserve_bytes: Some(MIB) };
        #[rustfmt::skip]
        let cases = [
            // total, free, used          limits,  was    is
            ((2000, 256, 0),              none,    false, false),
            ((2000, 255, 0),              none,    false, true),
            ((2000, 256, 0),              none,    true,  true),
            ((2000, 320, 0),              none,    true,  false),
            // 2 % of a large disk, a GiB of a very large one, a quarter of a very small one.
            ((40_000, 799, 0),            none,    false, true),
            ((40_000, 800, 0),            none,    false, false),
            ((100_000, 1_023, 0),         none,    false, true),
            ((100_000, 1_024, 0),         none,    false, false),
            ((100, 25, 0),                none,    false, false),
            ((100, 24, 0),                none,    false, true),
            ((1000, 1, 0),                reserve, false, false),
            ((1000, 0, 0),                reserve, false, true),
            ((1000, 500, 99),             quota,   false, false),
            ((1000, 500, 100),            quota,   false, true),
            ((1000, 500, 96),             quota,   true,  true),
            ((1000, 500, 94),             quota,   true,  false),
        ];
        for ((total, free, used), limits, was_short, expected) in cases {
            let room = Room { total: total * MIB, free: free * MIB, used: used * MIB };
            let found = room.shortage(limits, was_short);
            assert_eq!(found.is_some(), expected, "{room:?} {limits:?} {was_short}: {found:?}");
        }
    }

    #[test]
    fn database_may_become_what_the_disk_and_the_quota_allow() {
        let room = Room { total: 10_000 * MIB, free: 1_256 * MIB, used: 50 * MIB };
        let quota = |mib| Limits { quota_bytes: Some(mib * MIB), reserve_bytes: None };
        assert_eq!(room.used_max(Limits::default()), 1_050 * MIB);
        assert_eq!(room.used_max(quota(2_000)), 1_050 * MIB);
        assert_eq!(room.used_max(quota(100)), 100 * MIB);
    }
}
