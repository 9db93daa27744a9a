//! Randomness, drawn by name: a new draw in one place does not shift the numbers of another.

use std::cell::Cell;

use rand::SeedableRng;
use rand::rngs::StdRng;

thread_local! {
    /// Set once by a simulation on its thread; production threads leave it empty.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes every generator that is later made on this thread follow from `seed`.
pub fn seed_this_thread(seed: u64) {
    SEED.with(|cell| cell.set(Some(seed)));
}

/// A generator for one purpose (`name`) of one owner; the operating system's entropy unless this
/// thread was seeded. Not for keys or tokens: those come from `ring`.
pub fn named(name: &str, owner: u64) -> StdRng {
    match SEED.with(Cell::get) {
        Some(seed) => StdRng::seed_from_u64(mix(seed ^ fold(name) ^ mix(owner))),
        None => StdRng::from_os_rng(),
    }
}

/// The next number of this thread's sequence; for callers that cannot hold a generator.
pub fn draw() -> u64 {
    SEED.with(|cell| match cell.get() {
        Some(seed) => {
            let next = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            cell.set(Some(next));
            mix(next)
        }
        None => rand::random(),
    })
}

/// FNV-1a over the name's bytes.
fn fold(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finalizer of SplitMix64 (Steele et al. 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use rand::RngCore;

    use super::*;

    #[test]
    fn names_and_owners_have_sequences_of_their_own() {
        seed_this_thread(7);
        let first = |name, owner| named(name, owner).next_u64();
        assert_eq!(first("election", 1), first("election", 1));
        assert_ne!(first("election", 1), first("election", 2));
        assert_ne!(first("election", 1), first("backoff", 1));
    }
}
