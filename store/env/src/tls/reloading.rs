//! TLS whose files may be replaced while it runs: each new connection is secured by what they hold then.
//!
//! The files are read for every handshake and compared with what was read before, which costs a hundredth of
//! the handshake: no change is missed, whatever the file system says about times.
//!
//! # Invariants
//! - What cannot be used changes nothing: the last files that could go on, and the log says why.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::net::{BoxStream, Handshake, Secure};

/// From the contents of the files, in their order, to what secures connections.
pub type Make = Box<dyn Fn(&[Vec<u8>]) -> io::Result<Arc<dyn Secure>> + Send + Sync>;

/// TLS from files.
pub struct Reloading {
    files: Vec<PathBuf>,
    make: Make,
    now: Mutex<Now>,
}

struct Now {
    /// What was tried last, usable or not; or why it could not be read.
    tried: Result<Vec<Vec<u8>>, String>,
    secure: Arc<dyn Secure>,
}

impl Reloading {
    /// Reads the files, which must be usable now.
    pub fn open(files: Vec<PathBuf>, make: Make) -> io::Result<Self> {
        let contents = read(&files).map_err(io::Error::other)?;
        let secure = make(&contents)?;
        Ok(Self { files, make, now: Mutex::new(Now { tried: Ok(contents), secure }) })
    }

    fn current(&self) -> Arc<dyn Secure> {
        let found = read(&self.files);
        let mut now = self.now.lock();
        if found == now.tried {
            return now.secure.clone();
        }
        let made = match &found {
            Ok(contents) => (self.make)(contents).map_err(|error| error.to_string()),
            Err(reason) => Err(reason.clone()),
        };
        match made {
            Ok(secure) => {
                tracing::info!(files = ?self.files, "certificates were replaced: in use from now on");
                now.secure = secure;
            }
            Err(reason) => {
                tracing::warn!(files = ?self.files, reason, "new certificates cannot be used: the old ones go on");
            }
        }
        now.tried = found;
        now.secure.clone()
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let each = files
        .iter()
        .map(|path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display())));
    each.collect()
}

impl fmt::Debug for Reloading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Secure for Reloading {
    fn client(
        &self,
        stream: TcpStream,
        address: &str,
    ) -> BoxFuture<'static, io::Result<BoxStream>> {
        self.current().client(stream, address)
    }

    fn server(&self, stream: TcpStream) -> Handshake {
        self.current().server(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it was made of.
    #[derive(Debug)]
    struct Said(String);

    impl Secure for Said {
        fn client(&self, _: TcpStream, _: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
            let said = io::Error::other(self.0.clone());
            Box::pin(async move { Err(said) })
        }

        fn server(&self, _: TcpStream) -> Handshake {
            let said = io::Error::other(self.0.clone());
            Box::pin(async move { Err(said) })
        }
    }

    fn make(contents: &[Vec<u8>]) -> io::Result<Arc<dyn Secure>> {
        let texts: Vec<_> = contents.iter().map(|text| String::from_utf8_lossy(text)).collect();
        match texts.join("+") {
            text if text.contains("broken") => Err(io::Error::other(text)),
            text => Ok(Arc::new(Said(text))),
        }
    }

    #[test]
    fn what_is_usable_is_used_and_what_is_not_changes_nothing() {
        let dir = std::env::temp_dir().join(format!("trireme-reloading-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let files = vec![dir.join("cert"), dir.join("key")];
        let write = |index: usize, text: &str| std::fs::write(&files[index], text).unwrap();
        write(0, "c1");
        assert!(Reloading::open(files.clone(), Box::new(make)).is_err(), "a file is missing");
        write(1, "k1");
        let reloading = Reloading::open(files.clone(), Box::new(make)).unwrap();
        let in_use = || format!("{:?}", reloading.current());
        assert_eq!(in_use(), r#"Said("c1+k1")"#);
        write(0, "c2");
        assert_eq!(in_use(), r#"Said("c2+k1")"#);
        write(1, "broken");
        assert_eq!(in_use(), r#"Said("c2+k1")"#);
        std::fs::remove_file(&files[1]).unwrap();
        assert_eq!(in_use(), r#"Said("c2+k1")"#);
        write(1, "k3");
        assert_eq!(in_use(), r#"Said("c2+k3")"#);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
