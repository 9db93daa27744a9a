//! Requests that another server answers: a kubelet for logs, exec, attach, port-forward and the node proxy;
//! a pod for the proxies of pods and services.

use std::net::{IpAddr, SocketAddr};

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use master_api::access::Reader;
use master_api::status::ApiError;
use master_api::{meta, percent};
use master_auth::admission::Operation;
use master_registry::Subresource;
use serde_json::Value;
use tokio::net::TcpStream;

use super::kubelet::{self, Answer, Place};
use super::links::{self, Links};
use super::{backend, log_options, log_socket, tunnel};
use crate::body::{Body, RequestBody};
use crate::call::{Call, Response};
use crate::rest::Target;
use crate::server::Server;

/// The path that a client sees a backend's page under: a backend makes links of it.
const FORWARDED_URI: &str = "x-forwarded-uri";
/// What a backend may not say: who else's pages may read the answers of this server.
const OF_ORIGINS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

const CONNECT_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Answers with what the other server says.
pub async fn run(
    server: &Server,
    call: &mut Call,
    target: &Target,
    subresource: Subresource,
) -> Result<Response, ApiError> {
    let is_stream =
        matches!(subresource, Subresource::Exec | Subresource::Attach | Subresource::PortForward);
    let is_log = subresource == Subresource::Log;
    if is_stream || (!is_log && call.headers.contains_key(http::header::UPGRADE)) {
        may_create(server, call)?;
    }
    let mut nothing = Value::Null;
    let name = subresource.name();
    let request = server.admission_request(call, target, Operation::Connect, name, None);
    let warnings = server.admission.admit(&request, &mut nothing)?;
    call.warnings.extend(warnings);
    match (subresource, &*target.resource.plural) {
        (Subresource::Proxy, "nodes") => node_proxy(server, call, target).await,
        (Subresource::Proxy, "services") => service_proxy(server, call, target).await,
        (Subresource::Proxy, _) => pod_proxy(server, call, target).await,
        (Subresource::Log, _) => log(server, call, target).await,
        _ => stream(server, call, target, subresource).await,
    }
}

/// A GET that opens a WebSocket does as much as a POST: who may only read may not run commands.
fn may_create(server: &Server, call: &Call) -> Result<(), ApiError> {
    let mut attributes = call.info.attributes(&call.identity);
    attributes.verb = "create".into();
    let decision = server.authorizer.authorize(&attributes);
    if decision.allowed {
        return Ok(());
    }
    let message = master_auth::authz::forbidden_message(&attributes, &decision.reason);
    Err(ApiError::forbidden(&attributes.group, &attributes.resource, &attributes.name, message))
}

/// The pod.
async fn pod(server: &Server, target: &Target) -> Result<std::sync::Arc<Value>, ApiError> {
    let entry = server.fresh(target).await?.ok_or_else(|| target.not_found())?;
    Ok(entry.value().clone())
}

/// The kubelet that a pod is on, once it is on one.
fn place_of(server: &Server, pod: &Value) -> Result<Option<Place>, ApiError> {
    let node = meta::text(pod, &["spec", "nodeName"]);
    if node.is_empty() {
        return Ok(None);
    }
    let found = server.cacher.get("", "nodes", "", node);
    // Upstream says so of a node that is not there.
    let found = found.ok_or_else(|| ApiError::not_found("", "pods", node))?;
    kubelet::place(&found).map(Some)
}

async fn log(server: &Server, call: &mut Call, target: &Target) -> Result<Response, ApiError> {
    log_options::check(&call.query, &target.name)?;
    let pod = pod(server, target).await?;
    let container = container(&pod, call.query.get("container"))?;
    let Some(place) = place_of(server, &pod)? else {
        let mut nothing = http::Response::new(Body::full(""));
        *nothing.status_mut() = http::StatusCode::NO_CONTENT;
        return Ok(nothing);
    };
    let mut query = Vec::new();
    for (key, value) in call.query.pairs() {
        if !matches!(&**key, "container" | "insecureSkipTLSVerifyBackend") {
            query.push(format!("{}={}", percent::encode(key), percent::encode(value)));
        }
    }
    let path = format!(
        "/containerLogs/{}/{}/{container}?{}",
        target.namespace,
        target.name,
        query.join("&")
    );
    let request = request(&Method::GET, &path, &place, HeaderMap::new(), nothing())?;
    let answer = server.kubelets.send(&place, request).await?;
    let code = answer.response.status();
    if kubelet::is_redirect(code) {
        return Err(ApiError::Internal("the backend redirects, which is refused".into()));
    }
    if code.is_client_error() {
        // The kubelet says why in plain text; clients expect a Status.
        return Err(ApiError::bad_request(text(answer).await));
    }
    if code.is_server_error() {
        return Err(ApiError::Internal(text(answer).await));
    }
    if log_socket::is_wanted(&call.headers) {
        return log_socket::join(server, call, answer);
    }
    Ok(pass_on(answer))
}

/// The first bytes of a refusal.
async fn text(answer: Answer) -> String {
    let mut body = http_body_util::Limited::new(answer.response.into_body(), 4096);
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

async fn stream(
    server: &Server,
    call: &mut Call,
    target: &Target,
    subresource: Subresource,
) -> Result<Response, ApiError> {
    let odd = call.query.all("ports").find(|port| port.parse::<i32>().is_err());
    if let Some(odd) = odd.filter(|_| subresource == Subresource::PortForward) {
        let text = format!("strconv.ParseUint: parsing {odd:?}: invalid syntax");
        return Err(ApiError::bad_request(format!("cannot convert to []int32: {text}")));
    }
    let pod = pod(server, target).await?;
    let (namespace, name) = (&target.namespace, &target.name);
    let path = if subresource == Subresource::PortForward {
        let ports: Vec<String> =
            call.query.all("ports").map(|port| format!("port={}", percent::encode(port))).collect();
        format!("/portForward/{namespace}/{name}?{}", ports.join("&"))
    } else {
        let container = container(&pod, call.query.get("container"))?;
        let verb = subresource.name();
        format!("/{verb}/{namespace}/{name}/{container}?{}", stream_query(call))
    };
    let place = place_of(server, &pod)?.ok_or_else(|| {
        ApiError::bad_request(format!("pod {name} does not have a host assigned"))
    })?;
    if !tunnel::is_wanted(&call.headers) {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    let headers = tunnel::request_headers(&call.headers);
    let request = request(&call.method, &path, &place, headers, nothing())?;
    let answer = server.kubelets.send(&place, request).await?;
    tunnel::join(server, call, answer)
}

/// The kubelet's names for the options of exec and attach.
fn stream_query(call: &Call) -> String {
    // Upstream's defaulting of the options turns both outputs on, whatever the client says.
    let mut query = vec!["output=1".to_owned(), "error=1".to_owned()];
    for (ours, theirs) in [("stdin", "input"), ("tty", "tty")] {
        if call.query.flag(ours) {
            query.push(format!("{theirs}=1"));
        }
    }
    query
        .extend(call.query.all("command").map(|part| format!("command={}", percent::encode(part))));
    query.join("&")
}

/// The container that is meant.
fn container(pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let name = meta::name(pod);
    let names = |kind: &str| -> Vec<&str> {
        let containers = meta::items(pod, &["spec", kind]).iter();
        containers.map(|container| meta::text(container, &["name"])).collect()
    };
    let (main, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if let Some(asked) = asked {
        if [&main, &init, &ephemeral].iter().any(|names| names.contains(&asked)) {
            return Ok(asked.to_owned());
        }
        return Err(ApiError::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        )));
    }
    match main.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => {
            Err(ApiError::bad_request(format!("a container name must be specified for pod {name}")))
        }
        _ => {
            let all = [init, main, ephemeral].concat();
            Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            )))
        }
    }
}

async fn node_proxy(
    server: &Server,
    call: &mut Call,
    target: &Target,
) -> Result<Response, ApiError> {
    let (_, name, port) = split_name(&target.name);
    let node = server.fresh(&target.named(name)).await?.ok_or_else(|| target.not_found())?;
    let place = kubelet::place(node.value())?;
    if !port.is_empty() && port != place.address.port().to_string() {
        return Err(ApiError::bad_request("nodes are proxied on the kubelet's port only"));
    }
    let wants_tunnel = tunnel::is_wanted(&call.headers);
    let request = forwarded(call, &place, wants_tunnel)?;
    let answer = server.kubelets.send(&place, request).await?;
    if wants_tunnel { tunnel::join(server, call, answer) } else { proxied(answer) }
}

async fn pod_proxy(
    server: &Server,
    call: &mut Call,
    target: &Target,
) -> Result<Response, ApiError> {
    let (scheme, name, port) = split_name(&target.name);
    let entry = server.fresh(&target.named(name)).await?.ok_or_else(|| target.not_found())?;
    let ip = meta::text(entry.value(), &["status", "podIP"]);
    let port = if port.is_empty() { first_port(entry.value()) } else { port.parse().ok() };
    dial(server, call, scheme, name, ip, port.unwrap_or(80)).await
}

async fn service_proxy(
    server: &Server,
    call: &mut Call,
    target: &Target,
) -> Result<Response, ApiError> {
    let (scheme, name, port) = split_name(&target.name);
    let entry = server.fresh(&target.named(name)).await?.ok_or_else(|| target.not_found())?;
    let ports = meta::items(entry.value(), &["spec", "ports"]);
    let wanted = ports.iter().find(|candidate| {
        let number = candidate["port"].to_string();
        (port.is_empty() && ports.len() == 1)
            || number == port
            || (!port.is_empty() && candidate["name"] == port)
    });
    let wanted = wanted.ok_or_else(|| {
        ApiError::Unavailable(format!("no service port {port:?} found for service {name:?}"))
    })?;
    let endpoint = endpoint(server, &target.namespace, name, wanted);
    let (ip, port) = endpoint.ok_or_else(|| {
        ApiError::Unavailable(format!("no endpoints available for service {name:?}"))
    })?;
    dial(server, call, scheme, name, &ip, port).await
}

/// A ready endpoint of a service's port.
fn endpoint(
    server: &Server,
    namespace: &str,
    service: &str,
    port: &Value,
) -> Option<(String, u16)> {
    let slices = server.cacher.list("discovery.k8s.io", "endpointslices", Some(namespace));
    let port_name = port["name"].as_str().unwrap_or("");
    slices.iter().find_map(|slice| {
        if meta::label(slice, "kubernetes.io/service-name") != service {
            return None;
        }
        let ports = meta::items(slice, &["ports"]);
        let found = ports.iter().find(|p| p["name"].as_str().unwrap_or("") == port_name)?;
        let number = u16::try_from(found["port"].as_u64()?).ok()?;
        let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
        let endpoint = meta::items(slice, &["endpoints"]).iter().find(ready)?;
        Some((endpoint["addresses"][0].as_str()?.to_owned(), number))
    })
}

/// `https:web:8080` → (`https`, `web`, `8080`).
fn split_name(name: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = name.split(':').collect();
    match parts.as_slice() {
        [scheme @ ("http" | "https"), name, port] => (scheme, name, port),
        [scheme @ ("http" | "https"), name] => (scheme, name, ""),
        [name, port] => ("", name, port),
        _ => ("", name, ""),
    }
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = meta::items(pod, &["spec", "containers"]);
    let port = containers.iter().find_map(|c| c["ports"][0]["containerPort"].as_u64())?;
    u16::try_from(port).ok()
}

/// Addresses that belong to this machine or this link are nobody's pods (CVE-2020-8562).
fn is_foreign(ip: IpAddr) -> bool {
    // `::ffff:127.0.0.1` is dialled as 127.0.0.1.
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
}

async fn dial(
    server: &Server,
    call: &mut Call,
    scheme: &str,
    name: &str,
    ip: &str,
    port: u16,
) -> Result<Response, ApiError> {
    // None yet, or one of this very machine's.
    let ip = ip.parse().ok().filter(|ip: &IpAddr| is_foreign(*ip));
    let ip = ip.ok_or_else(|| ApiError::bad_request("address not allowed"))?;
    let place = Place { node: name.to_owned(), address: SocketAddr::new(ip, port) };
    let wants_tunnel = tunnel::is_wanted(&call.headers);
    let request = forwarded(call, &place, wants_tunnel)?;
    let connected = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(place.address)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(ApiError::Unavailable(format!("error trying to reach {name:?}: {error}")));
        }
        Err(_) => return Err(ApiError::Unavailable(format!("{name:?} did not answer in time"))),
    };
    let answer = match scheme {
        "https" => {
            let stream = tokio::time::timeout(CONNECT_MAX, backend::encrypt(&place, stream)).await;
            let late = |_| ApiError::Unavailable(format!("{name:?} did not answer in time"));
            kubelet::send(&place, stream.map_err(late)??, request).await?
        }
        _ => kubelet::send(&place, stream, request).await?,
    };
    if wants_tunnel {
        return tunnel::join(server, call, answer);
    }
    let (prefix, _) = links::parted(&call.raw_path, skipped(call));
    let host = call.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let address = place.address.to_string();
    let links = Links { prefix, hosts: [address, host.to_owned()] };
    Ok(backend::led_back(links, without_origins(pass_on(answer))))
}

/// How many words of the path come before what is the backend's:
/// `/api/v1/nodes/<name>/proxy/…` or `/api/v1/namespaces/<ns>/<plural>/<name>/proxy/…`.
fn skipped(call: &Call) -> usize {
    if call.info.namespace.is_empty() { 5 } else { 7 }
}

/// The client's request, as the backend is to see it: without its credentials, and with the path that the client asked for. As
/// upstream does it, names of hosts and schemes that a client, or a proxy before this one, forwards are passed on as they
/// are.
fn forwarded(
    call: &mut Call,
    place: &Place,
    wants_tunnel: bool,
) -> Result<Request<RequestBody>, ApiError> {
    let (_, rest) = links::parted(&call.raw_path, skipped(call));
    let mut path = format!("/{rest}");
    if !call.raw_query.is_empty() {
        path.push('?');
        path.push_str(&call.raw_query);
    }
    let mut headers =
        if wants_tunnel { tunnel::request_headers(&call.headers) } else { HeaderMap::new() };
    let hop = [
        "connection",
        "upgrade",
        "host",
        "authorization",
        "cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "proxy-authorization",
        "keep-alive",
    ];
    for (name, value) in &call.headers {
        let text = name.as_str();
        let is_ours = hop.contains(&text)
            || text.starts_with("impersonate-")
            || text.starts_with("x-remote-")
            || text.starts_with("sec-websocket-");
        if !is_ours {
            headers.append(name.clone(), value.clone());
        }
    }
    if !wants_tunnel {
        let seen = links::cleaned(&call.raw_path);
        let seen = HeaderValue::from_str(&seen).map_err(ApiError::internal)?;
        headers.insert(FORWARDED_URI, seen);
    }
    let body = call.body.lock().take().unwrap_or_else(nothing);
    request(&call.method, &path, place, headers, body)
}

fn request(
    method: &Method,
    path: &str,
    place: &Place,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Request<RequestBody>, ApiError> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(body)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    *request.headers_mut() = headers;
    let host = HeaderValue::from_str(&place.address.to_string()).map_err(ApiError::internal)?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

fn nothing() -> RequestBody {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A kubelet's answer, unless it sends the client elsewhere.
fn proxied(answer: Answer) -> Result<Response, ApiError> {
    if kubelet::is_redirect(answer.response.status()) {
        return Err(ApiError::Internal("the backend redirects, which is refused".into()));
    }
    Ok(without_origins(pass_on(answer)))
}

/// A backend's answer without what it may not say.
fn without_origins(mut answer: Response) -> Response {
    for header in OF_ORIGINS {
        answer.headers_mut().remove(header);
    }
    answer
}

/// The backend's answer as it comes; its connection ends with it.
pub fn pass_on(answer: Answer) -> Response {
    let Answer { response, connection } = answer;
    let (parts, body) = response.into_parts();
    let body = body.map_frame(move |frame| {
        let _alive = &connection;
        frame
    });
    let mut passed = http::Response::new(Body::foreign(body));
    *passed.status_mut() = parts.status;
    for (name, value) in &parts.headers {
        let is_hop =
            matches!(name.as_str(), "connection" | "upgrade" | "transfer-encoding" | "keep-alive");
        if !is_hop {
            passed.headers_mut().append(name.clone(), value.clone());
        }
    }
    passed.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
    if passed.headers().get(CONTENT_LENGTH).is_some_and(HeaderValue::is_empty) {
        passed.headers_mut().remove(CONTENT_LENGTH);
    }
    passed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn container_is_the_only_one_or_the_one_asked_for() {
        let pod = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"metadata": {"name": "p"}, "spec": {"containers": list}})
        };
        assert_eq!(container(&pod(&["a"]), None).unwrap(), "a");
        assert_eq!(container(&pod(&["a", "b"]), Some("b")).unwrap(), "b");
        let check = |names: &[&str], asked, expected: &str| {
            assert_eq!(container(&pod(names), asked).unwrap_err().to_string(), expected);
        };
        check(
            &["a", "b"],
            None,
            "a container name must be specified for pod p, choose one of: [a b]",
        );
        check(&["a"], Some("x"), "container x is not valid for pod p");
    }

    #[test]
    fn backend_is_told_which_path_the_client_sees() {
        let check = |path: &str, upgrade: bool, expected: Option<&str>| {
            let builder = Request::builder().uri(path);
            let forged = [("x-forwarded-uri", "/forged"), ("x-forwarded-proto", "https")];
            let builder =
                forged.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
            let mut call = Call::new("1".to_owned(), builder.body(nothing()).unwrap());
            call.info.namespace = "ns".to_owned();
            let address = "10.0.0.1:80".parse().unwrap();
            let place = Place { node: "n".to_owned(), address };
            let request = forwarded(&mut call, &place, upgrade).unwrap();
            let text =
                |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(request.headers().get_all("x-forwarded-uri").iter().count(), 1);
            assert_eq!(
                (text("x-forwarded-uri"), text("x-forwarded-proto")),
                (expected, Some("https"))
            );
        };
        let pod = "/api/v1/namespaces/ns/pods/web:80/proxy";
        check(&format!("{pod}/a/%20b/?x=y"), false, Some(&format!("{pod}/a/%20b/")));
        check(pod, false, Some(pod));
        check(&format!("/{pod}//a/./b/../c"), false, Some(&format!("{pod}/a/c")));
        // A connection that is handed over is not told.
        check(&format!("{pod}/a"), true, Some("/forged"));
    }

    #[test]
    fn backend_says_nothing_of_origins() {
        let builder = http::Response::builder().header("access-control-allow-origin", "*");
        let builder = builder.header("access-control-allow-methods", "GET").header("x-own", "y");
        let answer = without_origins(builder.body(Body::full("")).unwrap());
        let names: Vec<&str> = answer.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-own"]);
    }

    #[test]
    fn backends_on_this_machine_are_refused() {
        for ip in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "224.0.0.1"] {
            assert!(!is_foreign(ip.parse().unwrap()), "{ip}");
        }
        assert!(is_foreign("10.244.1.5".parse().unwrap()));
    }

    #[test]
    fn proxied_name_may_carry_scheme_and_port() {
        assert_eq!(split_name("web"), ("", "web", ""));
        assert_eq!(split_name("web:80"), ("", "web", "80"));
        assert_eq!(split_name("http:web:80"), ("http", "web", "80"));
        assert_eq!(split_name("https:web:"), ("https", "web", ""));
    }
}
