//! Work that waits for a disk, kept off the event loop by threads of its own; in line in simulations.
//!
//! The one place that starts a thread by name.

use std::fmt;
use std::io;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// How many jobs may wait for a lane before those who bring more have to.
const LANE_JOBS_MAX: usize = 64;

/// Runs jobs one after the other: on a thread of its own, or where it is called.
#[derive(Clone)]
pub enum Lane {
    /// Runs each job at once, on the caller's thread: for simulations.
    Inline,
    /// Hands each job to the lane's thread.
    Thread(mpsc::Sender<Job>),
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline => "Lane::Inline",
            Self::Thread(_) => "Lane::Thread",
        })
    }
}

impl Lane {
    /// A lane with a thread called `name`, which ends when the last clone of the lane is dropped.
    pub fn thread(name: &str) -> io::Result<Self> {
        let (sender, mut receiver) = mpsc::channel::<Job>(LANE_JOBS_MAX);
        start_thread(name, move || {
            while let Some(job) = receiver.blocking_recv() {
                job();
            }
        })?;
        Ok(Self::Thread(sender))
    }

    /// Runs `work` after everything given to this lane before. If it panics, so does every
    /// later job of a lane with a thread.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Inline => Ok(work()),
            Self::Thread(sender) => {
                let (done, result) = oneshot::channel();
                let job = Box::new(move || {
                    // Nobody waits any more: the work counts all the same.
                    drop(done.send(work()));
                });
                let gone = |_| io::Error::other("the lane's thread panicked");
                sender.send(job).await.map_err(|_| io::Error::other("the lane is closed"))?;
                result.await.map_err(gone)
            }
        }
    }
}

/// Starts a thread that ends by itself; nobody need wait for it. Never under simulation.
pub fn start_thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Chunks that may be made before they are used.
const AHEAD_MAX: usize = 4;

/// Runs `make` on a thread called `name`, and `take` with each chunk that it hands over, here: while one is used, the next is
/// made. Ends with the first error of either. `make` is told by `false` that nobody takes any more.
/// Never under simulation.
pub fn ahead<T: Send>(
    name: &str,
    make: impl FnOnce(&mut dyn FnMut(T) -> bool) -> io::Result<()> + Send,
    mut take: impl FnMut(T) -> io::Result<()>,
) -> io::Result<()> {
    std::thread::scope(|scope| {
        let (sender, chunks) = std::sync::mpsc::sync_channel(AHEAD_MAX);
        let maker = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, move || make(&mut |chunk| sender.send(chunk).is_ok()))?;
        let taken = chunks.iter().try_for_each(&mut take);
        // Whoever makes more than is wanted ends with its next chunk.
        drop(chunks);
        let made = maker.join().map_err(|_| io::Error::other("the thread that reads panicked"))?;
        taken.and(made)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_made_ahead_come_in_order_and_end_with_the_first_error() {
        let numbers = |hand: &mut dyn FnMut(u32) -> bool| {
            (0..).take_while(|number| hand(*number)).take(100).for_each(drop);
            Err(io::Error::other("no more"))
        };
        let mut seen = Vec::new();
        let all = ahead("test", numbers, |number| {
            seen.push(number);
            Ok(())
        });
        assert_eq!(all.unwrap_err().to_string(), "no more");
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        let third = ahead("test", numbers, |number| match number {
            3 => Err(io::Error::other("enough")),
            _ => Ok(()),
        });
        assert_eq!(third.unwrap_err().to_string(), "enough");
    }

    #[tokio::test]
    async fn lanes_run_jobs_in_order_and_return_their_values() {
        for lane in [Lane::Inline, Lane::thread("test").unwrap()] {
            let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            for n in 0..10 {
                let list = seen.clone();
                let back = lane.run(move || {
                    list.lock().unwrap().push(n);
                    n * 2
                });
                assert_eq!(back.await.unwrap(), n * 2);
            }
            assert_eq!(*seen.lock().unwrap(), (0..10).collect::<Vec<_>>());
        }
    }
}
