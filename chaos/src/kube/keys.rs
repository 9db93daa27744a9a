//! Keys that a server cannot be made without. In a simulation nothing is signed or proved with them.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use master_apiserver::{KubeletClient, TlsMaterial};
use master_controllers::{CsrSubject, SignRequest, Signer};
use master_pki::{Authority, Profile, Usage};

/// The same for all members of a process; they differ from process to process, and reach no object.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) tls: TlsMaterial,
    pub(crate) kubelet_client: KubeletClient,
    pub(crate) sa_keys_pem: Vec<u8>,
}

/// What pods find as their cluster's authority.
pub(crate) const AUTHORITY: &str = "an authority that signs nothing";

pub(crate) fn shared() -> anyhow::Result<Keys> {
    static KEYS: OnceLock<Option<Keys>> = OnceLock::new();
    KEYS.get_or_init(|| generate().ok()).clone().context("no keys could be made")
}

fn generate() -> anyhow::Result<Keys> {
    let now_ms = 1_795_000_000_000;
    let authority = Authority::generate("simulation", now_ms)?;
    let profile = Profile {
        common_name: "simulation".into(),
        organization: None,
        alt_names: vec!["127.0.0.1".into()],
        usage: Usage::Server,
        lifetime: Duration::from_secs(86_400),
    };
    let issued = authority.issue(&profile, now_ms)?;
    let ca_pem = authority.certificate_pem().as_bytes().to_vec();
    Ok(Keys {
        tls: TlsMaterial {
            cert_chain_pem: issued.certificate_pem.clone().into(),
            key_pem: issued.key_pem.clone().into(),
            client_ca_pem: ca_pem.clone(),
        },
        kubelet_client: KubeletClient {
            cert_chain_pem: issued.certificate_pem.into(),
            key_pem: issued.key_pem.into(),
            ca_pem,
        },
        sa_keys_pem: master_auth::tokens::generate_pem()?.into(),
    })
}

/// Nobody asks for a certificate.
#[derive(Debug)]
pub(crate) struct NoSigner;

impl Signer for NoSigner {
    fn inspect(&self, _csr_pem: &str) -> Result<CsrSubject, String> {
        Err("certificates are not simulated".into())
    }

    fn sign(&self, _request: &SignRequest) -> Result<String, String> {
        Err("certificates are not simulated".into())
    }
}
