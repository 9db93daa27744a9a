//! The keys and certificates of a master, read once at start.

use std::path::Path;
use std::sync::Arc;

use master_api::time;
use master_apiserver::{KubeletClient, TlsMaterial};
use master_client::masters::ClientIdentity;
use master_controllers::{CsrSubject, SignRequest, Signer};
use master_pki::{Authority, Credential, Csr, Profile, Usage, files};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use store_env::clock::SharedClock;
use store_env::tls::MutualTls;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Only certificates of this organization may speak Raft.
const PEERS: &str = "trireme:peers";

/// Everything below `DATA-DIR/pki`.
pub struct Keys {
    pub authority: Arc<Authority>,
    pub service_account_key_pem: String,
    apiserver: Credential,
    peer: Credential,
    kubelet_client: Credential,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the folder; an error names the file.
    pub fn load(pki: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            authority: Arc::new(Authority::load(files::read_credential(pki, "ca")?)?),
            service_account_key_pem: files::read(&pki.join("sa.key"))?,
            apiserver: files::read_credential(pki, "apiserver")?,
            peer: files::read_credential(pki, "peer")?,
            kubelet_client: files::read_credential(pki, "kubelet-client")?,
        })
    }

    /// What the API's listener shows. The authority is part of the chain: a joining machine that knows
    /// its hash only must see it.
    pub fn api_tls(&self) -> TlsMaterial {
        let authority = self.authority.certificate_pem();
        TlsMaterial {
            cert_chain_pem: format!("{}{authority}", self.apiserver.certificate_pem).into_bytes(),
            key_pem: self.apiserver.key_pem.clone().into_bytes(),
            client_ca_pem: authority.as_bytes().to_vec(),
        }
    }

    /// How the API server speaks to kubelets.
    pub fn kubelet_client(&self) -> KubeletClient {
        KubeletClient {
            cert_chain_pem: self.kubelet_client.certificate_pem.clone().into_bytes(),
            key_pem: self.kubelet_client.key_pem.clone().into_bytes(),
            ca_pem: self.authority.certificate_pem().as_bytes().to_vec(),
        }
    }

    /// How this master asks others whether they live.
    pub fn client_identity(&self) -> ClientIdentity {
        ClientIdentity {
            cert_pem: self.kubelet_client.certificate_pem.clone().into_bytes(),
            key_pem: self.kubelet_client.key_pem.clone().into_bytes(),
        }
    }

    /// Mutual TLS between members: both ends show a certificate of [`PEERS`].
    pub fn peer_tls(&self) -> anyhow::Result<MutualTls> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes())?)?;
        let roots = Arc::new(roots);
        let chain = vec![CertificateDer::from_pem_slice(self.peer.certificate_pem.as_bytes())?];
        let key = || PrivateKeyDer::from_pem_slice(self.peer.key_pem.as_bytes());
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key()?)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key()?)?;
        Ok(MutualTls::new(Arc::new(client), Arc::new(server), Arc::new(peer_name)))
    }

    /// When the first of this master's certificates ends, as RFC 3339.
    pub fn expires(&self) -> anyhow::Result<String> {
        let ends = [&self.apiserver, &self.peer, &self.kubelet_client]
            .into_iter()
            .map(Credential::expires_unix_s)
            .collect::<Result<Vec<_>, _>>()?;
        let first = ends.into_iter().min().unwrap_or_default();
        Ok(time::seconds(jiff::Timestamp::from_second(first)?))
    }
}

/// The name in a member's certificate; `None` refuses everybody else who holds one of the cluster's.
fn peer_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let is_peer = subject.iter_organization().any(|it| it.as_str() == Ok(PEERS));
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    is_peer.then_some(name)
}

/// Signs what the controllers approve.
pub struct NodeSigner {
    pub authority: Arc<Authority>,
    pub clock: SharedClock,
}

impl std::fmt::Debug for NodeSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeSigner").finish_non_exhaustive()
    }
}

impl Signer for NodeSigner {
    fn inspect(&self, csr_pem: &str) -> Result<CsrSubject, String> {
        let csr = Csr::parse(csr_pem).map_err(|error| error.to_string())?;
        let addresses = csr.ip_addresses.iter().map(ToString::to_string);
        Ok(CsrSubject {
            common_name: csr.common_name,
            organizations: csr.organizations,
            alt_names: csr.dns_names.into_iter().chain(addresses).collect(),
        })
    }

    fn sign(&self, request: &SignRequest) -> Result<String, String> {
        let profile = Profile {
            common_name: request.common_name.clone(),
            organization: request.organization.clone(),
            alt_names: request.alt_names.clone(),
            usage: if request.is_serving { Usage::Server } else { Usage::Client },
            lifetime: request.lifetime,
        };
        self.authority
            .sign_request(&request.csr_pem, &profile, self.clock.unix_ms())
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_peers_may_speak_raft() {
        let authority = Authority::generate("t", 1_800_000_000_000).unwrap();
        let named = |organization: Option<&str>| {
            let profile = Profile {
                common_name: "master-2".into(),
                organization: organization.map(str::to_owned),
                alt_names: Vec::new(),
                usage: Usage::Peer,
                lifetime: Duration::from_secs(60),
            };
            let issued = authority.issue(&profile, 1_800_000_000_000).unwrap();
            let pem = issued.certificate_pem.as_bytes();
            peer_name(&CertificateDer::from_pem_slice(pem).unwrap())
        };
        assert_eq!(named(Some(PEERS)).as_deref(), Some("master-2"));
        assert_eq!(named(Some("system:masters")), None);
        assert_eq!(named(None), None);
    }
}
