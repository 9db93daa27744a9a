//! kubeconfig files: read, merged as kubectl merges them, changed, and written back.
//!
//! Fields that this house does not know are kept as they are.

mod load;
mod resolve;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::load::{default_path, load, load_file, search_paths};
pub use self::resolve::{Overrides, Resolved, in_cluster, resolve};
pub use self::write::{merge_into, save};

/// The extension of a cluster entry that lists all masters.
pub const MASTERS_EXTENSION: &str = "trireme.dev/masters";

/// What can be wrong with a kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// The text is not a kubeconfig.
    #[error("{}: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    /// The asked-for context does not exist.
    #[error("context {0:?} does not exist. `kctl config get-contexts` lists those that do")]
    NoContext(String),
    /// An entry points to one that does not exist.
    #[error("{what} {name:?} does not exist in the kubeconfig")]
    Missing { what: &'static str, name: String },
    /// Nothing says where the masters are.
    #[error(
        "no cluster is configured. Run `kctl start` for a local one, or point --kubeconfig or $KUBECONFIG at a kubeconfig"
    )]
    NoCluster,
    /// A server's URL, a certificate or a key is unusable.
    #[error("{what} of {name:?} cannot be used: {reason}")]
    Unusable { what: &'static str, name: String, reason: String },
}

/// A kubeconfig.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kubeconfig {
    #[serde(rename = "apiVersion", default = "v1")]
    pub api_version: String,
    #[serde(default = "config_kind")]
    pub kind: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub clusters: Vec<NamedCluster>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub contexts: Vec<NamedContext>,
    #[serde(rename = "current-context", default, deserialize_with = "null_as_default")]
    pub current_context: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub users: Vec<NamedUser>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A cluster with its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedCluster {
    pub name: String,
    #[serde(default)]
    pub cluster: Cluster,
}

/// Where a cluster is, and how to know that it is the right one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Cluster {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_tls_verify: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<NamedExtension>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A field for those who know its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedExtension {
    pub name: String,
    pub extension: Value,
}

/// A context with its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedContext {
    pub name: String,
    #[serde(default)]
    pub context: Context,
}

/// Which user meets which cluster, and in which namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    pub cluster: String,
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A user with its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamedUser {
    pub name: String,
    #[serde(default)]
    pub user: User,
}

/// How a user proves who it is.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct User {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Default for Kubeconfig {
    fn default() -> Self {
        Self {
            api_version: v1(),
            kind: config_kind(),
            clusters: Vec::new(),
            contexts: Vec::new(),
            current_context: String::new(),
            users: Vec::new(),
            other: BTreeMap::new(),
        }
    }
}

/// What an administrator's kubeconfig is made of.
#[derive(Clone, Debug)]
pub struct Admin<'a> {
    /// Name of context and cluster; the user is called `NAME-admin`.
    pub name: &'a str,
    /// URLs of all masters; stock clients use the first.
    pub servers: &'a [String],
    pub ca_pem: &'a [u8],
    pub cert_pem: &'a [u8],
    pub key_pem: &'a [u8],
}

impl Kubeconfig {
    /// A kubeconfig with one context, everything embedded.
    pub fn admin(admin: &Admin<'_>) -> Self {
        let user_name = format!("{}-admin", admin.name);
        let cluster = Cluster {
            server: admin.servers.first().cloned(),
            certificate_authority_data: Some(BASE64.encode(admin.ca_pem)),
            extensions: vec![NamedExtension {
                name: MASTERS_EXTENSION.into(),
                extension: json!({ "servers": admin.servers }),
            }],
            ..Cluster::default()
        };
        let user = User {
            client_certificate_data: Some(BASE64.encode(admin.cert_pem)),
            client_key_data: Some(BASE64.encode(admin.key_pem)),
            ..User::default()
        };
        let context =
            Context { cluster: admin.name.into(), user: user_name.clone(), ..Context::default() };
        Self {
            clusters: vec![NamedCluster { name: admin.name.into(), cluster }],
            contexts: vec![NamedContext { name: admin.name.into(), context }],
            current_context: admin.name.into(),
            users: vec![NamedUser { name: user_name, user }],
            ..Self::default()
        }
    }

    /// The cluster called `name`.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|entry| entry.name == name).map(|entry| &entry.cluster)
    }

    /// The context called `name`.
    pub fn context(&self, name: &str) -> Option<&Context> {
        self.contexts.iter().find(|entry| entry.name == name).map(|entry| &entry.context)
    }

    /// The user called `name`.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|entry| entry.name == name).map(|entry| &entry.user)
    }

    /// Adds `other`'s entries; of entries with the same name, those of `self` win (kubectl's rule for
    /// several files).
    pub fn merge(&mut self, other: Self) {
        append_new(&mut self.clusters, other.clusters, |entry| &entry.name);
        append_new(&mut self.contexts, other.contexts, |entry| &entry.name);
        append_new(&mut self.users, other.users, |entry| &entry.name);
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
        for (key, value) in other.other {
            self.other.entry(key).or_insert(value);
        }
    }
}

impl Cluster {
    /// Every master of this cluster: `server` first, then the others of the extension.
    pub fn servers(&self) -> Vec<String> {
        let mut servers: Vec<String> = self.server.iter().cloned().collect();
        let extension = self.extensions.iter().find(|entry| entry.name == MASTERS_EXTENSION);
        let listed = extension.and_then(|entry| entry.extension["servers"].as_array());
        for server in listed.into_iter().flatten().filter_map(Value::as_str) {
            if !servers.iter().any(|known| known == server) {
                servers.push(server.to_owned());
            }
        }
        servers
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User(…)")
    }
}

fn append_new<T>(into: &mut Vec<T>, from: Vec<T>, name: impl Fn(&T) -> &String) {
    for entry in from {
        if !into.iter().any(|known| name(known) == name(&entry)) {
            into.push(entry);
        }
    }
}

fn v1() -> String {
    "v1".into()
}

fn config_kind() -> String {
    "Config".into()
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests;
