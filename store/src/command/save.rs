//! `kstore snapshot save`: a member's snapshot as a file, whole and checked, or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use store_etcd::proto::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use store_etcd::urls::Url;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::{say, status};
use crate::tls;

/// How long a member may take to be reached, and how long it may then say nothing.
const DIAL_MAX: Duration = Duration::from_secs(5);
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Whom to ask, and where to keep the answer. Flags and variables are `etcdctl`'s.
#[derive(Clone, Debug, Args)]
pub(super) struct Save {
    file: PathBuf,
    /// The member to ask: one.
    #[arg(long, env = "ETCDCTL_ENDPOINTS", default_value = "127.0.0.1:2379")]
    endpoints: String,
    /// The authority that the member's certificate is of (PEM).
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Certificate shown to the member (PEM).
    #[arg(long, env = "ETCDCTL_CERT", value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, env = "ETCDCTL_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Save {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.save())
    }

    async fn save(self) -> anyhow::Result<()> {
        let mut name = self.file.clone().into_os_string();
        name.push(".part");
        let part = PathBuf::from(name);
        let url = self.url()?;
        let stream = self.ask(&url).await.with_context(|| format!("{url} gives no snapshot"))?;
        let written = write(stream, &part).await.with_context(|| format!("from {url}"));
        // A whole and good one, or none.
        let summary = match written.and_then(|()| status::open(&part)) {
            Ok((_, summary)) => summary,
            Err(error) => {
                let _ = fs::remove_file(&part);
                return Err(error);
            }
        };
        fs::rename(&part, &self.file).with_context(|| self.file.display().to_string())?;
        File::open(folder_of(&self.file))?.sync_all()?;
        let (path, bytes) = (self.file.display(), summary.bytes);
        say(&format!("{path}: revision {} of {url}, {bytes} bytes, checked", summary.revision));
        Ok(())
    }

    fn url(&self) -> anyhow::Result<Url> {
        if self.endpoints.contains(',') {
            bail!("--endpoints: a snapshot is asked of one member");
        }
        let is_tls = self.cacert.is_some() || self.cert.is_some();
        let text = match self.endpoints.contains("://") {
            true => self.endpoints.clone(),
            false if is_tls => format!("https://{}", self.endpoints),
            false => format!("http://{}", self.endpoints),
        };
        Ok(Url::parse(&text)?)
    }

    async fn ask(&self, url: &Url) -> anyhow::Result<Streaming<SnapshotResponse>> {
        let mut client = tonic::client::Grpc::new(self.connect(url).await?);
        client.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
        let codec = tonic_prost::ProstCodec::<SnapshotRequest, SnapshotResponse>::default();
        let asked = client.server_streaming(Request::new(SnapshotRequest {}), path, codec);
        Ok(tokio::time::timeout(SILENCE_MAX, asked).await??.into_inner())
    }

    async fn connect(&self, url: &Url) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", url.address))?;
        let endpoint = endpoint.connect_timeout(DIAL_MAX);
        if !url.is_tls {
            return Ok(endpoint.connect().await?);
        }
        let own = self.cert.as_deref().zip(self.key.as_deref());
        let ca = self.cacert.as_deref().context("--cacert is needed to ask over https")?;
        let connector = TlsConnector::from(tls::client(ca, own)?);
        let address = url.address.clone();
        let dial = move |_: http::Uri| {
            let (connector, address) = (connector.clone(), address.clone());
            async move {
                let stream = tokio::net::TcpStream::connect(&address).await?;
                let stream = connector.connect(tls::name_of(&address)?, stream).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        };
        Ok(endpoint.connect_with_connector(tower::service_fn(dial)).await?)
    }
}

/// Writes the stream to `path`, durably. It holds every secret there is: nobody else may read it.
async fn write(mut stream: Streaming<SnapshotResponse>, path: &Path) -> anyhow::Result<()> {
    let create = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = create.with_context(|| path.display().to_string())?;
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, stream.message()).await;
        match next.context("the member fell silent")?? {
            Some(piece) => file.write_all(&piece.blob)?,
            None => break,
        }
    }
    Ok(file.sync_all()?)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
