//! Certificates: clients without one are refused, members meet over https.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::cluster::{Member, eventually, initial};
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

#[tokio::test]
async fn only_clients_with_a_certificate_are_served_and_members_speak_tls() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (files(dir.path(), "ours"), files(dir.path(), "theirs"));
    let mut members: Vec<Member> = (1..=3).map(|n| Member::new(&format!("m{n}"))).collect();
    let cluster = initial(&members);
    for member in &mut members {
        member.flags(&dir, &cluster, "new");
        member.over_tls();
        for prefix in ["", "peer-"] {
            member.with_args(&[
                &format!("--{prefix}cert-file={}", ours.cert.display()),
                &format!("--{prefix}key-file={}", ours.key.display()),
                &format!("--{prefix}trusted-ca-file={}", ours.ca.display()),
                &format!("--{prefix}client-cert-auth"),
            ]);
        }
        member.start();
    }
    let endpoint = format!("https://{}", members[1].endpoint());
    eventually("it serves", async || can_put(&endpoint, &ours, Some(&ours))).await;
    assert!(!can_put(&endpoint, &ours, None), "without a certificate");
    assert!(!can_put(&endpoint, &ours, Some(&theirs)), "with a stranger's");
    assert!(!can_put(&endpoint, &theirs, Some(&ours)), "of another server");
    assert!(can_put(&endpoint, &ours, Some(&ours)));
}
