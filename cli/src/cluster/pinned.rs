//! Talks to a master whose authority we know by its hash only: the first contact of a joining machine.
//!
//! # Invariants
//! - Nothing is sent before the server has shown a chain that ends in the authority the token names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use master_pki::JoinToken;
use master_pki::join::{self, JoinReply, JoinRequest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;

/// One attempt with one master.
const DEADLINE: Duration = Duration::from_secs(10);

/// A reply is small; anything larger is not from a master of ours.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// Asks the masters that the token names, one after the other, to let this machine in.
pub(super) async fn join(token: &JoinToken, request: &JoinRequest) -> anyhow::Result<JoinReply> {
    let body = Bytes::from(serde_json::to_vec(request)?);
    let mut failures = Vec::new();
    for server in &token.servers {
        match tokio::time::timeout(DEADLINE, ask(server, token, body.clone())).await {
            Ok(Ok(Answer::Reply(reply))) => return Ok(*reply),
            // Any other master would say the same.
            Ok(Ok(Answer::Refusal(reason))) => bail!("{server} refused: {reason}"),
            Ok(Err(error)) => failures.push(format!("{server}: {error:#}")),
            Err(_) => failures.push(format!("{server}: no answer in {DEADLINE:?}")),
        }
    }
    bail!("no master let this machine in:\n  {}", failures.join("\n  "))
}

/// What a master decided.
enum Answer {
    Reply(Box<JoinReply>),
    Refusal(String),
}

async fn ask(server: &str, token: &JoinToken, body: Bytes) -> anyhow::Result<Answer> {
    let uri: http::Uri = server.parse().context("not a URL")?;
    let host = uri.host().context("has no host")?.to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(token)?));
    let name = ServerName::try_from(host.clone())?;
    let tls = connector.connect(name, tcp).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
    let request = http::Request::post(join::PATH)
        .header(http::header::HOST, format!("{host}:{port}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::AUTHORIZATION, format!("Bearer {}", token.bootstrap))
        .body(Full::new(body))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let limited = http_body_util::Limited::new(response.into_body(), REPLY_BYTES_MAX);
        let bytes = limited.collect().await.map_err(|error| anyhow!("{error}"))?.to_bytes();
        Ok::<_, anyhow::Error>((status, bytes))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    // The connection must be driven while we wait; it may end once the reply is whole.
    let (status, bytes) = tokio::select! {
        biased;
        answer = &mut exchange => answer?,
        ended = &mut connection => { ended?; exchange.await? }
    };
    if status.is_success() {
        let reply = serde_json::from_slice(&bytes).context("the master's reply is malformed")?;
        return Ok(Answer::Reply(Box::new(reply)));
    }
    let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let message = told["message"].as_str().map_or_else(|| status.to_string(), str::to_owned);
    if status.is_client_error() && status != http::StatusCode::TOO_MANY_REQUESTS {
        return Ok(Answer::Refusal(message));
    }
    bail!("{message}")
}

fn client_config(token: &JoinToken) -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = PinnedAuthority {
        authority_hash: token.authority_hash.clone(),
        provider: provider.clone(),
    };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Trusts the one authority whose public key has the hash, and verifies everything else as usual.
#[derive(Debug)]
struct PinnedAuthority {
    authority_hash: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates.iter().find(|der| {
            master_pki::ca::public_key_hash(der).is_ok_and(|hash| hash == self.authority_hash)
        });
        let Some(pinned) = pinned else {
            return Err(rustls::Error::General(
                "the server's authority is not the one that the token names".into(),
            ));
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
