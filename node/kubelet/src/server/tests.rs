//! Who gets an answer from the kubelet's server, over real TLS on the loopback device.

use std::net::SocketAddr;

use node_cri::Fake;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use store_env::clock::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::ServerTls;
use crate::kubelet::{Parts, assemble};

/// A certificate and its key, in PEM.
type Pair = (String, String);

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str, group: &str, usage: ExtendedKeyUsagePurpose) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn client(ca: &Ca, identity: Option<&Pair>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    }
}

/// The status line of the answer, or nothing where the connection is refused.
async fn ask(address: SocketAddr, config: rustls::ClientConfig, path: &str) -> Option<String> {
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let line = answer.lines().next()?;
    Some(line.trim_start_matches("HTTP/1.1 ").to_owned())
}

#[tokio::test]
async fn only_the_api_server_and_administrators_are_answered() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (ca, other) = (Ca::new(), Ca::new());
    let (cert, key) = ca.issue("system:node:node-1", "system:nodes", ServerAuth);
    let tls = ServerTls {
        cert_pem: cert.into_bytes(),
        key_pem: key.into_bytes(),
        client_ca_pem: ca.pem.clone().into_bytes(),
    };
    let dir = tempfile::tempdir().unwrap();
    let clock = SystemClock::shared();
    let stop = CancellationToken::new();
    let mut group = Group::under(&stop);
    let parts = Parts {
        config: crate::tests::config(dir.path()),
        clock: clock.clone(),
        runtime: Arc::new(Fake::new(clock)),
        api: None,
    };
    let (cx, _) = assemble(parts, &mut group).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(auth::server_config(&tls).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_sender, statics) = watch::channel(None);
    let server = Arc::new(Server { cx, pods: None, statics, streams: Mutex::default() });
    group.spawn("server", move |stop| accept(server, listener, acceptor, stop));

    let api_server = ca.issue("kube-apiserver-kubelet-client", "none", ClientAuth);
    let check = async |identity: Option<&Pair>, path: &str, expected: Option<&str>| {
        let answer = ask(address, client(&ca, identity), path).await;
        assert_eq!(answer.as_deref(), expected, "{path}");
    };
    check(Some(&api_server), "/healthz", Some("200 OK")).await;
    check(Some(&api_server), "/pods", Some("200 OK")).await;
    check(Some(&api_server), "/exec/default/none/c", Some("404 Not Found")).await;
    check(Some(&api_server), "/containerLogs/a/b/c", Some("404 Not Found")).await;
    let admin = ca.issue("admin", "system:masters", ClientAuth);
    check(Some(&admin), "/healthz", Some("200 OK")).await;
    let node = ca.issue("system:node:node-2", "system:nodes", ClientAuth);
    check(Some(&node), "/pods", Some("403 Forbidden")).await;
    let stranger = other.issue("kube-apiserver-kubelet-client", "system:masters", ClientAuth);
    check(Some(&stranger), "/pods", None).await;
    check(None, "/pods", None).await;
    stop.cancel();
    group.run(Duration::from_secs(5)).await.unwrap();
}

#[test]
fn query_values_are_decoded() {
    let check = |text: &str, expected: &str| assert_eq!(decode(text), expected);
    check("sh+-c", "sh -c");
    check("a%20b%2Fc", "a b/c");
    check("100%", "100%");
    check("%zz", "%zz");
}
