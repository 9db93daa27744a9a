//! A cork for connections on which many streams speak: what they say at one time goes out in one piece.
//!
//! HTTP/2 libraries write frames of data one by one and flush after each. With a hundred streams that speak at the same
//! moment that is a hundred TLS records, system calls and wake-ups of the other end. A corked connection keeps what is
//! written until the task that holds the conversation has had its turn, and then one more after all others that are
//! ready, which may have something to add: then it writes everything at once.
//!
//! # Invariants
//! - What was written goes out within one more turn of the conversation's task: nothing waits for a clock.
//! - Bytes that wait are bounded by [`WAITING_MAX`] and one more write; beyond it, the writer waits for the other end.

use std::fmt::{self, Debug};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;

/// Bytes that are written without waiting for more: a record of TLS.
const ENOUGH: usize = 16 << 10;
/// Bytes that may wait for the other end.
const WAITING_MAX: usize = 64 << 10;

/// A connection whose writes wait for [`Cork::drive`].
pub struct Corked<S>(Arc<Mutex<Line<S>>>);

/// Lets go what was written on its [`Corked`] connection.
pub struct Cork<S>(Arc<Mutex<Line<S>>>);

struct Line<S> {
    stream: S,
    waiting: BytesMut,
    /// Whether the stream itself may still hold something back.
    is_flushed: bool,
    /// Whether the conversation is over, and nothing kept any more.
    is_open: bool,
    /// Why bytes that were taken could not be written: the writer's to hear.
    failed: Option<io::Error>,
}

impl<S> Debug for Corked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corked").finish_non_exhaustive()
    }
}

impl<S> Debug for Cork<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cork").finish_non_exhaustive()
    }
}

/// Corks `stream`. From now on, whoever speaks on it has to be driven by the [`Cork`].
pub fn cork<S: Stream>(stream: S) -> (Corked<S>, Cork<S>) {
    let waiting = BytesMut::new();
    let line = Line { stream, waiting, is_flushed: true, is_open: false, failed: None };
    let line = Arc::new(Mutex::new(line));
    (Corked(line.clone()), Cork(line))
}

impl<S: Stream> Cork<S> {
    /// Runs `conversation`, which speaks on the corked connection, to its end. Who has the connection then (a tunnel
    /// that it was upgraded to) writes as without a cork.
    pub fn drive<F: Future + Unpin>(&self, mut conversation: F) -> impl Future<Output = F::Output> {
        let mut has_waited = false;
        poll_fn(move |cx| {
            loop {
                let turn = Pin::new(&mut conversation).poll(cx);
                let mut line = self.0.lock();
                if turn.is_ready() {
                    // Whoever ended it well has waited for its last bytes (`poll_shutdown`); others go on with them.
                    line.is_open = true;
                    let _ = line.let_go(cx);
                    return turn;
                }
                if line.is_empty() {
                    has_waited = false;
                    return Poll::Pending;
                }
                if !has_waited && line.waiting.len() < ENOUGH {
                    has_waited = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                has_waited = false;
                match line.let_go(cx) {
                    Poll::Ready(Err(error)) => line.failed = Some(error),
                    Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
                }
            }
        })
    }
}

impl<S: Stream> Line<S> {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.is_flushed
    }

    /// Writes what waits, and sees that it goes.
    fn let_go(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
            self.is_flushed = false;
        }
        // An idle connection holds no memory.
        self.waiting = BytesMut::new();
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Whether `bytes` more are to be kept; if not, they may be written at once.
    fn keeps(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<bool>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.waiting.len() >= WAITING_MAX || (self.is_open && !self.is_empty()) {
            ready!(self.let_go(cx))?;
        }
        Poll::Ready(Ok(!self.is_open && (bytes < ENOUGH || !self.waiting.is_empty())))
    }
}

impl<S: Stream> AsyncRead for Corked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buffer)
    }
}

impl<S: Stream> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut line = self.0.lock();
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if ready!(line.keeps(cx, bytes))? {
            line.waiting.reserve(bytes);
            slices.iter().for_each(|slice| line.waiting.extend_from_slice(slice));
            return Poll::Ready(Ok(bytes));
        }
        line.is_flushed = false;
        Pin::new(&mut line.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Waits for nothing while the conversation goes on: what was written goes when its [`Cork`] lets it.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = self.0.lock();
        match line.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if line.is_open => line.let_go(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = self.0.lock();
        ready!(line.let_go(cx))?;
        Pin::new(&mut line.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;

    use super::*;
    use crate::task::Crew;

    /// A stream that remembers in what pieces it was written, or fails.
    #[derive(Clone, Default)]
    struct Pieces(Arc<Mutex<Written>>);

    #[derive(Default)]
    struct Written {
        pieces: Vec<Vec<u8>>,
        broken: Option<io::ErrorKind>,
    }

    impl Pieces {
        fn lengths(&self) -> Vec<usize> {
            self.0.lock().pieces.iter().map(Vec::len).collect()
        }
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Pieces {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let mut written = self.0.lock();
            if let Some(kind) = written.broken {
                return Poll::Ready(Err(kind.into()));
            }
            written.pieces.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_written_in_one_turn_or_while_others_have_theirs_goes_out_together() {
        let pieces = Pieces::default();
        let (mut stream, cork) = cork(pieces.clone());
        let (more, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut other = Crew::new();
        other.spawn({
            let more = more.clone();
            async move { more.notify_one() }
        });
        let conversation = pin!(async {
            for _ in 0..3 {
                stream.write_all(&[0; 100]).await.unwrap();
                stream.flush().await.unwrap();
            }
            // Another task is ready, and has more to say.
            more.notified().await;
            stream.write_all(&[0; 100]).await.unwrap();
            done.notified().await;
            stream.write_all(&[0; 100]).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let look = async {
            while pieces.lengths().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(pieces.lengths(), [400]);
            done.notify_one();
        };
        tokio::join!(cork.drive(conversation), look);
        assert_eq!(pieces.lengths(), [400, 100], "the end lets go of what waits");
    }

    #[tokio::test]
    async fn large_writes_do_not_wait_and_keep_their_place() {
        let pieces = Pieces::default();
        let (mut stream, cork) = cork(pieces.clone());
        let conversation = pin!(async {
            stream.write_all(&[0; ENOUGH]).await.unwrap();
            stream.write_all(&[0; 10]).await.unwrap();
            stream.write_all(&[0; ENOUGH]).await.unwrap();
            assert_eq!(pieces.lengths(), [ENOUGH], "behind small ones they wait, too");
            stream.shutdown().await.unwrap();
        });
        cork.drive(conversation).await;
        assert_eq!(pieces.lengths(), [ENOUGH, 10 + ENOUGH]);
    }

    #[tokio::test]
    async fn bytes_arrive_whole_and_in_order_however_narrow_the_pipe() {
        for room in [1, 7, 4096] {
            let (near, mut far) = tokio::io::duplex(room);
            let (mut stream, cork) = cork(near);
            let sent: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
            let conversation = pin!(async {
                for piece in sent.chunks(3_001) {
                    stream.write_all(piece).await.unwrap();
                    let waiting = stream.0.lock().waiting.len();
                    assert!(waiting <= WAITING_MAX + 3_001, "{waiting} bytes wait");
                }
                stream.shutdown().await.unwrap();
            });
            let mut received = Vec::new();
            let (_, read) = tokio::join!(cork.drive(conversation), far.read_to_end(&mut received));
            read.unwrap();
            assert!(received == sent, "room for {room}");
        }
    }

    #[tokio::test]
    async fn a_broken_connection_is_told_to_the_conversation() {
        let pieces = Pieces::default();
        pieces.0.lock().broken = Some(io::ErrorKind::BrokenPipe);
        let (mut stream, cork) = cork(pieces);
        let conversation = pin!(async {
            stream.write_all(&[0; 10]).await.unwrap();
            // As HTTP/2 does at each turn.
            poll_fn(|cx| match Pin::new(&mut stream).poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(error),
                _ => Poll::Pending,
            })
            .await
        });
        assert_eq!(cork.drive(conversation).await.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_connection_that_outlives_its_conversation_has_no_cork() {
        let pieces = Pieces::default();
        let (mut stream, cork) = cork(pieces.clone());
        let conversation = pin!(async { stream.write_all(&[0; 10]).await.unwrap() });
        cork.drive(conversation).await;
        assert_eq!(pieces.lengths(), [10]);
        stream.write_all(&[0; 20]).await.unwrap();
        assert_eq!(pieces.lengths(), [10, 20]);
    }
}
