//! Where an informer puts what it hears, and how far that has come.

use std::fmt::{self, Debug};
use std::sync::Arc;

use tokio::sync::watch;

/// Takes over what an informer hears, in order. Before a change is told to [`Sink::progress`], it is there.
pub trait Sink: Send + Sync + 'static {
    /// An object, as far as it is kept.
    type Object: Send;

    /// Reads an object from its text.
    fn read(&self, text: &str) -> Result<Self::Object, serde_json::Error>;

    /// Takes over a whole list as of `resource_version`: what it lacks is gone.
    fn replace(&self, objects: Vec<Self::Object>, resource_version: &str);

    /// Takes over an object that is new or was written.
    fn apply(&self, object: Self::Object);

    /// Forgets an object; `last` is its state when it was deleted.
    fn delete(&self, last: Self::Object);

    /// How far it has come.
    fn progress(&self) -> &Progress;
}

/// How far a copy has come. Cheap to clone; all clones see the same.
#[derive(Clone)]
pub struct Progress(Arc<watch::Sender<Seen>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    synced: bool,
    resource_version: String,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(watch::channel(Seen::default()).0))
    }
}

impl Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().fmt(f)
    }
}

impl Progress {
    /// Whether the first list has arrived.
    pub fn synced(&self) -> bool {
        self.0.borrow().synced
    }

    /// The resourceVersion that the copy shows; empty before the first list.
    pub fn resource_version(&self) -> String {
        self.0.borrow().resource_version.clone()
    }

    /// The copy shows everything up to `resource_version` (empty: it does not say), which a list has brought or not.
    pub fn advance(&self, resource_version: &str, listed: bool) {
        self.0.send_modify(|seen| {
            seen.synced |= listed;
            if !resource_version.is_empty() {
                resource_version.clone_into(&mut seen.resource_version);
            }
        });
    }

    /// Waits for the first list.
    pub async fn wait_synced(&self) {
        self.wait_until(|| self.synced()).await;
    }

    /// Waits until `condition` holds; it is asked again after each change.
    pub async fn wait_until(&self, mut condition: impl FnMut() -> bool) {
        let mut seen = self.0.subscribe();
        loop {
            seen.mark_unchanged();
            if condition() {
                return;
            }
            // The sender lives as long as `self`.
            if seen.changed().await.is_err() {
                return;
            }
        }
    }
}
