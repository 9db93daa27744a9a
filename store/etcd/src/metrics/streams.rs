//! The messages of streams, counted as they pass.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tonic::body::Body;

use super::calls::Call;
use crate::facade::Facade;

/// A flag and the length of a message.
const HEAD_BYTES: usize = 5;

/// Where in a stream's bytes we are.
#[derive(Debug, Default)]
struct Messages {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Of the message under way.
    left: usize,
}

impl Messages {
    /// How many messages are complete with these bytes.
    fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut complete = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let used = self.left.min(bytes.len());
                self.left -= used;
                bytes = &bytes[used..];
            } else {
                let used = (HEAD_BYTES - self.head_bytes).min(bytes.len());
                let to = self.head_bytes + used;
                self.head[self.head_bytes..to].copy_from_slice(&bytes[..used]);
                self.head_bytes = to;
                bytes = &bytes[used..];
                if to < HEAD_BYTES {
                    break;
                }
                let [_, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length) as usize;
            }
            if self.left == 0 {
                complete += 1;
                self.head_bytes = 0;
            }
        }
        complete
    }
}

/// What a client says.
pub(crate) struct Heard<B> {
    body: Pin<Box<B>>,
    facade: Arc<Facade>,
    method: usize,
    messages: Messages,
}

impl<B> Heard<B> {
    pub(crate) fn new(body: B, call: &Call) -> Self {
        let (facade, method) = call.shared();
        Self { body: Box::pin(body), facade, method, messages: Messages::default() }
    }
}

impl<B: http_body::Body<Data = Bytes>> http_body::Body for Heard<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|it| it.as_ref().ok()?.data_ref()) {
            let complete = self.messages.pass(data);
            let method = &self.facade.metrics.calls.methods()[self.method];
            method.received.fetch_add(complete, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// What a client is told. The call ends with it.
pub(crate) struct Said {
    body: Body,
    call: Call,
    messages: Messages,
}

impl Said {
    pub(crate) fn new(body: Body, call: Call) -> Self {
        Self { body, call, messages: Messages::default() }
    }
}

impl http_body::Body for Said {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let complete = self.messages.pass(data);
                    self.call.method().sent.fetch_add(complete, Ordering::Relaxed);
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.call.end_if_said(trailers);
                }
            }
            Some(Err(_)) => self.call.break_off(),
            None => self.call.end_well(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let bytes = [&[0, 0, 0, 0, 3, 7, 7, 7][..], &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 7]].concat();
        for piece in 1..=bytes.len() {
            let mut messages = Messages::default();
            let counted: u64 = bytes.chunks(piece).map(|part| messages.pass(part)).sum();
            assert_eq!(counted, 3, "in pieces of {piece}");
        }
        let mut messages = Messages::default();
        assert_eq!(messages.pass(&bytes[..bytes.len() - 1]), 2, "the last one is not complete");
    }
}
