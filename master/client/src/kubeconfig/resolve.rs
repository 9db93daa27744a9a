//! From a kubeconfig and the flags that override it to what [`crate::masters::connect`] needs.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::Value;

use super::{Cluster, Context, Error, Kubeconfig, User};
use crate::masters::{ClientIdentity, MastersConfig, Token};

/// Where a pod finds its credentials.
const POD_SECRETS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The flags that every command has.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
    pub namespace: Option<String>,
    pub server: Option<String>,
    pub token: Option<String>,
    pub certificate_authority: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub tls_server_name: Option<String>,
    pub insecure_skip_tls_verify: bool,
    pub impersonate: Option<String>,
    pub impersonate_groups: Vec<String>,
}

/// The outcome.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub masters: MastersConfig,
    /// The context in effect; empty if flags alone say everything.
    pub context: String,
    pub cluster: String,
    pub user: String,
    pub namespace: String,
}

/// Applies `overrides` to `config`. A kubeconfig that names no cluster means, in a pod, the pod's own.
pub fn resolve(config: &Kubeconfig, overrides: &Overrides) -> Result<Resolved, Error> {
    let context_name = overrides.context.clone().unwrap_or_else(|| config.current_context.clone());
    let context = match config.context(&context_name) {
        Some(context) => context.clone(),
        None if overrides.context.is_some() => return Err(Error::NoContext(context_name)),
        None if !config.current_context.is_empty() && overrides.server.is_none() => {
            return Err(Error::NoContext(context_name));
        }
        None => Context::default(),
    };
    let cluster_name = overrides.cluster.clone().unwrap_or(context.cluster);
    let user_name = overrides.user.clone().unwrap_or(context.user);
    let cluster = entry(config.cluster(&cluster_name), "cluster", &cluster_name)?;
    let user = entry(config.user(&user_name), "user", &user_name)?;
    let namespace = overrides.namespace.clone().or(context.namespace);

    let servers = overrides.server.clone().map_or_else(|| cluster.servers(), |one| vec![one]);
    if servers.is_empty() {
        let mut resolved = in_cluster().ok_or(Error::NoCluster)?;
        resolved.namespace = overrides.namespace.clone().unwrap_or(resolved.namespace);
        return Ok(resolved);
    }
    let mut masters = MastersConfig::new(uris(&servers)?);
    masters.ca_pem = ca(&cluster, overrides, &cluster_name)?;
    masters.server_name = overrides.tls_server_name.clone().or(cluster.tls_server_name);
    masters.insecure =
        overrides.insecure_skip_tls_verify || cluster.insecure_skip_tls_verify == Some(true);
    masters.token = token(&user, overrides);
    masters.identity = identity(&user, overrides, &user_name)?;
    masters.headers = impersonation(&user, overrides)?;
    let namespace = namespace.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    masters.default_namespace = namespace.clone();
    let context = context_name;
    Ok(Resolved { masters, context, cluster: cluster_name, user: user_name, namespace })
}

/// The cluster of the pod that this runs in, if it runs in one.
pub fn in_cluster() -> Option<Resolved> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok()?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let folder = Path::new(POD_SECRETS);
    let mut masters = MastersConfig::new(vec![format!("https://{host}:{port}").parse().ok()?]);
    masters.ca_pem = Some(std::fs::read(folder.join("ca.crt")).ok()?);
    masters.token = Some(Token::File(folder.join("token")));
    let namespace = std::fs::read_to_string(folder.join("namespace")).unwrap_or_default();
    let namespace = match namespace.trim() {
        "" => "default".to_owned(),
        name => name.to_owned(),
    };
    masters.default_namespace = namespace.clone();
    let (context, cluster, user) = (String::new(), String::new(), String::new());
    Some(Resolved { masters, context, cluster, user, namespace })
}

fn entry<T: Clone + Default>(
    found: Option<&T>,
    what: &'static str,
    name: &str,
) -> Result<T, Error> {
    match found {
        Some(found) => Ok(found.clone()),
        None if name.is_empty() => Ok(T::default()),
        None => Err(Error::Missing { what, name: name.to_owned() }),
    }
}

fn uris(servers: &[String]) -> Result<Vec<Uri>, Error> {
    let parse = |server: &String| {
        // kubectl takes a bare host for http; a master never speaks that.
        let full =
            if server.contains("://") { server.clone() } else { format!("https://{server}") };
        full.parse::<Uri>().map_err(|error| Error::Unusable {
            what: "server",
            name: server.clone(),
            reason: error.to_string(),
        })
    };
    servers.iter().map(parse).collect()
}

fn ca(cluster: &Cluster, overrides: &Overrides, name: &str) -> Result<Option<Vec<u8>>, Error> {
    if let Some(path) = &overrides.certificate_authority {
        return read(path).map(Some);
    }
    either(
        cluster.certificate_authority_data.as_ref(),
        cluster.certificate_authority.as_ref(),
        "certificate-authority-data",
        name,
    )
}

fn token(user: &User, overrides: &Overrides) -> Option<Token> {
    let fixed = overrides.token.clone().or_else(|| user.token.clone());
    fixed.map(Token::Fixed).or_else(|| user.token_file.clone().map(Token::File))
}

fn identity(
    user: &User,
    overrides: &Overrides,
    name: &str,
) -> Result<Option<ClientIdentity>, Error> {
    let cert = match &overrides.client_certificate {
        Some(path) => Some(read(path)?),
        None => either(
            user.client_certificate_data.as_ref(),
            user.client_certificate.as_ref(),
            "client-certificate-data",
            name,
        )?,
    };
    let key = match &overrides.client_key {
        Some(path) => Some(read(path)?),
        None => either(
            user.client_key_data.as_ref(),
            user.client_key.as_ref(),
            "client-key-data",
            name,
        )?,
    };
    Ok(cert.zip(key).map(|(cert_pem, key_pem)| ClientIdentity { cert_pem, key_pem }))
}

fn impersonation(user: &User, overrides: &Overrides) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let configured = user.other.get("as").and_then(Value::as_str).map(str::to_owned);
    let mut add = |name: &'static str, value: &str| {
        let parsed = HeaderValue::from_str(value).map_err(|error| Error::Unusable {
            what: "user to act as",
            name: value.to_owned(),
            reason: error.to_string(),
        })?;
        headers.append(HeaderName::from_static(name), parsed);
        Ok(())
    };
    if let Some(name) = overrides.impersonate.clone().or(configured) {
        add("impersonate-user", &name)?;
    }
    for group in &overrides.impersonate_groups {
        add("impersonate-group", group)?;
    }
    Ok(headers)
}

/// Embedded data, or else the file's content.
fn either(
    data: Option<&String>,
    path: Option<&PathBuf>,
    what: &'static str,
    name: &str,
) -> Result<Option<Vec<u8>>, Error> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let decoded = BASE64.decode(data.trim()).map_err(|error| Error::Unusable {
            what,
            name: name.to_owned(),
            reason: error.to_string(),
        })?;
        return Ok(Some(decoded));
    }
    path.map(|path| read(path)).transpose()
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}
