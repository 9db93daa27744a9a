//! What was written while one key was looked at, and this master's own copies do not show yet.
//!
//! A copy that lags is no reason to do again what was done: until it has caught up, the key is not looked at. It is what
//! upstream's expectations are for.

use std::fmt::{self, Debug};
use std::sync::Arc;

use parking_lot::Mutex;

type IsSeen = Box<dyn Fn() -> bool + Send + Sync>;

/// Writes that nobody has seen. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Unseen(Arc<Mutex<Vec<IsSeen>>>);

impl Debug for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unseen").field(&self.0.lock().len()).finish()
    }
}

impl Unseen {
    /// To be held while one waits for a write to be seen: what is not when this is dropped, for whatever reason, is noted.
    pub(crate) fn owed(&self, is_seen: impl Fn() -> bool + Send + Sync + 'static) -> Owed<'_> {
        Owed { unseen: self, is_seen: Some(Box::new(is_seen)) }
    }

    /// Whether everything has been seen by now.
    pub(crate) fn is_settled(&self) -> bool {
        let mut all = self.0.lock();
        all.retain(|is_seen| !is_seen());
        all.is_empty()
    }
}

/// A write that is waited for.
pub(crate) struct Owed<'a> {
    unseen: &'a Unseen,
    is_seen: Option<IsSeen>,
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if let Some(is_seen) = self.is_seen.take().filter(|is_seen| !is_seen()) {
            self.unseen.is_settled();
            self.unseen.0.lock().push(is_seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_is_not_seen_is_owed_until_it_is() {
        let (unseen, shown) = (Unseen::default(), Arc::new(AtomicBool::new(false)));
        let is_shown = || {
            let shown = shown.clone();
            move || shown.load(Ordering::Relaxed)
        };
        drop(unseen.owed(|| true));
        assert!(unseen.is_settled());
        let held = unseen.owed(is_shown());
        assert!(unseen.is_settled(), "somebody waits for it");
        drop(held);
        assert!(!unseen.clone().is_settled());
        shown.store(true, Ordering::Relaxed);
        assert!(unseen.is_settled());
    }
}
