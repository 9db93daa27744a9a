//! `kctl port-forward`: local ports that lead into a pod.
//!
//! Each local connection gets a WebSocket of its own: one that breaks takes no other with it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;
use futures::{SinkExt, StreamExt};
use master_api::jsonpath::shown;
use serde_json::Value;
use store_env::task::Crew;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::api::find::Found;
use crate::api::stream::{Socket, V4};
use crate::api::{Api, chain, with_query};
use crate::error::{Result, said};
use crate::flags::Global;
use crate::object::{items, text};
use crate::{errln, outln, term, workload};

const DATA: u8 = 0;
const ERROR: u8 = 1;
const CHUNK_BYTES: usize = 32 << 10;

/// The protocol cannot say that our side has nothing more to send: an answer gets this long to come.
const ANSWER_AFTER_EOF: Duration = Duration::from_secs(5);

/// Forward local ports to a pod
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kctl port-forward web 9090:8080          # localhost:9090 leads to the pod's port 8080
  kctl port-forward service/web :80        # a free local port leads to the service's port 80
  kctl port-forward deployment/web 8080 8443")]
pub struct PortForwardArgs {
    /// A pod, or TYPE/NAME of a workload or service
    #[arg(value_name = "POD|TYPE/NAME", required = true)]
    object: String,
    /// LOCAL:REMOTE, one number for both, or :REMOTE for a free local port
    #[arg(value_name = "[LOCAL:]REMOTE", required = true)]
    ports: Vec<String>,
    /// Local addresses to listen on
    #[arg(long, value_name = "IP", value_delimiter = ',', default_value = "localhost")]
    address: Vec<String>,
}

/// Runs it, until it is interrupted.
pub async fn run(args: &PortForwardArgs, flags: &Global) -> Result {
    let api = flags.api()?;
    let found = workload::find(&api, std::slice::from_ref(&args.object)).await?;
    let pod = workload::pod(&api, &found).await?;
    let phase = text(&pod.object["status"]["phase"]);
    if phase != "Running" {
        return Err(said(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let mut crew = Crew::new();
    let mut is_listening = false;
    for word in &args.ports {
        let (local, wanted) = split(word)?;
        let remote = remote_port(&found, &pod.object, &wanted)?;
        let local = local.unwrap_or(remote);
        for address in addresses(&args.address)? {
            match TcpListener::bind(SocketAddr::new(address, local)).await {
                Ok(listener) => {
                    let bound = listener.local_addr().map_err(|error| said(error.to_string()))?;
                    outln!("Forwarding from {bound} -> {remote}");
                    crew.spawn(serve(api.clone(), pod.path(), listener, remote));
                    is_listening = true;
                }
                // `localhost` may mean an address family that this machine lacks.
                Err(error) if address.is_ipv6() && args.address == ["localhost"] => {
                    tracing::debug!(%address, %error, "not listening");
                }
                Err(error) => {
                    return Err(said(format!(
                        "unable to listen on port {local}: {address}:{local}: {error}"
                    )));
                }
            }
        }
    }
    if !is_listening {
        return Err(said("unable to listen on any of the requested ports"));
    }
    crew.next_ended().await;
    Ok(())
}

/// `LOCAL:REMOTE`; a local port of `Some(0)` is any free one.
fn split(word: &str) -> Result<(Option<u16>, String)> {
    let bad = || said(format!("invalid port {word:?}: write LOCAL:REMOTE, REMOTE or :REMOTE"));
    let (local, remote) = match word.split_once(':') {
        None => (word.parse().ok(), word),
        Some(("" | "0", remote)) => (Some(0), remote),
        Some((local, remote)) => (Some(local.parse().map_err(|_| bad())?), remote),
    };
    if remote.is_empty() || remote == "0" { Err(bad()) } else { Ok((local, remote.to_owned())) }
}

/// The pod's port: a service's port leads to its target, a name to the container's port.
fn remote_port(found: &Found, pod: &Value, wanted: &str) -> Result<u16> {
    let mut wanted = wanted.to_owned();
    if found.resource.kind == "Service" {
        let is_meant =
            |port: &&Value| text(&port["name"]) == wanted || shown(&port["port"]) == wanted;
        let Some(port) = items(&found.object["spec"]["ports"]).iter().find(is_meant) else {
            return Err(said(format!(
                "Service {} does not have a service port {wanted}",
                found.name()
            )));
        };
        let is_headless = found.object["spec"]["clusterIP"] == "None";
        wanted = match &port["targetPort"] {
            Value::String(name) => name.clone(),
            Value::Number(number) if !is_headless => number.to_string(),
            _ => port["port"].to_string(),
        };
    }
    if let Ok(number) = wanted.parse() {
        return Ok(number);
    }
    let containers = items(&pod["spec"]["containers"]);
    let mut ports = containers.iter().flat_map(|container| items(&container["ports"]));
    let port =
        ports.find(|port| port["name"] == wanted).and_then(|port| port["containerPort"].as_u64());
    let port = port.and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| {
        said(format!(
            "Pod {} does not have a named port '{wanted}'",
            text(&pod["metadata"]["name"])
        ))
    })
}

fn addresses(words: &[String]) -> Result<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for word in words {
        match word.as_str() {
            "localhost" => addresses.extend([
                IpAddr::from([127, 0, 0, 1]),
                IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
            ]),
            word => addresses
                .push(word.parse().map_err(|_| said(format!("{word:?} is not a valid IP")))?),
        }
    }
    Ok(addresses)
}

async fn serve(api: Api, pod: String, listener: TcpListener, remote: u16) {
    let mut crew = Crew::new();
    loop {
        let Ok((connection, _)) = listener.accept().await else { return };
        outln!(
            "Handling connection for {}",
            listener.local_addr().map_or(0, |address| address.port())
        );
        let (api, pod) = (api.clone(), pod.clone());
        crew.spawn(async move {
            if let Err(error) = forward(&api, &pod, connection, remote).await {
                errln!("{error}");
            }
        });
    }
}

async fn forward(api: &Api, pod: &str, mut connection: TcpStream, remote: u16) -> Result {
    let path = with_query(&format!("{pod}/portforward"), &[("ports", remote.to_string())]);
    let mut socket = api.upgrade(&path, &[V4]).await?;
    let mut headers = [DATA, ERROR].map(|channel| Header { channel, left: 2 });
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut is_open = true;
    loop {
        tokio::select! {
            // Answers before further questions.
            biased;
            message = next(&mut socket, is_open) => match message? {
                None => break,
                Some(message) => {
                    let Some((&channel, mut data)) = message.split_first() else { continue };
                    if let Some(header) = headers.iter_mut().find(|header| header.channel == channel) {
                        data = header.strip(data);
                    }
                    match channel {
                        DATA if connection.write_all(data).await.is_err() => break,
                        ERROR if !data.is_empty() => {
                            let text = term::safe(&String::from_utf8_lossy(data));
                            return Err(said(format!("an error occurred forwarding to port {remote}: {}", text.trim())));
                        }
                        _ => {}
                    }
                }
            },
            read = connection.read(&mut buffer), if is_open => match read {
                Ok(0) | Err(_) => is_open = false,
                Ok(count) => {
                    let mut message = Vec::with_capacity(count + 1);
                    message.push(DATA);
                    message.extend_from_slice(&buffer[..count]);
                    let sent = socket.stream.send(Message::binary(message)).await;
                    sent.map_err(|error| said(format!("the stream broke off: {}", chain(&error))))?;
                }
            },
        }
    }
    let _ = connection.shutdown().await;
    let _ = socket.stream.close(None).await;
    Ok(())
}

/// The next binary message; `None` at the end.
async fn next(socket: &mut Socket, is_open: bool) -> Result<Option<Vec<u8>>> {
    loop {
        let message = if is_open {
            socket.stream.next().await
        } else {
            match tokio::time::timeout(ANSWER_AFTER_EOF, socket.stream.next()).await {
                Ok(message) => message,
                Err(_) => return Ok(None),
            }
        };
        match message {
            Some(Ok(Message::Binary(bytes))) => return Ok(Some(bytes.to_vec())),
            Some(Ok(Message::Close(_))) | None => return Ok(None),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                return Err(said(format!("the stream broke off: {}", chain(&error))));
            }
        }
    }
}

/// The first two bytes of each channel are the port's number.
struct Header {
    channel: u8,
    left: usize,
}

impl Header {
    fn strip<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let count = self.left.min(data.len());
        self.left -= count;
        &data[count..]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::discovery::Resource;

    #[test]
    fn ports_are_written_in_three_ways() {
        #[rustfmt::skip]
        let cases = [
            // word         local, remote
            ("8080",        Some((Some(8080), "8080"))),
            ("9090:8080",   Some((Some(9090), "8080"))),
            (":80",         Some((Some(0), "80"))),
            ("0:http",      Some((Some(0), "http"))),
            ("http",        Some((None, "http"))),
            ("x:80",        None),
            ("80:",         None),
        ];
        for (word, wanted) in cases {
            let read = split(word).ok();
            let wanted = wanted.map(|(local, remote)| (local, remote.to_owned()));
            assert_eq!(read, wanted, "{word}");
        }
    }

    #[test]
    fn service_s_port_leads_to_its_target() {
        let resource = Resource { kind: "Service".into(), ..Resource::default() };
        let object = json!({"metadata": {"name": "s"}, "spec": {"ports": [
            {"name": "web", "port": 80, "targetPort": "http"}, {"port": 443, "targetPort": 8443}, {"port": 9}]}});
        let found = Found { resource, object };
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let port =
            |wanted: &str| remote_port(&found, &pod, wanted).map_err(|error| error.to_string());
        assert_eq!(
            (port("80"), port("web"), port("443"), port("9")),
            (Ok(8080), Ok(8080), Ok(8443), Ok(9))
        );
        assert_eq!(port("81"), Err("error: Service s does not have a service port 81".to_owned()));
    }
}
