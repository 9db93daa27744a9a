//! A server on a store in memory, listening on loopback, and clients with certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use kube::client::Body;
use master_apiserver::{KubeletClient, Server, ServerConfig, TlsMaterial};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use serde_json::Value;
use store_env::clock::SystemClock;
use store_env::task::{Crew, Group};
use store_handle::local::Local;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Error;
use tokio_util::sync::CancellationToken;

/// One master, alone.
pub(crate) struct World {
    pub(crate) server: Arc<Server>,
    pub(crate) handle: Arc<Local>,
    address: SocketAddr,
    ca_pem: String,
    /// What service accounts' tokens are signed with.
    pub(crate) keys_pem: String,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) stop: CancellationToken,
    crew: Crew,
}

pub(crate) type Socket =
    tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

/// A response, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl World {
    /// A server that is ready.
    pub(crate) async fn start() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test-ca");
        let ca_pem = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);
        let stop = CancellationToken::new();
        let mut group = Group::under(&stop);
        let handle = Local::start(SystemClock::shared(), &mut group);
        let keys_pem = master_auth::tokens::generate_pem().unwrap();
        let mut crew = Crew::new();
        let (server, address) = serve(&handle, &issuer, &ca_pem, &keys_pem, &mut group).await;
        crew.spawn(async move { group.run(Duration::from_secs(10)).await.unwrap() });
        assert!(server.cacher().wait_for(1, Duration::from_secs(10)).await);
        Self { server, handle, address, ca_pem, keys_pem, issuer, stop, crew }
    }

    /// A second master on the same store; ends with this world.
    pub(crate) async fn second(&mut self) -> kube::Client {
        let mut group = Group::under(&self.stop);
        let (server, address) =
            serve(&self.handle, &self.issuer, &self.ca_pem, &self.keys_pem, &mut group).await;
        self.crew.spawn(async move { group.run(Duration::from_secs(10)).await.unwrap() });
        assert!(server.cacher().wait_for(1, Duration::from_secs(10)).await);
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let admin = issue(&self.issuer, "kubernetes-admin", "system:masters", usage);
        client(&kubeconfig(address, &self.ca_pem, Some(admin), None))
    }

    /// A server with the objects of every cluster.
    pub(crate) async fn bootstrapped() -> Self {
        let world = Self::start().await;
        world.server.bootstrap(None).await.unwrap();
        world
    }

    /// A superuser, over TLS.
    pub(crate) fn admin(&self) -> kube::Client {
        self.user("kubernetes-admin", "system:masters")
    }

    /// A superuser who is told at once what others send again by themselves.
    pub(crate) fn impatient(&self) -> kube::Client {
        let mut config = config(&self.admin_kubeconfig());
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    /// A user with a certificate, over TLS.
    pub(crate) fn user(&self, name: &str, group: &str) -> kube::Client {
        let (cert, key) = issue(&self.issuer, name, group, ExtendedKeyUsagePurpose::ClientAuth);
        self.client(Some((cert, key)), None)
    }

    /// Somebody with a token, or with nothing at all.
    pub(crate) fn bearer(&self, token: Option<&str>) -> kube::Client {
        self.client(None, token)
    }

    fn client(&self, identity: Option<(String, String)>, token: Option<&str>) -> kube::Client {
        client(&kubeconfig(self.address, &self.ca_pem, identity, token))
    }

    /// The TLS of a kubelet whose certificate says that it is `name`.
    pub(crate) fn kubelet_tls(&self, name: &str) -> rustls::ServerConfig {
        use rustls_pki_types::pem::PemObject;
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        let (cert, key) = issue(&self.issuer, name, "system:nodes", usage);
        let cert = rustls_pki_types::CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap()
    }

    /// Opens a WebSocket as the browser of a user would, who has a certificate or, without a name, nothing.
    pub(crate) async fn web_socket(
        &self,
        user: Option<&str>,
        path: &str,
        protocols: &[&str],
    ) -> Result<Socket, Error> {
        use kube::client::ConfigExt;
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let identity = user.map(|name| issue(&self.issuer, name, "system:masters", usage));
        let config = config(&kubeconfig(self.address, &self.ca_pem, identity, None));
        let mut tls = config.rustls_client_config().unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let name = self.address.ip().into();
        let tls = tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap();
        let mut request = format!("wss://{}{path}", self.address).into_client_request().unwrap();
        if !protocols.is_empty() {
            let all = protocols.join(", ").parse().unwrap();
            request.headers_mut().insert("sec-websocket-protocol", all);
        }
        Ok(tokio_tungstenite::client_async(request, tls).await?.0)
    }

    /// A superuser's kubeconfig, for other programs.
    pub(crate) fn admin_kubeconfig(&self) -> Value {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let admin = issue(&self.issuer, "kubernetes-admin", "system:masters", usage);
        kubeconfig(self.address, &self.ca_pem, Some(admin), None)
    }

    /// Stops everything and waits for it.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.crew.finish(Duration::from_secs(20)).await;
    }
}

/// A server on a store, listening on a port of its own.
async fn serve(
    handle: &Arc<Local>,
    issuer: &Issuer<'static, KeyPair>,
    ca_pem: &str,
    keys_pem: &str,
    group: &mut Group,
) -> (Arc<Server>, SocketAddr) {
    let (cert, key) = issue(issuer, "kube-apiserver", "", ExtendedKeyUsagePurpose::ServerAuth);
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let (client_cert, client_key) =
        issue(issuer, "kube-apiserver-kubelet-client", "system:masters", usage);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(ServerConfig {
        handle: handle.clone(),
        clock: SystemClock::shared(),
        cluster: Default::default(),
        tls: TlsMaterial {
            cert_chain_pem: cert.into(),
            key_pem: key.into(),
            client_ca_pem: ca_pem.into(),
        },
        kubelet_client: KubeletClient {
            cert_chain_pem: client_cert.into(),
            key_pem: client_key.into(),
            ca_pem: ca_pem.into(),
        },
        sa_keys_pem: keys_pem.into(),
        sa_issuer: "https://kubernetes.default.svc.cluster.local".into(),
        master_name: "master-1".into(),
        advertise: address,
    })
    .unwrap();
    server.run_background(group);
    let serving = server.clone();
    group.spawn("server", |stop| serving.serve(listener, stop));
    (server, address)
}

fn client(kubeconfig: &Value) -> kube::Client {
    kube::Client::try_from(config(kubeconfig)).unwrap()
}

fn config(kubeconfig: &Value) -> kube::Config {
    let kubeconfig = serde_json::from_value(kubeconfig.clone()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
    futures::executor::block_on(config).unwrap()
}

fn kubeconfig(
    address: SocketAddr,
    ca_pem: &str,
    identity: Option<(String, String)>,
    token: Option<&str>,
) -> Value {
    use base64::Engine as _;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let mut user = serde_json::json!({});
    if let Some((cert, key)) = identity {
        user["client-certificate-data"] = base64(&cert).into();
        user["client-key-data"] = base64(&key).into();
    }
    if let Some(token) = token {
        user["token"] = token.into();
    }
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "c", "cluster": {
            "server": format!("https://{address}"),
            "certificate-authority-data": base64(ca_pem)}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    })
}

/// A certificate and its key, PEM.
fn issue(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    group: &str,
    usage: ExtendedKeyUsagePurpose,
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    if !group.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.extended_key_usages = vec![usage];
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

/// Sends one request: `GET /path`, headers, a body.
pub(crate) async fn send(
    client: &kube::Client,
    line: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body: String = body.into();
    let response = client.send(request.body(Body::from(body.into_bytes())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { code: parts.status.as_u16(), json, text }
}
