//! What can go wrong between a client and its masters.

use http::{Method, Uri};

/// A failure that no `Status` of a master describes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration names no master.
    #[error("no master is configured: set `server` in the kubeconfig, or pass --server")]
    NoServers,
    /// A master's URL cannot be used.
    #[error("master URL {server:?} cannot be used: {reason}")]
    BadServer { server: String, reason: String },
    /// A certificate or key cannot be read.
    #[error("{what} cannot be used: {reason}")]
    BadMaterial { what: &'static str, reason: String },
    /// Every master was tried and none could be reached; nothing was sent.
    #[error("{}", unreachable_text(.tried))]
    Unreachable { tried: Vec<(Uri, String)> },
    /// The connection broke after a write was sent and before its answer came.
    #[error(
        "the connection to {} broke before it answered {asked}: {reason}. The change may or may not have been made; look with `kctl get` before you repeat it",
        asked.server
    )]
    OutcomeUnknown { asked: Box<Asked>, reason: String },
    /// A read failed on every try.
    #[error("{} did not answer {asked}: {reason}", asked.server)]
    Broken { asked: Box<Asked>, reason: String },
    /// The request's time was up.
    #[error("{} did not answer {asked} within {after_s} s", asked.server)]
    Deadline { asked: Box<Asked>, after_s: u64 },
    /// The time of a request that changes something was up: no way to know whether it did.
    #[error(
        "{} did not answer {asked} within {after_s} s. The change may or may not have been made; look with `kctl get` before you repeat it",
        asked.server
    )]
    LateWrite { asked: Box<Asked>, after_s: u64 },
    /// The master did not finish its answer.
    #[error("the answer of {server} was cut off: {reason}")]
    CutOff { server: String, reason: String },
}

/// A request, and whom it went to.
#[derive(Clone, Debug)]
pub struct Asked {
    pub server: Uri,
    pub method: Method,
    pub path: String,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn unreachable_text(tried: &[(Uri, String)]) -> String {
    let mut text = match tried {
        [_] => "the master cannot be reached:".to_owned(),
        _ => format!("none of the {} masters can be reached:", tried.len()),
    };
    for (server, reason) in tried {
        let address = server.to_string();
        text.push_str(&format!("\n  {}: {reason}", address.trim_end_matches('/')));
    }
    text.push_str("\nRun `kctl status` to see which masters run, `kctl start` to start them.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_names_every_address_and_the_next_command() {
        let tried = [
            ("https://127.0.0.1:6443", "connection refused"),
            ("https://127.0.0.1:6444", "no answer within 2 s"),
        ]
        .map(|(server, reason)| (server.parse().unwrap(), reason.to_owned()));
        assert_eq!(
            Error::Unreachable { tried: tried.into() }.to_string(),
            "none of the 2 masters can be reached:\n  https://127.0.0.1:6443: connection refused\n  \
             https://127.0.0.1:6444: no answer within 2 s\n\
             Run `kctl status` to see which masters run, `kctl start` to start them."
        );
    }
}
