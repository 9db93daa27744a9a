//! Work that waits for a disk, kept off the event loop by threads of its own; in line in simulations.
//!
//! The one place that starts a thread by name.

use std::fmt;
use std::io;

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

/// Starts a thread that ends by itself. Never under simulation.
pub fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

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
