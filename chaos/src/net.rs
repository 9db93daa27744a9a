//! The simulated network: turmoil's TCP, with a plain preamble in the place of TLS.
//!
//! turmoil refuses a connection at once when there is a partition, and does not send lost bytes again.

use std::io;

use futures::future::BoxFuture;
use store_env::net::{Accepted, BoxStream, Handshake, Listener, Network};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::{TcpListener, TcpStream};

/// The network as one host sees it.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    /// What this host says it is.
    pub name: String,
}

impl Network for SimNetwork {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let (name, address) = (self.name.clone(), address.to_owned());
        Box::pin(async move {
            let mut stream = TcpStream::connect(address).await?;
            let length = u8::try_from(name.len()).map_err(io::Error::other)?;
            stream.write_all(&[&[length], name.as_bytes()].concat()).await?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let address = address.to_owned();
        Box::pin(async move {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            let port = port.ok_or(io::ErrorKind::InvalidInput)?;
            let listener = TcpListener::bind(("0.0.0.0", port)).await?;
            Ok(Box::new(SimDoor { listener, address }) as Box<dyn Listener>)
        })
    }
}

struct SimDoor {
    listener: TcpListener,
    address: String,
}

impl Listener for SimDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Handshake>> {
        Box::pin(async move {
            let (mut stream, _) = self.listener.accept().await?;
            Ok(Box::pin(async move {
                let mut name = vec![0; usize::from(stream.read_u8().await?)];
                stream.read_exact(&mut name).await?;
                let peer = String::from_utf8_lossy(&name).into_owned();
                Ok(Accepted { stream: Box::new(stream), peer })
            }) as Handshake)
        })
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}
