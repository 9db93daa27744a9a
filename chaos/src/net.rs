//! The simulated network: turmoil's TCP, with a plain preamble in the place of TLS.
//!
//! turmoil refuses a connection at once when there is a partition, and does not send lost bytes again. A
//! connection can also be broken, which both ends see, as when a middlebox forgets it.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use store_env::net::{Accepted, BoxStream, Handshake, Listener, Network};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use turmoil::net::{TcpListener, TcpStream};

use crate::kube;

/// The connections that are open, by the hosts at their ends. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Links(Arc<Mutex<BTreeMap<(String, String), CancellationToken>>>);

impl Links {
    fn of(&self, one: &str, other: &str) -> CancellationToken {
        self.0.lock().entry(pair(one, other)).or_default().clone()
    }

    /// Breaks every connection between two hosts.
    pub fn break_all(&self, one: &str, other: &str) {
        if let Some(open) = self.0.lock().remove(&pair(one, other)) {
            open.cancel();
        }
    }
}

fn pair(one: &str, other: &str) -> (String, String) {
    (one.min(other).to_owned(), one.max(other).to_owned())
}

/// The network as one host sees it.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    /// What this host says it is.
    pub name: String,
    pub links: Links,
}

impl Network for SimNetwork {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let (name, address, links) = (self.name.clone(), address.to_owned(), self.links.clone());
        Box::pin(async move {
            let address = kube::master::named(&address).unwrap_or(address);
            let other = address.split(':').next().unwrap_or_default().to_owned();
            let mut stream = TcpStream::connect(address).await?;
            let length = u8::try_from(name.len()).map_err(io::Error::other)?;
            stream.write_all(&[&[length], name.as_bytes()].concat()).await?;
            Ok(Box::new(Breakable::new(stream, &links.of(&name, &other))) as BoxStream)
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (name, links, address) = (self.name.clone(), self.links.clone(), address.to_owned());
        Box::pin(async move {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            let port = port.ok_or(io::ErrorKind::InvalidInput)?;
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(SimDoor { listener, address, name, links }) as Box<dyn Listener>)
        })
    }
}

struct SimDoor {
    listener: TcpListener,
    address: String,
    name: String,
    links: Links,
}

impl Listener for SimDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Handshake>> {
        Box::pin(async move {
            let (mut stream, _) = self.listener.accept().await?;
            let (name, links) = (self.name.clone(), self.links.clone());
            Ok(Box::pin(async move {
                let mut peer = vec![0; usize::from(stream.read_u8().await?)];
                stream.read_exact(&mut peer).await?;
                let peer = String::from_utf8_lossy(&peer).into_owned();
                let stream = Breakable::new(stream, &links.of(&name, &peer));
                Ok(Accepted { stream: Box::new(stream), peer })
            }) as Handshake)
        })
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

/// A connection that can be broken from outside.
struct Breakable {
    stream: TcpStream,
    broken: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Breakable {
    fn new(stream: TcpStream, open: &CancellationToken) -> Self {
        Self { stream, broken: Box::pin(open.clone().cancelled_owned()) }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.broken.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
