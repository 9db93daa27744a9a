//! Who sends a request: client certificate, bearer token, or nobody known.
//!
//! # Path
//! TLS listener (peer certificate), filter `authentication` (headers) → here → `authz`
//!
//! # Invariants
//! - A credential that is presented and wrong is refused, never taken for "anonymous".
//! - Headers that name a user are never read: there is no front proxy.

mod bootstrap_token;
pub mod impersonation;
mod service_account;
mod x509;

use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use master_api::access::{Identity, Reader};
use master_api::status::ApiError;
use store_env::clock::SharedClock;

use crate::tokens::Tokens;

pub(crate) use service_account::user_name;

/// The user that stands for nobody known.
pub const ANONYMOUS: &str = "system:anonymous";

/// Why a credential is refused: for the log and for who reviews a token; whoever shows it is told "Unauthorized" only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing that this server gives out.
    #[error("{0}")]
    Unknown(String),
    /// It was good once, or is elsewhere; for tokens in upstream's words.
    #[error("{0}")]
    Known(String),
}

/// Turns credentials into identities.
#[derive(Debug)]
pub struct Authenticator {
    tokens: Arc<Tokens>,
    reader: Arc<dyn Reader>,
    clock: SharedClock,
}

impl Authenticator {
    /// An authenticator that checks service accounts and bootstrap tokens through `reader`.
    pub fn new(tokens: Arc<Tokens>, reader: Arc<dyn Reader>, clock: SharedClock) -> Self {
        Self { tokens, reader, clock }
    }

    /// The identity behind a request. `cert` is the peer's certificate (DER), verified by TLS.
    pub fn authenticate(
        &self,
        cert: Option<&[u8]>,
        headers: &HeaderMap,
    ) -> Result<Identity, ApiError> {
        let found = match (cert, bearer_token(headers)) {
            (Some(der), _) => x509::identity(der, self.now_s()),
            (None, Some(token)) => self.token(&token, &[]).map(|(identity, _)| identity),
            (None, None) => Ok(anonymous()),
        };
        found.map_err(|refusal| {
            tracing::info!(reason = %refusal, "authentication refused");
            ApiError::Unauthorized
        })
    }

    /// The identity behind a token, and the audiences it is good for out of `audiences` (empty: the
    /// API server's own).
    pub fn token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<(Identity, Vec<String>), Refusal> {
        if bootstrap_token::is_one(token) {
            let own = self.tokens.audiences_or_own(audiences);
            let identity = bootstrap_token::identity(self.reader.as_ref(), token, self.now_s())?;
            return Ok((identity, own));
        }
        let (claims, audiences) = self.tokens.verify(token, audiences, self.now_s())?;
        let identity = service_account::identity(self.reader.as_ref(), &claims, self.now_s())?;
        Ok((identity, audiences))
    }

    fn now_s(&self) -> i64 {
        i64::try_from(self.clock.unix_ms() / 1000).unwrap_or(i64::MAX)
    }
}

/// Nobody known; what they may see, the authorizer decides.
pub fn anonymous() -> Identity {
    Identity {
        user: ANONYMOUS.to_owned(),
        groups: vec!["system:unauthenticated".to_owned()],
        ..Identity::default()
    }
}

/// The token of an `Authorization` header, or of a WebSocket's subprotocol (browsers set no headers).
fn bearer_token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let value = value.to_str().unwrap_or_default().trim();
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() {
            return Some(token.trim().to_owned());
        }
    }
    let protocols =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut tokens = protocols.flat_map(|value| value.split(',')).filter_map(|protocol| {
        protocol.trim().strip_prefix("base64url.bearer.authorization.k8s.io.")
    });
    let encoded = tokens.next()?;
    let decoded =
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, encoded).ok()?;
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests;
