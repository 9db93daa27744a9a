//! Members that meet over TLS, as their flags say: who is let in, with which versions and suites.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::suites::Versions;
use super::*;
use crate::config::Allowed;

/// An authority, whose certificates are files in a folder.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate for loopback with this common name, which is its serial number too.
    fn files(&self, name: &str) -> TlsFiles {
        let names = vec!["127.0.0.1".to_owned(), format!("{name}.example")];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(name.as_bytes()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = ["cert", "key"].map(|kind| self.path(&format!("{name}-{kind}.pem")));
        fs::write(&paths[0], certificate.pem()).unwrap();
        fs::write(&paths[1], key.serialize_pem()).unwrap();
        let [cert, key] = paths;
        TlsFiles {
            cert,
            key,
            trusted_ca: Some(self.path("ca.pem")),
            is_mutual: true,
            revoked: None,
            dialling: None,
            allowed: Allowed::All,
            versions: Versions::Both,
            suites: Vec::new(),
        }
    }

    /// Revokes the certificate of this name.
    fn revoke(&self, name: &str) -> PathBuf {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from_slice(name.as_bytes()),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2120, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.path("revoked.pem");
        fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }
}

/// Whether `near` gets a byte to `far`, member to member.
async fn meet(near: &TlsFiles, far: &TlsFiles) -> anyhow::Result<()> {
    let network = |files| peers(Some(files), Listening::default());
    let mut door = network(far)?.listen("127.0.0.1:0").await?;
    let near = network(near)?;
    let address = door.address();
    let dial = async {
        let mut stream = near.dial(&address).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        // Refusals of TLS 1.3 come after the handshake.
        stream.read_u8().await
    };
    let accept = async {
        let mut stream = door.accept().await?.await?.stream;
        let byte = stream.read_u8().await?;
        stream.write_all(&[byte]).await?;
        stream.flush().await
    };
    let (dialled, accepted) = tokio::join!(dial, accept);
    dialled?;
    Ok(accepted?)
}

#[tokio::test]
async fn names_decide_who_of_an_authority_is_a_member() {
    let authority = Authority::new();
    let (a, b) = (authority.files("a"), authority.files("b"));
    meet(&a, &b).await.unwrap();
    let common = |names: &[&str]| {
        Allowed::CommonNames(names.iter().map(|name| (*name).to_owned()).collect())
    };
    let host = |name: &'static str| Allowed::HostNames(vec![ServerName::try_from(name).unwrap()]);
    #[rustfmt::skip]
    let cases = [
        (common(&["c", "a"]),  true),
        (common(&["b"]),       false),
        (common(&["a.example"]), false),
        (host("a.example"),    true),
        (host("b.example"),    false),
        (host("127.0.0.1"),    true),
    ];
    for (allowed, expected) in cases {
        let far = TlsFiles { allowed: allowed.clone(), ..b.clone() };
        assert_eq!(meet(&a, &far).await.is_ok(), expected, "{allowed:?} accepts");
        let near = TlsFiles { allowed: allowed.clone(), ..b.clone() };
        assert_eq!(meet(&near, &a).await.is_ok(), expected, "{allowed:?} dials");
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_from_the_next_connection_on() {
    let authority = Authority::new();
    let (a, b, c) = (authority.files("a"), authority.files("b"), authority.files("c"));
    let revoked = Some(authority.revoke("c"));
    let far = TlsFiles { revoked: revoked.clone(), ..b.clone() };
    meet(&a, &far).await.unwrap();
    assert!(meet(&c, &far).await.is_err());
    authority.revoke("a");
    assert!(meet(&a, &far).await.is_err());
    meet(&c, &far).await.unwrap();
}

#[tokio::test]
async fn versions_suites_and_the_certificate_for_dialling_are_as_told() {
    let authority = Authority::new();
    let (a, b) = (authority.files("a"), authority.files("b"));
    let only = |versions| TlsFiles { versions, ..b.clone() };
    let old = TlsFiles { versions: Versions::Only12, ..a.clone() };
    meet(&old, &only(Versions::Both)).await.unwrap();
    meet(&old, &only(Versions::Only12)).await.unwrap();
    assert!(meet(&old, &only(Versions::Only13)).await.is_err());
    let suite =
        |files: &TlsFiles, name: &str| TlsFiles { suites: vec![name.into()], ..files.clone() };
    let (one, other) =
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    meet(&suite(&old, one), &suite(&b, one)).await.unwrap();
    assert!(meet(&suite(&old, one), &suite(&b, other)).await.is_err());
    // The name that counts is that of what is shown when dialling.
    let far = TlsFiles { allowed: Allowed::CommonNames(vec!["a".into()]), ..b.clone() };
    let near = TlsFiles { dialling: Some((a.cert.clone(), a.key.clone())), ..b.clone() };
    assert!(meet(&b, &far).await.is_err());
    meet(&near, &far).await.unwrap();
}
