//! Streams to a container over SPDY/3.1, for servers whose WebSocket protocol cannot end an input.
//!
//! containerd 1.6 speaks `v4.channel.k8s.io` at most: `echo x | kctl exec -i POD -- sort` would wait for
//! ever. SPDY ends streams one by one, and every streaming server of Kubernetes knows it. Only what
//! those servers use is here: streams that we open, data, pings; no flow control, no pushes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use http::header::{CONNECTION, UPGRADE};
use http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::stream::{Input, STDERR, STDOUT, read_input, verdict};
use super::{Api, chain, refusal, transport};
use crate::error::{Result, said};

const PROTOCOL: &str = "v4.channel.k8s.io";
const PROTOCOL_HEADER: &str = "x-stream-protocol-version";

const HEAD_BYTES: usize = 8;
const FRAME_BYTES_MAX: usize = 16 << 20;
const CHUNK_BYTES: usize = 32 << 10;

const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;

/// Our streams, in the order in which they are opened; a client's ids are odd.
const ERROR_ID: u32 = 1;
const STDIN_ID: u32 = 3;
const STDOUT_ID: u32 = 5;
const STDERR_ID: u32 = 7;

/// One frame.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Data { stream: u32, is_last: bool, payload: Bytes },
    Control { kind: u16, payload: Bytes },
}

impl Api {
    /// Runs a command (`path` is that of an exec) without a terminal. `output` gets what comes, by the
    /// WebSocket's channels.
    pub async fn exec_spdy(
        &self,
        path: &str,
        input: Input,
        output: impl FnMut(u8, &[u8]),
    ) -> Result {
        let request = Request::post(path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "SPDY/3.1")
            .header(PROTOCOL_HEADER, PROTOCOL)
            .body(Body::empty())
            .map_err(|error| said(format!("{path}: {error}")))?;
        let answer = self.client.send(request).await.map_err(|error| transport(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(answer).await);
        }
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|error| said(format!("upgrading the connection: {}", chain(&error))))?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        carry(reader, writer, input, output).await
    }
}

async fn carry(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    input: Input,
    mut output: impl FnMut(u8, &[u8]),
) -> Result {
    let mut headers = HeaderBlocks::new();
    let mut opening = BytesMut::new();
    for (id, kind) in
        [(ERROR_ID, "error"), (STDIN_ID, "stdin"), (STDOUT_ID, "stdout"), (STDERR_ID, "stderr")]
    {
        opening.extend_from_slice(&headers.syn_stream(id, kind)?);
    }
    // What the error stream says is the server's alone.
    opening.extend_from_slice(&data(ERROR_ID, true, &[]));
    write(&mut writer, &opening).await?;

    let mut input = Some(input);
    let mut received = BytesMut::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut status = BytesMut::new();
    loop {
        while let Some(frame) = take(&mut received)? {
            match frame {
                Frame::Data { stream: ERROR_ID, is_last, payload } => {
                    status.extend_from_slice(&payload);
                    if is_last {
                        return verdict_of(&status);
                    }
                }
                Frame::Data { stream: STDOUT_ID, payload, .. } => output(STDOUT, &payload),
                Frame::Data { stream: STDERR_ID, payload, .. } => output(STDERR, &payload),
                Frame::Control { kind: PING, payload } => {
                    write(&mut writer, &control(PING, &payload)).await?
                }
                // A server that is done with our input resets its stream.
                Frame::Control { kind: RST_STREAM, payload } if id_of(&payload) == STDIN_ID => {
                    input = None
                }
                Frame::Control { kind: RST_STREAM | GOAWAY, .. } => return verdict_of(&status),
                Frame::Data { .. } | Frame::Control { .. } => {}
            }
        }
        tokio::select! {
            // What the command says first, as with WebSockets.
            biased;
            count = reader.read_buf(&mut received) => match count {
                Ok(0) => return verdict_of(&status),
                Ok(_) => {}
                Err(error) => return Err(said(format!("the stream broke off: {error}"))),
            },
            count = read_input(&mut input, &mut chunk), if input.is_some() => {
                write(&mut writer, &data(STDIN_ID, count == 0, &chunk[..count])).await?;
                if count == 0 {
                    input = None;
                }
            }
        }
    }
}

fn verdict_of(status: &[u8]) -> Result {
    if status.is_empty() { Ok(()) } else { verdict(status) }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result {
    let written = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    written.await.map_err(|error| said(format!("the stream broke off: {error}")))
}

/// The first complete frame, taken out of what was received.
fn take(received: &mut BytesMut) -> Result<Option<Frame>> {
    if received.len() < HEAD_BYTES {
        return Ok(None);
    }
    let length =
        usize::from(received[5]) << 16 | usize::from(received[6]) << 8 | usize::from(received[7]);
    if length > FRAME_BYTES_MAX {
        return Err(said("the server sent a frame that is too large"));
    }
    if received.len() < HEAD_BYTES + length {
        return Ok(None);
    }
    let first = received.get_u32();
    let flags = received.get_u8();
    received.advance(3);
    let payload = received.split_to(length).freeze();
    Ok(Some(if first >> 31 == 1 {
        Frame::Control { kind: u16::try_from(first & 0xffff).unwrap_or_default(), payload }
    } else {
        Frame::Data { stream: first, is_last: flags & FIN != 0, payload }
    }))
}

fn id_of(payload: &Bytes) -> u32 {
    payload.get(..4).map_or(0, |mut id| id.get_u32() & 0x7fff_ffff)
}

fn data(stream: u32, is_last: bool, payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + payload.len());
    frame.put_u32(stream);
    put_flags_and_length(&mut frame, if is_last { FIN } else { 0 }, payload.len());
    frame.extend_from_slice(payload);
    frame
}

fn control(kind: u16, payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + payload.len());
    frame.put_u16(0x8003);
    frame.put_u16(kind);
    put_flags_and_length(&mut frame, 0, payload.len());
    frame.extend_from_slice(payload);
    frame
}

fn put_flags_and_length(frame: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    frame.put_u32(u32::from(flags) << 24 | length);
}

/// The headers of one connection are one zlib stream, flushed after each block. (SPDY's preset
/// dictionary may be left out: a stream says whether it uses one.)
struct HeaderBlocks {
    zlib: Compress,
}

impl HeaderBlocks {
    fn new() -> Self {
        Self { zlib: Compress::new(Compression::default(), true) }
    }

    fn syn_stream(&mut self, id: u32, kind: &str) -> Result<BytesMut> {
        let mut plain = BytesMut::new();
        plain.put_u32(1);
        for text in ["streamtype", kind] {
            plain.put_u32(u32::try_from(text.len()).unwrap_or_default());
            plain.extend_from_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(256);
        self.zlib
            .compress_vec(&plain, &mut block, FlushCompress::Sync)
            .map_err(|error| said(format!("headers cannot be compressed: {error}")))?;
        let mut payload = BytesMut::new();
        payload.put_u32(id);
        payload.put_u32(0);
        payload.put_u16(0);
        payload.extend_from_slice(&block);
        Ok(control(SYN_STREAM, &payload))
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use store_env::task::Crew;
    use tokio::io::DuplexStream;

    use super::*;

    async fn next(stream: &mut DuplexStream, received: &mut BytesMut) -> Frame {
        loop {
            if let Some(frame) = take(received).unwrap() {
                return frame;
            }
            assert!(stream.read_buf(received).await.unwrap() > 0, "the client hung up");
        }
    }

    /// Reads everything from stdin, then answers with its size on stdout and exit code 3.
    async fn server(mut stream: DuplexStream) {
        let mut received = BytesMut::new();
        let mut zlib = Decompress::new(true);
        let (mut kinds, mut bytes) = (Vec::new(), 0);
        loop {
            match next(&mut stream, &mut received).await {
                Frame::Control { kind: SYN_STREAM, payload } => {
                    let mut plain = Vec::with_capacity(256);
                    zlib.decompress_vec(&payload[10..], &mut plain, FlushDecompress::Sync).unwrap();
                    let kind = String::from_utf8_lossy(&plain[22..]).into_owned();
                    kinds.push((id_of(&payload), kind));
                }
                Frame::Data { stream: STDIN_ID, is_last, payload } => {
                    bytes += payload.len();
                    if is_last {
                        break;
                    }
                }
                _ => {}
            }
        }
        let names: Vec<_> = kinds.iter().map(|(id, kind)| format!("{id}{kind}")).collect();
        assert_eq!(names, ["1error", "3stdin", "5stdout", "7stderr"]);
        stream.write_all(&control(PING, &[0, 0, 0, 2])).await.unwrap();
        assert_eq!(
            next(&mut stream, &mut received).await,
            Frame::Control { kind: PING, payload: Bytes::from_static(&[0, 0, 0, 2]) }
        );
        let status =
            r#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        let mut answer = data(STDOUT_ID, true, bytes.to_string().as_bytes());
        answer.extend_from_slice(&data(ERROR_ID, true, status.as_bytes()));
        stream.write_all(&answer).await.unwrap();
    }

    #[tokio::test]
    async fn input_ends_and_the_exit_code_comes_back() {
        let (near, far) = tokio::io::duplex(1024);
        let mut crew = Crew::new();
        crew.spawn(server(far));
        let (reader, writer) = tokio::io::split(near);
        let input: Input = Box::pin(std::io::Cursor::new(vec![7; 100_000]));
        let mut said = String::new();
        let outcome = carry(reader, writer, input, |channel, data| {
            assert_eq!(channel, STDOUT);
            said.push_str(&String::from_utf8_lossy(data));
        });
        let outcome =
            tokio::time::timeout(std::time::Duration::from_secs(10), outcome).await.unwrap();
        assert_eq!((said.as_str(), outcome.unwrap_err().exit_code()), ("100000", 3));
    }
}
