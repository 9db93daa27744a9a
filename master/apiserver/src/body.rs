//! Response bodies: one piece, many shared pieces, or a stream.
//!
//! A list of ten thousand objects is sent from the very bytes that the cacher holds; they are only
//! copied into frames of a useful size, a frame at a time, as the connection takes them.

use std::fmt;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::mpsc;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a request brings.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// Pieces are gathered until a frame has this many bytes.
const FRAME_BYTES: usize = 64 * 1024;

/// What a response carries.
#[derive(Debug)]
pub enum Body {
    /// One piece, or nothing.
    Full(Option<Bytes>),
    /// Many pieces that are sent one after the other.
    Pieces(Pieces),
    /// Pieces, compressed on their way.
    Gzip(Box<Gzip>),
    /// Whatever comes, each piece sent at once; ends when the sender is dropped.
    Live(Live),
    /// Another server's body, passed on.
    Foreign(UnsyncBoxBody<Bytes, BoxError>),
}

/// Shared pieces and how many bytes are left of them.
#[derive(Debug)]
pub struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    left: u64,
}

/// Pieces, and the compressor that they go through.
#[derive(Debug)]
pub struct Gzip {
    pieces: Pieces,
    /// `None` once the end has been written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

/// A stream, and what feeds it: no task of its own, but a part of the one that sends, so that a piece is on its way
/// without another task being woken.
pub struct Live {
    frames: mpsc::Receiver<Bytes>,
    /// `None` once it has ended.
    feeder: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Body {
    /// No bytes at all.
    pub fn empty() -> Self {
        Self::Full(None)
    }

    /// One piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Some(bytes.into()))
    }

    /// Many pieces.
    pub fn pieces(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::Pieces(Pieces { pieces: pieces.into_iter(), left })
    }

    /// The same compressed, and true, if it is known and at least `bytes_min` long.
    pub fn gzip(self, bytes_min: u64) -> (Self, bool) {
        let pieces = match self {
            Self::Full(Some(bytes)) if bytes.len() as u64 >= bytes_min => {
                let left = bytes.len() as u64;
                let chunks = (0..bytes.len()).step_by(FRAME_BYTES);
                let chunk = |at: usize| bytes.slice(at..bytes.len().min(at + FRAME_BYTES));
                Pieces { pieces: chunks.map(chunk).collect::<Vec<_>>().into_iter(), left }
            }
            Self::Pieces(pieces) if pieces.left >= bytes_min => pieces,
            other => return (other, false),
        };
        let encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        (Self::Gzip(Box::new(Gzip { pieces, encoder })), true)
    }

    /// A stream that `feed` writes to, as the client takes it; `feed` is dropped when the client goes away.
    pub fn live<F, Fut>(queue: usize, feed: F) -> Self
    where
        F: FnOnce(mpsc::Sender<Bytes>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (sender, frames) = mpsc::channel(queue);
        Self::Live(Live { frames, feeder: Some(Box::pin(feed(sender))) })
    }

    /// Another body, passed on as it comes.
    pub fn foreign<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::Foreign(body.map_err(Into::into).boxed_unsync())
    }
}

impl Pieces {
    fn next_frame(&mut self) -> Option<Bytes> {
        let first = self.pieces.next()?;
        if first.len() >= FRAME_BYTES || self.pieces.len() == 0 {
            self.left -= first.len() as u64;
            return Some(first);
        }
        let mut frame = BytesMut::with_capacity(FRAME_BYTES);
        frame.extend_from_slice(&first);
        while frame.len() < FRAME_BYTES
            && let Some(piece) = self.pieces.next()
        {
            frame.extend_from_slice(&piece);
        }
        self.left -= frame.len() as u64;
        Some(frame.freeze())
    }
}

impl Gzip {
    /// Compresses until there is something to send.
    fn next_frame(&mut self) -> Option<Bytes> {
        loop {
            let encoder = self.encoder.as_mut()?;
            let Some(frame) = self.pieces.next_frame() else {
                let encoder = self.encoder.take()?;
                return Some(encoder.finish().expect("memory takes it").into());
            };
            encoder.write_all(&frame).expect("memory takes it");
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() {
                return Some(ready.into());
            }
        }
    }
}

impl Live {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        // What is ready goes first: the feeder may be waiting for room.
        if let Poll::Ready(frame) = self.frames.poll_recv(cx) {
            return Poll::Ready(frame);
        }
        if let Some(feeder) = &mut self.feeder
            && feeder.as_mut().poll(cx).is_ready()
        {
            self.feeder = None;
        }
        self.frames.poll_recv(cx)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("has_ended", &self.feeder.is_none()).finish_non_exhaustive()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let data = |bytes: Option<Bytes>| Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
        match self.get_mut() {
            Self::Full(piece) => data(piece.take()),
            Self::Pieces(pieces) => data(pieces.next_frame()),
            Self::Gzip(gzip) => data(gzip.next_frame()),
            Self::Live(live) => live.poll_next(cx).map(|bytes| bytes.map(Frame::data).map(Ok)),
            Self::Foreign(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(piece) => piece.is_none(),
            Self::Pieces(pieces) => pieces.left == 0,
            Self::Gzip(gzip) => gzip.encoder.is_none(),
            Self::Live(_) => false,
            Self::Foreign(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(piece) => SizeHint::with_exact(piece.as_ref().map_or(0, |p| p.len() as u64)),
            Self::Pieces(pieces) => SizeHint::with_exact(pieces.left),
            Self::Gzip(_) | Self::Live(_) => SizeHint::default(),
            Self::Foreign(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn compressed_pieces_are_the_same_bytes() {
        use std::io::Read as _;
        let piece = Bytes::from("some words that repeat ".repeat(100));
        let whole: Vec<u8> = piece.repeat(100);
        for body in [Body::pieces(vec![piece; 100]), Body::full(whole.clone())] {
            let (mut body, is_compressed) = body.gzip(1_000);
            assert!(is_compressed);
            let mut sent = Vec::new();
            while let Some(frame) = body.frame().await {
                sent.extend_from_slice(&frame.unwrap().into_data().unwrap());
            }
            let mut read = Vec::new();
            flate2::read::GzDecoder::new(&*sent).read_to_end(&mut read).unwrap();
            assert!(sent.len() < whole.len() / 10 && read == whole);
        }
        assert!(!Body::full("short").gzip(1_000).1);
    }

    #[tokio::test]
    async fn a_stream_brings_each_piece_in_order_and_ends_with_its_feeder() {
        let mut body = Body::live(2, |out| async move {
            for number in 0..100_u8 {
                tokio::task::yield_now().await;
                let sent = out.send(vec![number].into()).await;
                assert!(sent.is_ok(), "the client is there");
            }
        });
        for number in 0..100 {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame[..], [number]);
        }
        assert!(body.frame().await.is_none());
        assert!(body.frame().await.is_none(), "asked once more");
    }

    #[tokio::test]
    async fn a_feeder_is_dropped_with_its_stream() {
        let (alive, mut is_alive) = mpsc::channel::<()>(1);
        let mut body = Body::live(1, |out| async move {
            let _alive = alive;
            let _ = out.send("x".into()).await;
            std::future::pending().await
        });
        assert!(body.frame().await.is_some());
        drop(body);
        assert_eq!(is_alive.recv().await, None);
    }

    #[tokio::test]
    async fn pieces_arrive_whole_in_frames_of_a_useful_size() {
        let piece = Bytes::from(vec![b'x'; 1_000]);
        let mut body = Body::pieces(vec![piece; 200]);
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(frames.iter().sum::<usize>(), 200_000);
        assert_eq!(frames.len(), 4, "{frames:?}");
    }
}
