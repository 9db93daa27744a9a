//! Service-account tokens: signed on one master, good on all, checked without asking anybody.
//!
//! # Invariants
//! - A token without expiry, issuer, audience or service account is refused.
//! - `alg` must be that of the key that verifies; `none` has no key.

mod keys;
pub mod request;
pub mod review;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use keys::generate_pem;

use crate::authn::Refusal;

/// How far the clocks of two masters may differ.
const CLOCK_LEEWAY_S: i64 = 60;
/// No token of ours is longer; longer ones are not looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What can be wrong with keys or issuing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A key cannot be read or used.
    #[error("service-account key: {0}")]
    Key(String),
}

/// The claims of a service-account token, as upstream writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom the token is.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Seconds since the Unix epoch.
    pub exp: i64,
    /// Issued at.
    pub iat: i64,
    /// The issuer's URL.
    pub iss: String,
    /// The token's own id.
    #[serde(default)]
    pub jti: String,
    /// Who and what it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
    /// Not valid before.
    #[serde(default)]
    pub nbf: i64,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub sub: String,
}

/// The claim `kubernetes.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    pub serviceaccount: Reference,
    /// When who asked wanted it to end, if it ends later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object that a token names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// All that is read of claims before their signature was checked.
#[derive(Debug, Deserialize)]
struct Issuer {
    #[serde(default)]
    iss: String,
}

/// Issues and verifies tokens.
#[derive(Debug)]
pub struct Tokens {
    keys: Vec<keys::Key>,
    issuer: String,
    /// The API server's own; the first is the default of a new token.
    audiences: Vec<String>,
}

impl Tokens {
    /// Keys from PEM (PKCS #8 P-256 or RSA; the first signs). `issuer` is a URL such as
    /// `https://kubernetes.default.svc.cluster.local`, and the audience unless others are given.
    pub fn new(pem: &[u8], issuer: &str, audiences: &[String]) -> Result<Self, TokenError> {
        let audiences =
            if audiences.is_empty() { vec![issuer.to_owned()] } else { audiences.to_vec() };
        Ok(Self { keys: keys::load(pem)?, issuer: issuer.to_owned(), audiences })
    }

    /// The claim `iss` of every token.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Signs claims; `iss` is set here.
    pub fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        let key = self.keys.first().expect("loading refuses an empty set");
        let header = json!({ "alg": key.algorithm(), "kid": key.id });
        let claims = Claims { iss: self.issuer.clone(), ..claims.clone() };
        let body = serde_json::to_vec(&claims).expect("claims are strings and numbers");
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(body)
        );
        let signature = key.sign(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Checks issuer, signature, audience and time, in upstream's order. Returns the claims, and which of `audiences`
    /// (empty: the API server's own) the token is good for.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        now_s: i64,
    ) -> Result<(Claims, Vec<String>), Refusal> {
        let refused = |why: &str| Err(Refusal::Known(format!("service account token {why}")));
        let claims = self.signed_claims(token)?;
        let wanted = self.audiences_or_own(audiences);
        let good: Vec<String> =
            wanted.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        if good.is_empty() {
            return Err(Refusal::Known(format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(&claims.aud),
                quoted(&wanted)
            )));
        }
        if claims.exp <= now_s {
            return refused("has expired");
        }
        if claims.nbf > now_s + CLOCK_LEEWAY_S || claims.iat > now_s + CLOCK_LEEWAY_S {
            return refused("is not valid yet");
        }
        let bound = &claims.kubernetes;
        if bound.namespace.is_empty()
            || bound.serviceaccount.name.is_empty()
            || bound.serviceaccount.uid.is_empty()
        {
            return refused("names no service account");
        }
        Ok((claims, good))
    }

    fn signed_claims(&self, token: &str) -> Result<Claims, Refusal> {
        let malformed = || Refusal::Unknown("token: malformed".to_owned());
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed());
        }
        let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, body) = message.split_once('.').ok_or_else(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let body = decode(body)?;
        let issuer: Issuer = serde_json::from_slice(&body).map_err(|_| malformed())?;
        if issuer.iss != self.issuer {
            return Err(Refusal::Unknown(format!("token: issuer {:?} is not ours", issuer.iss)));
        }
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
        let signature = decode(signature)?;
        let mut keys = self.keys.iter().filter(|key| {
            key.algorithm() == header.alg && (header.kid.is_empty() || header.kid == key.id)
        });
        if !keys.any(|key| key.verifies(message.as_bytes(), &signature)) {
            // What upstream's library says of it.
            let why = "go-jose/go-jose: error in cryptographic primitive";
            return Err(Refusal::Known(why.to_owned()));
        }
        serde_json::from_slice(&body).map_err(|_| malformed())
    }

    /// The API server's audiences where none are named.
    pub(crate) fn audiences_or_own(&self, audiences: &[String]) -> Vec<String> {
        if audiences.is_empty() { self.audiences.clone() } else { audiences.to_vec() }
    }

    /// The document at `/.well-known/openid-configuration`.
    pub fn openid_configuration(&self) -> Value {
        let mut algorithms: Vec<&str> = self.keys.iter().map(keys::Key::algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }

    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(keys::Key::jwk).collect::<Vec<_>>() })
    }
}

/// A list as Go's `%q` writes it.
fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

/// `aud` may be a string or a list (RFC 7519).
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Audience::deserialize(deserializer)? {
        Audience::One(audience) => vec![audience],
        Audience::Many(audiences) => audiences,
    })
}

#[cfg(test)]
mod tests;
