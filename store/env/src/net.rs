//! Connections, as a value that is handed in: what is dialled, and what is accepted from whom.
//!
//! Production hands in TCP (with mutual TLS, see [`crate::tls`]), a simulation its own network. Nothing above
//! this trait names a socket.

mod cork;
mod memory;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub use cork::{Cork, Corked, cork};
pub use memory::MemoryNetwork;

/// Connections that may wait to be accepted, as tokio has it.
const BACKLOG: u32 = 1_024;

/// A connection's bytes.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Some connection.
pub type BoxStream = Box<dyn Stream>;

/// A connection whose other end has proved who it is.
pub struct Accepted {
    pub stream: BoxStream,
    /// The name that the other end proved; for a plain connection, its address.
    pub peer: String,
}

impl Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What is left to do on a new connection before it may be used. Needs a deadline.
pub type Handshake = BoxFuture<'static, io::Result<Accepted>>;

/// Where others connect to.
pub trait Listener: Send + 'static {
    /// The next connection. Its handshake is the caller's to await, so that a slow one delays no other.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Handshake>>;

    /// The address really bound, for instance when port 0 was asked for.
    fn address(&self) -> String;
}

/// How members reach each other.
pub trait Network: Debug + Send + Sync + 'static {
    /// Connects to `host:port` and proves both ends to each other. Needs a deadline.
    ///
    /// `ConnectionRefused` means that the machine answered and nobody listens there.
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>>;

    /// Binds `host:port`.
    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
}

/// A network that is shared.
pub type SharedNetwork = Arc<dyn Network>;

/// What is spoken on a fresh TCP connection before its bytes are ours.
pub trait Secure: Debug + Send + Sync + 'static {
    /// The dialling side; `address` is what was dialled.
    fn client(&self, stream: TcpStream, address: &str)
    -> BoxFuture<'static, io::Result<BoxStream>>;

    /// The accepting side.
    fn server(&self, stream: TcpStream) -> Handshake;
}

/// No proof at all: for tests on loopback.
#[derive(Debug)]
pub struct Plain;

impl Secure for Plain {
    fn client(&self, stream: TcpStream, _: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        Box::pin(async move { Ok(Box::new(stream) as BoxStream) })
    }

    fn server(&self, stream: TcpStream) -> Handshake {
        Box::pin(async move {
            let peer = stream.peer_addr()?.to_string();
            Ok(Accepted { stream: Box::new(stream), peer })
        })
    }
}

/// How ports are listened on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// Whether others may listen on the same port, to share its connections (`SO_REUSEPORT`).
    pub shares_port: bool,
}

/// TCP of the operating system.
#[derive(Clone, Debug)]
pub struct Tcp {
    secure: Arc<dyn Secure>,
    listening: Listening,
}

impl Tcp {
    /// TCP whose connections are secured by `secure`.
    pub fn shared(secure: impl Secure) -> SharedNetwork {
        Self::listening(secure, Listening::default())
    }

    /// The same, which listens in a way of its own.
    pub fn listening(secure: impl Secure, listening: Listening) -> SharedNetwork {
        Arc::new(Self { secure: Arc::new(secure), listening })
    }
}

impl Network for Tcp {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let (secure, address) = (self.secure.clone(), address.to_owned());
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            secure.client(stream, &address).await
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (secure, address) = (self.secure.clone(), address.to_owned());
        let listening = self.listening;
        Box::pin(async move {
            let listener = match listening.shares_port {
                true => bind_shared(&address).await?,
                false => TcpListener::bind(&address).await?,
            };
            Ok(Box::new(TcpDoor { listener, secure }) as Box<dyn Listener>)
        })
    }
}

/// Listens on the first of the name's addresses, with others if they want to.
async fn bind_shared(address: &str) -> io::Result<TcpListener> {
    let found = tokio::net::lookup_host(address).await?.next();
    let address = found.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

struct TcpDoor {
    listener: TcpListener,
    secure: Arc<dyn Secure>,
}

impl Listener for TcpDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Handshake>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(self.secure.server(stream))
        })
    }

    fn address(&self) -> String {
        self.listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_port_is_shared_by_those_who_want_to() {
        let sharing = Tcp::listening(Plain, Listening { shares_port: true });
        let first = sharing.listen("127.0.0.1:0").await.unwrap();
        let address = first.address();
        assert!(sharing.listen(&address).await.is_ok());
        assert!(Tcp::shared(Plain).listen(&address).await.is_err());
    }

    #[tokio::test]
    async fn plain_tcp_carries_bytes_and_refusal_is_told_apart() {
        let network = Tcp::shared(Plain);
        let mut door = network.listen("127.0.0.1:0").await.unwrap();
        let address = door.address();
        let mut near = network.dial(&address).await.unwrap();
        let mut far = door.accept().await.unwrap().await.unwrap();
        near.write_all(b"hello").await.unwrap();
        let mut buffer = [0; 5];
        far.stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");

        drop(door);
        let Err(error) = network.dial(&address).await else { panic!("nobody listens there") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
