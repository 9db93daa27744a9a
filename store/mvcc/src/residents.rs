//! Which latest values are in memory: all of them, or the most recently written up to a number of bytes.
//!
//! # Invariants
//! - `bytes` is what the values in memory cost; only a value in memory that can leave it is counted.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::types::Revision;

/// What a value costs beside its bytes: allocations and the counter of those who share it.
const OVERHEAD_BYTES: usize = 64;

/// Lines of the queue that need not be there before it is tidied.
const QUEUE_SLACK: usize = 1024;

/// The values in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Residents {
    /// `None`: there is no bound, and nothing is counted.
    bytes_max: Option<usize>,
    bytes: usize,
    count: usize,
    /// In the order in which they were written; a line whose value was replaced is void.
    queue: VecDeque<(Arc<[u8]>, Revision)>,
}

impl Residents {
    pub(crate) fn new(bytes_max: Option<usize>) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Whether a value of so many bytes would fit.
    pub(crate) fn fits(&self, value_bytes: usize) -> bool {
        self.bytes_max.is_none_or(|max| self.bytes + value_bytes + OVERHEAD_BYTES <= max)
    }

    /// Counts a value, and lines it up.
    pub(crate) fn add(&mut self, key: &Arc<[u8]>, revision: Revision, value_bytes: usize) {
        self.count(value_bytes);
        if value_bytes > 0 {
            self.line_up(key, revision);
        }
    }

    /// Counts a value that is lined up later; one without bytes costs nothing and always stays.
    pub(crate) fn count(&mut self, value_bytes: usize) {
        if self.bytes_max.is_some() && value_bytes > 0 {
            self.bytes += value_bytes + OVERHEAD_BYTES;
            self.count += 1;
        }
    }

    /// It goes after those that are lined up already.
    pub(crate) fn line_up(&mut self, key: &Arc<[u8]>, revision: Revision) {
        if self.bytes_max.is_some() {
            self.queue.push_back((key.clone(), revision));
        }
    }

    /// A value that was counted is gone.
    pub(crate) fn remove(&mut self, value_bytes: usize) {
        if self.bytes_max.is_some() && value_bytes > 0 {
            self.bytes -= value_bytes + OVERHEAD_BYTES;
            self.count -= 1;
        }
    }

    /// The value to drop next, while there are too many; its line may be void.
    pub(crate) fn next_out(&mut self) -> Option<(Arc<[u8]>, Revision)> {
        let is_over = self.bytes_max.is_some_and(|max| self.bytes > max);
        if is_over { self.queue.pop_front() } else { None }
    }

    /// Removes void lines, once they are the greater part.
    pub(crate) fn tidy(&mut self, is_void: impl Fn(&[u8], Revision) -> bool) {
        if self.queue.len() > 2 * self.count + QUEUE_SLACK {
            self.queue.retain(|(key, revision)| !is_void(key, *revision));
            self.queue.shrink_to(2 * self.count);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
