//! The body of an answer, which ends with an error as soon as its master is given up.
//!
//! A watch on a master that fell silent would otherwise wait for ever.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Error;

/// An answer on its way in. What it comes through (`keep`: client and connection) lives as long.
pub(super) struct Guarded<K> {
    body: Incoming,
    server: Uri,
    lost: Pin<Box<WaitForCancellationFutureOwned>>,
    deadline: Option<Pin<Box<Sleep>>>,
    _keep: K,
}

impl<K> Guarded<K> {
    pub(super) fn new(body: Incoming, server: Uri, lost: CancellationToken, keep: K) -> Self {
        let lost = Box::pin(lost.cancelled_owned());
        Self { body, server, lost, deadline: None, _keep: keep }
    }

    /// Bounds how long the whole answer may take.
    pub(super) fn until(mut self, deadline: Option<tokio::time::Instant>) -> Self {
        self.deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        self
    }

    fn cut_off(&self, reason: impl ToString) -> Error {
        Error::CutOff { server: self.server.to_string(), reason: reason.to_string() }
    }
}

impl<K: Unpin> Body for Guarded<K> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                return Poll::Ready(Some(Err(self.cut_off(super::session::chain(&error)))));
            }
            Poll::Ready(frame) => {
                return Poll::Ready(frame.map(|frame| frame.map_err(|e| self.cut_off(e))));
            }
            Poll::Pending => {}
        }
        if self.lost.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(self.cut_off("it stopped answering"))));
        }
        let late = self.deadline.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready());
        if late {
            return Poll::Ready(Some(Err(self.cut_off("the request's time is up"))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
