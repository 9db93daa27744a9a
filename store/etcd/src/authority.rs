//! Mends what etcd's clients up to 3.4 send where HTTP/2 wants an authority: a whole URL.
//!
//! `:authority: http://host:2379` is not well formed, and the HTTP library refuses it before anyone here is
//! asked, while etcd's own server lets it pass. So the letters `://` are replaced, in the Huffman code of
//! the header block and in place, by three others whose codes are as long: `httpB--host:2379`. Nobody looks
//! at the authority afterwards.
//!
//! # Invariants
//! - Only bytes of HEADERS frames are changed, and never their number.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use store_env::net::BoxStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Traffic;

/// What a client says first on HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream of a frame.
const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
/// A literal for `:authority`, to be remembered by both ends.
const AUTHORITY: u8 = 0x41;
/// In front of the length of a string in Huffman code.
const HUFFMAN: u8 = 0x80;

/// `http://`, what it becomes, and which bits of the last byte belong to it.
const HTTP: ([u8; 6], [u8; 6], u8) =
    ([0x9d, 0x29, 0xae, 0xe3, 0x0c, 0x00], [0x9d, 0x29, 0xae, 0xea, 0xcb, 0x00], 0x80);
/// `https://`, the same.
const HTTPS: ([u8; 6], [u8; 6], u8) =
    ([0x9d, 0x29, 0xad, 0x17, 0x18, 0x60], [0x9d, 0x29, 0xad, 0x17, 0x56, 0x58], 0xfc);

/// Where in the client's bytes we are.
#[derive(Debug)]
enum Place {
    /// So many bytes of the preface have been seen.
    Preface(usize),
    /// So many bytes of a frame's head.
    Head(usize, [u8; FRAME_HEAD_BYTES]),
    /// So many bytes of a frame are left.
    Body { is_headers: bool, left: usize },
    /// Nothing here has to be mended.
    Elsewhere,
}

/// A client's connection, mended where need be.
pub(crate) struct Mended {
    stream: BoxStream,
    place: Place,
    has_mended: bool,
    /// Where its bytes are counted.
    traffic: Arc<Traffic>,
    /// Whether they are: only of HTTP/2.
    is_counted: bool,
}

impl Mended {
    pub(crate) fn new(stream: BoxStream, traffic: Arc<Traffic>) -> Self {
        let place = Place::Preface(0);
        Self { stream, place, has_mended: false, traffic, is_counted: false }
    }

    fn count(&self, written: io::Result<usize>) -> io::Result<usize> {
        if let (true, Ok(bytes)) = (self.is_counted, &written) {
            self.traffic.sent(*bytes);
        }
        written
    }

    fn look(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let (used, next) = match &mut self.place {
                Place::Elsewhere => return,
                Place::Preface(seen) => {
                    let used = bytes.len().min(PREFACE.len() - *seen);
                    let is_preface = bytes[..used] == PREFACE[*seen..*seen + used];
                    *seen += used;
                    let next = match () {
                        () if !is_preface => Some(Place::Elsewhere),
                        () if *seen == PREFACE.len() => {
                            self.is_counted = true;
                            Some(head())
                        }
                        () => None,
                    };
                    (used, next)
                }
                Place::Head(seen, head) => {
                    let used = bytes.len().min(FRAME_HEAD_BYTES - *seen);
                    head[*seen..*seen + used].copy_from_slice(&bytes[..used]);
                    *seen += used;
                    (used, (*seen == FRAME_HEAD_BYTES).then(|| body(*head)))
                }
                Place::Body { is_headers, left } => {
                    let used = bytes.len().min(*left);
                    *left -= used;
                    let is_whole = *left == 0;
                    let mut next = is_whole.then(head);
                    if *is_headers {
                        self.has_mended |= mend(&mut bytes[..used]);
                        // A client that says it right the first time does so always.
                        if is_whole && !self.has_mended {
                            next = Some(Place::Elsewhere);
                        }
                    }
                    (used, next)
                }
            };
            if let Some(next) = next {
                self.place = next;
            }
            bytes = &mut bytes[used..];
        }
    }
}

fn head() -> Place {
    Place::Head(0, [0; FRAME_HEAD_BYTES])
}

fn body(head: [u8; FRAME_HEAD_BYTES]) -> Place {
    let left = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    match left {
        0 => self::head(),
        _ => Place::Body { is_headers: head[3] == HEADERS, left },
    }
}

/// Whether there was something to mend. What is cut in two by the network stays as it is.
fn mend(block: &mut [u8]) -> bool {
    const LENGTH: usize = 2 + HTTP.0.len();
    for at in 0..block.len().saturating_sub(LENGTH - 1) {
        if block[at] != AUTHORITY || block[at + 1] & HUFFMAN == 0 {
            continue;
        }
        for (url, mended, mask) in [HTTP, HTTPS] {
            let text = &mut block[at + 2..at + LENGTH];
            let (last, rest) = (url.len() - 1, ..url.len() - 1);
            if text[rest] == url[rest] && text[last] & mask == url[last] & mask {
                text[rest].copy_from_slice(&mended[rest]);
                text[last] = text[last] & !mask | mended[last] & mask;
                return true;
            }
        }
    }
    false
}

impl AsyncRead for Mended {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if !matches!(self.place, Place::Elsewhere) {
            self.look(&mut buffer.filled_mut()[before..]);
        }
        if self.is_counted {
            self.traffic.received(buffer.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Mended {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.count(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        Poll::Ready(self.count(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use store_env::net::BoxStream;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// The preface, and a frame of this type whose body is a literal authority.
    fn bytes(kind: u8, url: [u8; 6]) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 10, kind, 4, 0, 0, 0, 1, 0x83, AUTHORITY, HUFFMAN | 6]);
        bytes.extend(url);
        bytes.push(0xff);
        bytes
    }

    async fn passed(sent: &[u8], piece: usize) -> Vec<u8> {
        let (mut near, far) = tokio::io::duplex(piece);
        let mut mended = Mended::new(Box::new(far) as BoxStream, Arc::default());
        let mut received = vec![0; sent.len()];
        let (written, read) = tokio::join!(near.write_all(sent), mended.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
        received
    }

    #[tokio::test]
    async fn urls_in_headers_are_mended_and_nothing_else() {
        for (url, mended, _) in [HTTP, HTTPS] {
            assert_eq!(passed(&bytes(HEADERS, url), 1024).await, bytes(HEADERS, mended));
            assert_eq!(passed(&bytes(0, url), 1024).await, bytes(0, url), "data");
            // Whatever the network makes of it, the number of bytes stays.
            for piece in 1..30 {
                assert_eq!(passed(&bytes(HEADERS, url), piece).await.len(), bytes(0, url).len());
            }
        }
        let plain = b"GET /health HTTP/1.1\r\n\r\n".to_vec();
        assert_eq!(passed(&plain, 5).await, plain);
    }
}
