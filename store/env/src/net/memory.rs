//! A network inside one process, for tests: addresses are just names, and connections pipes.
//!
//! A name nobody listens on refuses connections, and a pipe whose other end is dropped ends: as TCP does when
//! a process dies.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::{Accepted, BoxStream, Handshake, Listener, Network};

/// Bytes under way in one direction.
const PIPE_BYTES: usize = 1 << 20;

type Doors = Arc<Mutex<BTreeMap<String, mpsc::Sender<DuplexStream>>>>;

/// A network inside one process. Clones are the same network.
#[derive(Clone, Debug, Default)]
pub struct MemoryNetwork {
    doors: Doors,
}

impl Network for MemoryNetwork {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let door = self.doors.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned();
        Box::pin(async move {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            door.ok_or_else(refused)?.send(far).await.map_err(|_| refused())?;
            Ok(Box::new(near) as BoxStream)
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (doors, address) = (self.doors.clone(), address.to_owned());
        Box::pin(async move {
            let (sender, dialled) = mpsc::channel(16);
            let mut open = doors.lock().unwrap_or_else(PoisonError::into_inner);
            if open.get(&address).is_some_and(|door| !door.is_closed()) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            open.insert(address.clone(), sender);
            Ok(Box::new(MemoryDoor { address, dialled }) as Box<dyn Listener>)
        })
    }
}

struct MemoryDoor {
    address: String,
    dialled: mpsc::Receiver<DuplexStream>,
}

impl Listener for MemoryDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Handshake>> {
        Box::pin(async move {
            let stream = self.dialled.recv().await.ok_or(io::ErrorKind::NotConnected)?;
            let accepted = Accepted { stream: Box::new(stream), peer: "memory".into() };
            Ok(Box::pin(async move { Ok(accepted) }) as Handshake)
        })
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}
