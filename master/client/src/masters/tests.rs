//! Masters of flesh: real TLS servers on loopback, killed, silenced and made to lie.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::Body;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use store_env::task::Crew;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::{Error, Masters, MastersConfig, connect_with_handle};

const PATIENCE: Duration = Duration::from_secs(20);

struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { ca }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.ca).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What a master of these tests can be told to do.
#[derive(Default)]
struct Mood {
    is_silent: AtomicBool,
    /// Lives, but hears no quorum: nothing but `/livez` is answered.
    is_cut_off: AtomicBool,
    /// Closes the connection instead of answering a write.
    drops_writes: AtomicBool,
    /// How many more answers are `503` with `Retry-After`.
    busy: AtomicU32,
    seen: Mutex<Vec<String>>,
}

struct Master {
    address: SocketAddr,
    mood: Arc<Mood>,
    crew: Crew,
}

impl Master {
    async fn start(name: &'static str, pki: &Pki) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(Mood::default());
        let mut crew = Crew::new();
        crew.spawn(accept(name, listener, pki.acceptor(), mood.clone()));
        Self { address, mood, crew }
    }

    fn uri(&self) -> Uri {
        format!("https://{}", self.address).parse().unwrap()
    }

    async fn kill(self) {
        self.crew.finish(Duration::ZERO).await;
    }

    fn seen(&self, what: &str) -> usize {
        self.mood.seen.lock().iter().filter(|seen| *seen == what).count()
    }
}

async fn accept(name: &'static str, listener: TcpListener, tls: TlsAcceptor, mood: Arc<Mood>) {
    let mut crew = Crew::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (tls, mood) = (tls.clone(), mood.clone());
        crew.spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            let drop_it = Arc::new(tokio::sync::Notify::new());
            let notify = drop_it.clone();
            let service =
                service_fn(move |request| answer(name, mood.clone(), notify.clone(), request));
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let serving = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
            tokio::select! {
                biased;
                () = drop_it.notified() => {}
                _ = serving => {}
            }
        });
    }
}

async fn answer(
    name: &'static str,
    mood: Arc<Mood>,
    drop_it: Arc<tokio::sync::Notify>,
    mut request: Request<Incoming>,
) -> Result<Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>, Infallible> {
    mood.seen.lock().push(format!("{} {}", request.method(), request.uri().path()));
    if mood.is_silent.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    if mood.is_cut_off.load(Ordering::SeqCst) && request.uri().path() != "/livez" {
        std::future::pending::<()>().await;
    }
    if mood.drops_writes.load(Ordering::SeqCst) && request.method() != http::Method::GET {
        drop_it.notify_one();
        std::future::pending::<()>().await;
    }
    let full = |text: &'static str| Full::new(Bytes::from(text)).boxed();
    let is_ping = ["/livez", "/readyz"].contains(&request.uri().path());
    let busy =
        mood.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if busy.is_ok() && !is_ping {
        let head = Response::builder().status(503).header("retry-after", "1");
        return Ok(head.body(full("busy")).unwrap());
    }
    if request.headers().contains_key("upgrade") {
        return Ok(echo(&mut request));
    }
    if request.uri().query() == Some("watch=true") {
        let (sender, body) = http_body_util::channel::Channel::<Bytes, Infallible>::new(1);
        std::mem::forget(sender);
        return Ok(Response::new(body.boxed()));
    }
    Ok(Response::new(full(name)))
}

fn echo(
    request: &mut Request<Incoming>,
) -> Response<http_body_util::combinators::BoxBody<Bytes, Infallible>> {
    let upgrade = hyper::upgrade::on(request);
    let mut crew = Crew::new();
    crew.spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
    });
    std::mem::forget(crew);
    let head =
        Response::builder().status(101).header("upgrade", "echo").header("connection", "upgrade");
    head.body(Full::default().boxed()).unwrap()
}

fn client(pki: &Pki, servers: Vec<Uri>) -> (kube::Client, Masters) {
    let mut config = MastersConfig::new(servers);
    config.ca_pem = Some(pki.ca.pem().into_bytes());
    config.request_timeout = Some(Duration::from_secs(10));
    connect_with_handle(config).unwrap()
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

async fn ask(client: &kube::Client, method: &str) -> Result<String, String> {
    let answer = timeout(PATIENCE, client.send(request(method, "/api/v1/pods"))).await.unwrap();
    let answer = answer.map_err(|error| super::session::chain(&error))?;
    let body = answer.into_body().collect_bytes().await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

async fn dead_address() -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("https://{}", listener.local_addr().unwrap()).parse().unwrap()
}

#[tokio::test]
async fn one_master_is_kept_until_it_is_killed() {
    let pki = Pki::new();
    let (a, b) = (Master::start("a", &pki).await, Master::start("b", &pki).await);
    let (client, masters) = client(&pki, vec![a.uri(), b.uri()]);
    assert_eq!(masters.current(), None);
    for method in ["GET", "POST", "GET"] {
        assert_eq!(ask(&client, method).await.unwrap(), "a");
    }
    assert_eq!(masters.current(), Some(a.uri()));
    a.kill().await;
    let killed = Instant::now();
    assert_eq!(ask(&client, "GET").await.unwrap(), "b");
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(ask(&client, "POST").await.unwrap(), "b");
    assert_eq!(masters.current(), Some(b.uri()));
}

#[tokio::test]
async fn refused_connection_sends_reads_and_writes_to_the_next_at_once() {
    let pki = Pki::new();
    let b = Master::start("b", &pki).await;
    let (client, _) = client(&pki, vec![dead_address().await, b.uri()]);
    let started = Instant::now();
    assert_eq!(ask(&client, "POST").await.unwrap(), "b");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn master_that_accepts_and_never_answers_is_passed_over() {
    let pki = Pki::new();
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf_uri = format!("https://{}", deaf.local_addr().unwrap()).parse().unwrap();
    let b = Master::start("b", &pki).await;
    let (client, _) = client(&pki, vec![deaf_uri, b.uri()]);
    let started = Instant::now();
    assert_eq!(ask(&client, "POST").await.unwrap(), "b");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn watch_on_a_master_that_fell_silent_ends_and_the_client_moves() {
    let pki = Pki::new();
    let (a, b) = (Master::start("a", &pki).await, Master::start("b", &pki).await);
    let (client, masters) = client(&pki, vec![a.uri(), b.uri()]);
    let watch = client.send(request("GET", "/api/v1/pods?watch=true")).await.unwrap();
    assert_eq!(watch.status(), StatusCode::OK);
    a.mood.is_silent.store(true, Ordering::SeqCst);
    let ended = timeout(PATIENCE, watch.into_body().collect()).await.unwrap();
    assert!(ended.is_err());
    assert_eq!(masters.current(), Some(b.uri()));
    assert_eq!(ask(&client, "GET").await.unwrap(), "b");
}

#[tokio::test]
async fn master_cut_off_from_the_others_is_left_for_one_that_is_not() {
    let pki = Pki::new();
    let (a, b) = (Master::start("a", &pki).await, Master::start("b", &pki).await);
    let (client, masters) = client(&pki, vec![a.uri(), b.uri()]);
    assert_eq!(ask(&client, "GET").await.unwrap(), "a");
    a.mood.is_cut_off.store(true, Ordering::SeqCst);
    let started = Instant::now();
    assert_eq!(ask(&client, "GET").await.unwrap(), "b", "asked of a, answered by b");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let (newcomer, _) = self::client(&pki, vec![a.uri(), b.uri()]);
    assert_eq!(ask(&newcomer, "POST").await.unwrap(), "b", "who comes anew goes to b at once");

    // With all cut off, nobody is better: the connection is kept until one is well again.
    b.mood.is_cut_off.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(masters.current(), Some(b.uri()));
    b.mood.is_cut_off.store(false, Ordering::SeqCst);
    assert_eq!(ask(&client, "POST").await.unwrap(), "b");
}

#[tokio::test]
async fn write_whose_outcome_is_unknown_is_not_repeated() {
    let pki = Pki::new();
    let (a, b) = (Master::start("a", &pki).await, Master::start("b", &pki).await);
    let (client, _) = client(&pki, vec![a.uri(), b.uri()]);
    a.mood.drops_writes.store(true, Ordering::SeqCst);
    let error = ask(&client, "POST").await.unwrap_err();
    assert!(error.contains("may or may not have been made"), "{error}");
    assert_eq!((a.seen("POST /api/v1/pods"), b.seen("POST /api/v1/pods")), (1, 0));
    assert_eq!(ask(&client, "GET").await.unwrap(), "b");
}

#[tokio::test]
async fn all_down_names_every_address() {
    let pki = Pki::new();
    let (first, second) = (dead_address().await, dead_address().await);
    let (client, _) = client(&pki, vec![first.clone(), second.clone()]);
    let error = ask(&client, "GET").await.unwrap_err();
    for part in
        [first.authority().unwrap().as_str(), second.authority().unwrap().as_str(), "kctl status"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn stranger_s_certificate_is_refused() {
    let (pki, strangers) = (Pki::new(), Pki::new());
    let a = Master::start("a", &strangers).await;
    let (client, _) = client(&pki, vec![a.uri()]);
    let error = ask(&client, "GET").await.unwrap_err();
    assert!(error.contains("TLS") && error.contains("certificate"), "{error}");
    assert_eq!(a.seen("GET /api/v1/pods"), 0);
}

#[tokio::test]
async fn master_that_asks_for_patience_is_asked_again() {
    let pki = Pki::new();
    let a = Master::start("a", &pki).await;
    a.mood.busy.store(3, Ordering::SeqCst);
    let (client, _) = client(&pki, vec![a.uri()]);
    assert_eq!(ask(&client, "POST").await.unwrap(), "a");
    assert!(a.seen("POST /api/v1/pods") >= 2);
}

#[tokio::test]
async fn master_that_asks_for_patience_to_the_end_is_quoted() {
    let pki = Pki::new();
    let a = Master::start("a", &pki).await;
    a.mood.busy.store(u32::MAX, Ordering::SeqCst);
    let mut config = MastersConfig::new(vec![a.uri()]);
    config.ca_pem = Some(pki.ca.pem().into_bytes());
    config.request_timeout = Some(Duration::from_secs(1));
    let (client, _) = connect_with_handle(config).unwrap();
    let answer = client.send(request("POST", "/api/v1/pods")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.into_body().collect_bytes().await.unwrap(), "busy");
}

#[tokio::test]
async fn upgrade_gets_a_connection_of_its_own() {
    let pki = Pki::new();
    let a = Master::start("a", &pki).await;
    let (client, _) = client(&pki, vec![dead_address().await, a.uri()]);
    let mut wanted = request("GET", "/api/v1/namespaces/d/pods/p/exec");
    wanted.headers_mut().insert("upgrade", "echo".parse().unwrap());
    wanted.headers_mut().insert("connection", "upgrade".parse().unwrap());
    let answer = timeout(PATIENCE, client.send(wanted)).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut word)).await.unwrap().unwrap();
    assert_eq!(&word, b"ping");
}

#[test]
fn servers_are_checked_before_anything_starts() {
    #[rustfmt::skip]
    let cases = [
        // server                  fine?
        ("https://127.0.0.1:6443", true),
        ("127.0.0.1:6443",         false),
        ("ftp://127.0.0.1",        false),
    ];
    for (server, fine) in cases {
        let config = MastersConfig::new(vec![server.parse().unwrap()]);
        assert_eq!(super::Inner::new(config).is_ok(), fine, "{server}");
    }
    let none = super::Inner::new(MastersConfig::new(Vec::new()));
    assert!(matches!(none, Err(Error::NoServers)));
}
