//! The join token: all that a new machine needs to find a cluster, trust it, and be let in.
//!
//! `trireme1.<base64url of JSON>`; the JSON names the part it lets its bearer play, the bootstrap token,
//! the hash of the authority's public key, and the masters' addresses. It is a secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "trireme1.";

/// What a machine joins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Master,
    Node,
}

impl Part {
    /// The group that the token's bearer gets, as the authenticator adds it.
    pub fn group(self) -> &'static str {
        match self {
            Self::Master => "system:bootstrappers:trireme:masters",
            Self::Node => "system:bootstrappers:trireme:nodes",
        }
    }
}

/// A join token, taken apart.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    pub part: Part,
    /// Bootstrap token `id.secret`: `[a-z0-9]{6}.[a-z0-9]{16}`.
    pub bootstrap: String,
    /// `sha256:<hex>` of the authority's public key.
    pub authority_hash: String,
    /// `https://host:port` of every master.
    pub servers: Vec<String>,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken").field("part", &self.part).finish_non_exhaustive()
    }
}

impl JoinToken {
    /// The text that a person copies.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("plain strings always serialize");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads such a text; the error says what is wrong with it.
    pub fn decode(text: &str) -> Result<Self, String> {
        let rest = text.trim().strip_prefix(PREFIX).ok_or_else(|| {
            format!("a join token begins with `{PREFIX}`: copy it whole, as `kctl cluster token` printed it")
        })?;
        let json = URL_SAFE_NO_PAD.decode(rest).map_err(|_| {
            "the join token is damaged: copy it whole, without line breaks".to_owned()
        })?;
        serde_json::from_slice(&json).map_err(|error| format!("the join token is damaged: {error}"))
    }
}

/// A new bootstrap token: `(id, secret)`.
pub fn generate_bootstrap() -> (String, String) {
    (random_text(6), random_text(16))
}

/// Letters and digits from the operating system's generator, without bias.
fn random_text(length: usize) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random = SystemRandom::new();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut byte = [0u8; 1];
        random.fill(&mut byte).expect("the operating system's generator never fails once seeded");
        // 252 is the largest multiple of 36 in a byte: what lies above would be drawn more often.
        if byte[0] < 252 {
            text.push(char::from(ALPHABET[usize::from(byte[0] % 36)]));
        }
    }
    text
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string never fails");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_survives_a_round_trip_and_damage_is_named() {
        let token = JoinToken {
            part: Part::Master,
            bootstrap: "abcdef.0123456789abcdef".into(),
            authority_hash: "sha256:00".into(),
            servers: vec!["https://127.0.0.1:6443".into()],
        };
        let text = token.encode();
        assert_eq!(JoinToken::decode(&format!(" {text}\n")), Ok(token));
        assert!(JoinToken::decode("abc").unwrap_err().contains("begins with"));
        assert!(JoinToken::decode(&text[..text.len() - 5]).unwrap_err().contains("damaged"));
    }

    #[test]
    fn bootstrap_tokens_have_the_form_that_kubernetes_wants() {
        let (id, secret) = generate_bootstrap();
        let fine = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        assert!(id.len() == 6 && secret.len() == 16 && fine(&id) && fine(&secret));
        assert_ne!(generate_bootstrap().1, secret);
    }
}
