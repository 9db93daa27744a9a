//! Values in memory: of all keys, or of those written last, up to a number of bytes.
//!
//! A version knows the slot that its value was put into. A value that leaves for want of room leaves its slot to
//! another, and its version is not told, which would cost a search among all keys: a slot says whose value it has.
//!
//! ```text
//! versions   a@4: slot 2    b@7: slot 0    c@3: slot 0, which is b's now: only its record has the value
//! slots      0: b@7         1: free        2: a@4
//! in order   2 → 0          the value written longest ago is the next to go
//! ```
//!
//! # Invariants
//! - `bytes` is what the values in slots cost.
//! - A slot that holds a value is in the list from `oldest` to `newest`; every other one in the list from `free`.

use bytes::Bytes;

use crate::versions::Position;

/// What a value costs beside its bytes: its slot, its allocation and the counter of those who share it.
pub(crate) const OVERHEAD_BYTES: usize = 96;

/// The end of a list of slots.
const NONE: u32 = u32::MAX;

/// Nobody's position: revisions begin with 1.
const NOBODY: Position = Position { revision: 0, sub: 0 };

static NO_BYTES: Bytes = Bytes::new();

/// Where a version's value is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// It has no bytes, and needs no memory.
    Empty,
    /// It was put into this slot.
    Slot(u32),
    /// Only its record has it.
    Record,
}

/// The values in memory.
#[derive(Clone, Debug)]
pub(crate) struct Residents {
    bytes_max: Option<usize>,
    bytes: usize,
    slots: Vec<Slot>,
    oldest: u32,
    newest: u32,
    free: u32,
}

#[derive(Clone, Debug)]
struct Slot {
    /// Whose value it is.
    of: Position,
    value: Bytes,
    older: u32,
    /// Also the next one of those that are free.
    newer: u32,
}

impl Residents {
    pub(crate) fn new(bytes_max: Option<usize>) -> Self {
        Self { bytes_max, bytes: 0, slots: Vec::new(), oldest: NONE, newest: NONE, free: NONE }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a value of so many bytes would fit.
    pub(crate) fn fits(&self, value_bytes: usize) -> bool {
        value_bytes == 0
            || self.bytes_max.is_none_or(|max| self.bytes + value_bytes + OVERHEAD_BYTES <= max)
    }

    /// Puts the value of the version at `of` into memory, as the newest, also if that is too much for now.
    pub(crate) fn hold(&mut self, of: Position, value: Bytes) -> Place {
        if value.is_empty() {
            return Place::Empty;
        }
        self.bytes += value.len() + OVERHEAD_BYTES;
        let slot = Slot { of, value, older: self.newest, newer: NONE };
        let at = if self.free == NONE {
            let at = u32::try_from(self.slots.len()).ok().filter(|at| *at != NONE);
            self.slots.push(slot);
            at.expect("fewer values than u32 counts fit in memory")
        } else {
            let at = self.free;
            self.free = std::mem::replace(self.slot(at), slot).newer;
            at
        };
        match self.newest {
            NONE => self.oldest = at,
            newest => self.slot(newest).newer = at,
        }
        self.newest = at;
        Place::Slot(at)
    }

    /// The value of the version at `of`, if it is in memory.
    pub(crate) fn get(&self, place: Place, of: Position) -> Option<&Bytes> {
        match place {
            Place::Empty => Some(&NO_BYTES),
            Place::Slot(at) => {
                let slot = &self.slots[at as usize];
                (slot.of == of).then_some(&slot.value)
            }
            Place::Record => None,
        }
    }

    /// Takes that value out of memory.
    pub(crate) fn take(&mut self, place: Place, of: Position) -> Option<Bytes> {
        self.get(place, of)?;
        Some(match place {
            Place::Slot(at) => self.empty(at),
            Place::Empty | Place::Record => Bytes::new(),
        })
    }

    /// Drops those written longest ago, until what is left fits.
    pub(crate) fn drop_surplus(&mut self) {
        while self.oldest != NONE && self.bytes_max.is_some_and(|max| self.bytes > max) {
            self.empty(self.oldest);
        }
    }

    fn empty(&mut self, at: u32) -> Bytes {
        let slot = Slot { of: NOBODY, value: Bytes::new(), older: NONE, newer: self.free };
        let Slot { value, older, newer, .. } = std::mem::replace(self.slot(at), slot);
        self.free = at;
        match older {
            NONE => self.oldest = newer,
            older => self.slot(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slot(newer).older = older,
        }
        self.bytes -= value.len() + OVERHEAD_BYTES;
        value
    }

    fn slot(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside a list of values in the order in which they were written, searched from its front.
        #[test]
        fn the_values_in_memory_are_those_written_last(
            writes in prop::collection::vec((0_u8..20, 0_usize..40, 0_u8..4), 1..200),
            bytes_max in prop::option::of(0_usize..1500),
        ) {
            let mut residents = Residents::new(bytes_max);
            let mut places: BTreeMap<u8, (Place, Position)> = BTreeMap::new();
            let mut model: Vec<(u8, Bytes)> = Vec::new();
            let cost = |model: &[(u8, Bytes)]| -> usize {
                model.iter().map(|(_, value)| value.len() + OVERHEAD_BYTES).sum()
            };
            for (revision, (key, len, and_then)) in (1..).zip(writes) {
                let (of, value) = (Position { revision, sub: 0 }, Bytes::from(vec![key; len]));
                let fits = residents.fits(len);
                prop_assert_eq!(
                    fits,
                    len == 0 || bytes_max.is_none_or(|max| cost(&model) + len + OVERHEAD_BYTES <= max)
                );
                let place = residents.hold(of, value.clone());
                if let Some((place, of)) = places.insert(key, (place, of)) {
                    let known = model.iter().position(|(k, _)| *k == key);
                    let known = known.map(|index| model.remove(index).1);
                    let is_empty = matches!(place, Place::Empty);
                    prop_assert_eq!(residents.take(place, of), known.or(is_empty.then(Bytes::new)));
                    prop_assert_eq!(residents.take(place, of).is_some(), is_empty, "taken once");
                }
                if !value.is_empty() {
                    model.push((key, value));
                }
                if and_then == 0 {
                    residents.drop_surplus();
                    while bytes_max.is_some_and(|max| cost(&model) > max) {
                        model.remove(0);
                    }
                }
                prop_assert_eq!(residents.bytes(), cost(&model));
                for (key, (place, of)) in &places {
                    let known = model.iter().find(|(k, _)| k == key).map(|(_, value)| value);
                    let empty = matches!(place, Place::Empty).then_some(&NO_BYTES);
                    prop_assert_eq!(residents.get(*place, *of), known.or(empty));
                }
            }
        }
    }

    #[test]
    fn slots_are_used_again() {
        let mut residents = Residents::new(Some(10 * (OVERHEAD_BYTES + 1)));
        for revision in 1..=1000 {
            residents.hold(Position { revision, sub: 0 }, Bytes::from_static(b"x"));
            residents.drop_surplus();
        }
        assert_eq!(residents.slots.len(), 11);
    }
}
