//! Watches with a bug.

use store_env::task::Crew;
use store_handle::{Error, Handle, ReadError, WatchItem, WatchRequest, Watcher};
use tokio::sync::mpsc;

use super::Mutation;

pub(super) fn start(
    inner: &dyn Handle,
    mutation: Mutation,
    mut request: WatchRequest,
    crew: &mut Crew,
) -> Result<Watcher, ReadError> {
    match mutation {
        Mutation::WatchSkips if request.start > 0 => request.start += 1,
        Mutation::WatchRepeats if request.start > 2 => request.start -= 1,
        _ => {}
    }
    let watcher = match (mutation, inner.watch(request.clone())) {
        (
            Mutation::WatchIgnoresCompaction,
            Err(ReadError::Refused(Error::Compacted { oldest, .. })),
        ) => inner.watch(WatchRequest { start: oldest, ..request })?,
        (_, started) => started?,
    };
    let is_altered = matches!(
        mutation,
        Mutation::WatchSplits | Mutation::WatchReorders | Mutation::ProgressTooEarly
    );
    if !is_altered {
        return Ok(watcher);
    }
    let (created_at, (sender, receiver)) = (watcher.created_at, mpsc::channel(1_024));
    crew.spawn(alter(mutation, watcher, sender));
    Ok(Watcher::new(created_at, receiver))
}

async fn alter(mutation: Mutation, mut watcher: Watcher, sender: mpsc::Sender<WatchItem>) {
    let mut held = None;
    while let Some(item) = watcher.next().await {
        let items = match (mutation, item) {
            (Mutation::WatchSplits, WatchItem::Events { revision, events }) => {
                let one = |event| WatchItem::Events { revision, events: [event].into() };
                events.iter().cloned().map(one).collect()
            }
            (Mutation::ProgressTooEarly, item @ WatchItem::Events { revision, .. }) => {
                vec![item, WatchItem::Progress { revision: revision + 5 }]
            }
            // Every fourth waits for its successor.
            (Mutation::WatchReorders, item @ WatchItem::Events { revision, .. })
                if revision % 4 == 0 && held.is_none() =>
            {
                held = Some(item);
                Vec::new()
            }
            (_, item @ WatchItem::Events { .. }) => {
                [Some(item), held.take()].into_iter().flatten().collect()
            }
            (_, item) => vec![item],
        };
        for item in items {
            if sender.send(item).await.is_err() {
                return;
            }
        }
    }
}
