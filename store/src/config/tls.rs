//! What the flags say about TLS: for clients, and between members.

use std::path::{Path, PathBuf};

use rustls_pki_types::ServerName;

use super::ConfigError;
use crate::flags::Flags;
use crate::tls::suites::{self, Versions};

/// The files of one TLS identity, and who is met with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub trusted_ca: Option<PathBuf>,
    /// Whether those who connect must show a certificate.
    pub is_mutual: bool,
    /// Certificates that were revoked.
    pub revoked: Option<PathBuf>,
    /// The certificate that is shown to those who are dialled, and its key, if not the same.
    pub dialling: Option<(PathBuf, PathBuf)>,
    pub allowed: Allowed,
    pub versions: Versions,
    /// Cipher suites as Go names them; all if none is named.
    pub suites: Vec<String>,
}

/// Whose certificates are good enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    All,
    /// Those for one of these names or addresses.
    HostNames(Vec<ServerName<'static>>),
    /// Those with one of these common names.
    CommonNames(Vec<String>),
}

impl TlsFiles {
    /// All files, which may be replaced at any time.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let dialling = self.dialling.iter().flat_map(|(cert, key)| [cert, key]);
        let others = self.trusted_ca.iter().chain(&self.revoked).chain(dialling);
        [&self.cert, &self.key].into_iter().chain(others).map(PathBuf::as_path)
    }
}

fn invalid(flag: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Flag { flag, reason: reason.into() }
}

/// For clients.
pub(super) fn of_clients(flags: &Flags) -> Result<Option<TlsFiles>, ConfigError> {
    let narrows = [
        ("client-crl-file", flags.client_crl_file.is_some()),
        ("client-cert-allowed-hostname", flags.client_cert_allowed_hostname.is_some()),
    ];
    if !flags.client_cert_auth || flags.cert_file.is_none() {
        unused(&narrows, "needs --client-cert-auth and --cert-file: nothing is checked without")?;
    }
    let files = [&flags.cert_file, &flags.key_file, &flags.trusted_ca_file];
    let Some(files) = identity(flags, "cert-file", files, flags.client_cert_auth)? else {
        return Ok(None);
    };
    let names = flags.client_cert_allowed_hostname.as_deref();
    let allowed = host_names("client-cert-allowed-hostname", names)?;
    Ok(Some(TlsFiles { revoked: flags.client_crl_file.clone(), allowed, ..files }))
}

/// Between members.
pub(super) fn of_members(flags: &Flags) -> Result<Option<TlsFiles>, ConfigError> {
    let narrows = [
        ("peer-cert-allowed-cn", flags.peer_cert_allowed_cn.is_some()),
        ("peer-cert-allowed-hostname", flags.peer_cert_allowed_hostname.is_some()),
        ("peer-crl-file", flags.peer_crl_file.is_some()),
        ("peer-client-cert-file", flags.peer_client_cert_file.is_some()),
    ];
    if flags.peer_cert_file.is_none() {
        unused(&narrows, "needs --peer-cert-file: members do not speak TLS without")?;
    }
    let files = [&flags.peer_cert_file, &flags.peer_key_file, &flags.peer_trusted_ca_file];
    let Some(files) = identity(flags, "peer-cert-file", files, true)? else { return Ok(None) };
    let dialling = match (&flags.peer_client_cert_file, &flags.peer_client_key_file) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        _ => return Err(invalid("peer-client-cert-file", "and its key are given together")),
    };
    let host_flag = "peer-cert-allowed-hostname";
    let hosts = host_names(host_flag, flags.peer_cert_allowed_hostname.as_deref())?;
    let common = words(flags.peer_cert_allowed_cn.as_deref());
    let allowed = match common.is_empty() {
        true => hosts,
        false if hosts == Allowed::All => Allowed::CommonNames(common),
        false => return Err(invalid(host_flag, "and --peer-cert-allowed-cn exclude each other")),
    };
    Ok(Some(TlsFiles { revoked: flags.peer_crl_file.clone(), dialling, allowed, ..files }))
}

/// Refuses flags that would make nothing safer.
fn unused(flags: &[(&'static str, bool)], reason: &str) -> Result<(), ConfigError> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(invalid(flag, reason)),
        None => Ok(()),
    }
}

fn identity(
    flags: &Flags,
    flag: &'static str,
    [cert, key, ca]: [&Option<PathBuf>; 3],
    is_mutual: bool,
) -> Result<Option<TlsFiles>, ConfigError> {
    let versions = Versions::between(&flags.tls_min_version, &flags.tls_max_version);
    let versions = versions.ok_or_else(|| {
        invalid("tls-min-version", "is TLS1.2 or TLS1.3, and --tls-max-version not below it")
    })?;
    let suites = suites(&flags.cipher_suites)?;
    match (cert, key) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) if is_mutual && ca.is_none() => Err(invalid(
            flag,
            "client certificates are checked against a trusted-ca-file, which is missing",
        )),
        (Some(cert), Some(key)) => Ok(Some(TlsFiles {
            cert: cert.clone(),
            key: key.clone(),
            trusted_ca: ca.clone(),
            is_mutual,
            revoked: None,
            dialling: None,
            allowed: Allowed::All,
            versions,
            suites,
        })),
        _ => Err(invalid(flag, "certificate and key are given together")),
    }
}

fn words(text: Option<&str>) -> Vec<String> {
    let parts = text.unwrap_or_default().split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn host_names(flag: &'static str, text: Option<&str>) -> Result<Allowed, ConfigError> {
    let name = |word: String| {
        let reason = format!("{word:?} is no name of a host");
        ServerName::try_from(word).map_err(|_| invalid(flag, reason))
    };
    let names: Vec<_> = words(text).into_iter().map(name).collect::<Result<_, _>>()?;
    Ok(if names.is_empty() { Allowed::All } else { Allowed::HostNames(names) })
}

fn suites(text: &str) -> Result<Vec<String>, ConfigError> {
    let known = suites::names();
    let suite = |word: String| {
        // Go's old names of two of them.
        let full = if word.ends_with("_POLY1305") { format!("{word}_SHA256") } else { word };
        if known.contains(&full) {
            return Ok(full);
        }
        Err(invalid("cipher-suites", format!("there is no {full}; there are {}", known.join(", "))))
    };
    words(Some(text)).into_iter().map(suite).collect()
}
