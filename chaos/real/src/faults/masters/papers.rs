//! Who may ask masters what: the administrator, and nodes, by certificates of the cluster's own authority.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use chaos::world;
use http::Uri;
use kube::Client;
use master_client::masters::{self, ClientIdentity, MastersConfig};
use master_pki::{Authority, Profile, Usage, files};
use parking_lot::Mutex;

/// As long as in a simulation: then a request is given up, and its outcome unknown.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
const LIFETIME: Duration = Duration::from_secs(86_400);

/// What an administrator has, and what an authority can make.
pub(crate) struct Papers {
    authority: Authority,
    administrator: ClientIdentity,
    nodes: Mutex<BTreeMap<String, ClientIdentity>>,
}

impl std::fmt::Debug for Papers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Papers(…)")
    }
}

impl Papers {
    /// As `kctl cluster init` left them in the folder of the master of this name.
    pub(crate) fn read(folder: &Path, master: &str) -> anyhow::Result<Self> {
        let read = |folder: &Path, stem| {
            files::read_credential(folder, stem).with_context(|| format!("{stem} in {folder:?}"))
        };
        let authority = Authority::load(read(&folder.join(master).join("pki"), "ca")?)?;
        let administrator = read(&folder.join("pki"), "admin")?;
        let administrator = ClientIdentity {
            cert_pem: administrator.certificate_pem.into_bytes(),
            key_pem: administrator.key_pem.into_bytes(),
        };
        Ok(Self::new(authority, administrator))
    }

    /// Of an authority and its administrator.
    pub(crate) fn new(authority: Authority, administrator: ClientIdentity) -> Self {
        Self { authority, administrator, nodes: Mutex::default() }
    }

    /// A client of these masters and no others, as the administrator, or as the node of this name; it begins at any
    /// of them, or else at the first.
    pub(crate) fn client(
        &self,
        servers: &[String],
        node: Option<&str>,
        at_any: bool,
    ) -> anyhow::Result<Client> {
        let servers = servers.iter().map(|url| url.parse()).collect::<Result<Vec<Uri>, _>>()?;
        let mut config = MastersConfig::new(servers);
        config.ca_pem = Some(self.authority.certificate_pem().as_bytes().to_vec());
        config.identity = Some(match node {
            Some(name) => self.node(name)?,
            None => self.administrator.clone(),
        });
        config.request_timeout = Some(REQUEST_WITHIN);
        config.spread = at_any;
        Ok(masters::connect(config)?)
    }

    fn node(&self, name: &str) -> anyhow::Result<ClientIdentity> {
        let mut nodes = self.nodes.lock();
        if let Some(known) = nodes.get(name) {
            return Ok(known.clone());
        }
        let profile = Profile {
            common_name: format!("system:node:{name}"),
            organization: Some("system:nodes".into()),
            alt_names: Vec::new(),
            usage: Usage::Client,
            lifetime: LIFETIME,
        };
        let issued = self.authority.issue(&profile, world::unix_ms())?;
        let identity = ClientIdentity {
            cert_pem: issued.certificate_pem.into_bytes(),
            key_pem: issued.key_pem.into_bytes(),
        };
        nodes.insert(name.to_owned(), identity.clone());
        Ok(identity)
    }
}
