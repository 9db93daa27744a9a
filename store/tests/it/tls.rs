//! Certificates: clients without one are refused, members meet over https.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use store_env::tls::AnyCertificate;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cluster::{Member, eventually, initial, is_etcd};
use crate::ctl::ctl_with;

/// An authority, and a certificate of it, as files.
struct Files {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

fn files(folder: &Path, name: &str) -> Files {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
    let cert = params.unwrap().signed_by(&key, &issuer).unwrap();
    let write = |kind: &str, text: String| {
        let path = folder.join(format!("{name}-{kind}.pem"));
        fs::write(&path, text).unwrap();
        path
    };
    Files {
        ca: write("ca", ca.pem()),
        cert: write("cert", cert.pem()),
        key: write("key", key.serialize_pem()),
    }
}

/// Whether somebody who trusts `ca`, and shows the certificate of `own`, may put.
fn can_put(endpoint: &str, trusted: &Files, own: Option<&Files>) -> bool {
    let text = |path: &PathBuf| path.display().to_string();
    let mut args = vec!["--cacert".to_owned(), text(&trusted.ca)];
    if let Some(own) = own {
        args.extend(["--cert".to_owned(), text(&own.cert), "--key".to_owned(), text(&own.key)]);
    }
    args.extend(["--command-timeout=2s", "put", "k", "v"].map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    ctl_with(endpoint, &args, "").ok
}

/// The certificate that whoever listens there shows.
async fn shown(port: u16) -> CertificateDer<'static> {
    let provider = Arc::new(default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(provider)))
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// What others see of `from` is what they see of `to` from now on.
fn replace(to: &Files, from: &Files) {
    for (from, to) in [(&from.ca, &to.ca), (&from.cert, &to.cert), (&from.key, &to.key)] {
        fs::copy(from, to).unwrap();
    }
}

/// Members that speak TLS to everybody, each with the certificate of `own`.
fn start(dir: &TempDir, count: usize, own: &Files) -> Vec<Member> {
    let mut members: Vec<Member> = (1..=count).map(|n| Member::new(&format!("m{n}"))).collect();
    let cluster = initial(&members);
    for member in &mut members {
        member.flags(dir, &cluster, "new");
        member.over_tls();
        for prefix in ["", "peer-"] {
            member.with_args(&[
                &format!("--{prefix}cert-file={}", own.cert.display()),
                &format!("--{prefix}key-file={}", own.key.display()),
                &format!("--{prefix}trusted-ca-file={}", own.ca.display()),
                &format!("--{prefix}client-cert-auth"),
            ]);
        }
        member.start();
    }
    members
}

#[tokio::test]
async fn certificates_that_are_replaced_are_used_by_the_next_connection() {
    let dir = TempDir::new().unwrap();
    let (old, new) = (files(dir.path(), "old"), files(dir.path(), "new"));
    let own = files(dir.path(), "own");
    let certificate = |files: &Files| CertificateDer::from_pem_file(&files.cert).unwrap();
    replace(&own, &old);
    let mut members = start(&dir, 3, &own);
    let endpoint = |member: &Member| format!("https://{}", member.endpoint());
    let ends: Vec<String> = members.iter().map(endpoint).collect();
    eventually("it serves", async || can_put(&ends[0], &old, Some(&old))).await;
    assert_eq!(shown(members[0].client).await, certificate(&old));
    assert_eq!(shown(members[0].peer).await, certificate(&old));

    replace(&own, &new);
    assert_eq!(shown(members[0].client).await, certificate(&new));
    assert_eq!(shown(members[0].peer).await, certificate(&new));
    if is_etcd() {
        // It goes on with the authorities that it has read at the start.
        return;
    }
    assert!(can_put(&ends[0], &new, Some(&new)));
    assert!(!can_put(&ends[0], &new, Some(&old)), "of an authority that is no longer trusted");
    // A member that comes back has the new certificate only, and so it meets the others.
    members[2].kill();
    members[2].start();
    eventually("it is back", async || can_put(&ends[2], &new, Some(&new))).await;

    // What cannot be used changes nothing: neither half a pair nor what is no certificate.
    fs::copy(&old.key, &own.key).unwrap();
    assert_eq!(shown(members[0].client).await, certificate(&new));
    fs::write(&own.cert, "no certificate").unwrap();
    assert_eq!(shown(members[0].client).await, certificate(&new));
    replace(&own, &old);
    assert_eq!(shown(members[0].client).await, certificate(&old));
}

#[tokio::test]
async fn only_clients_with_a_certificate_are_served_and_members_speak_tls() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (files(dir.path(), "ours"), files(dir.path(), "theirs"));
    let members = start(&dir, 3, &ours);
    let endpoint = format!("https://{}", members[1].endpoint());
    eventually("it serves", async || can_put(&endpoint, &ours, Some(&ours))).await;
    assert!(!can_put(&endpoint, &ours, None), "without a certificate");
    assert!(!can_put(&endpoint, &ours, Some(&theirs)), "with a stranger's");
    assert!(!can_put(&endpoint, &theirs, Some(&ours)), "of another server");
    assert!(can_put(&endpoint, &ours, Some(&ours)));
}
