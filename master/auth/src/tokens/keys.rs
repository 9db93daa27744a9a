//! The keys that sign and verify service-account tokens, the same on every master.
//!
//! The first key signs; all verify, so that a new key can be put first while old tokens live on.
//!
//! # Invariants
//! - A signature is checked with the algorithm of the key, never with the one a token names.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::tokens::TokenError;

/// DER in front of the 65 bytes of a P-256 point, in a SubjectPublicKeyInfo (RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// AlgorithmIdentifier of rsaEncryption (RFC 8017).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// One key pair.
#[derive(Debug)]
pub(crate) struct Key {
    pair: Pair,
    /// Base64url of the SHA-256 of the public key's SubjectPublicKeyInfo, as upstream has it.
    pub(crate) id: String,
}

#[derive(Debug)]
enum Pair {
    Ec(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

/// A new P-256 private key as PEM (PKCS #8), for a cluster that is being made.
pub fn generate_pem() -> Result<String, TokenError> {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| TokenError::Key("the system gives no randomness".into()))?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(document.as_ref());
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
}

/// All private keys of a PEM text, in order.
pub(crate) fn load(pem: &[u8]) -> Result<Vec<Key>, TokenError> {
    let mut keys = Vec::new();
    for item in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) =
            item.map_err(|error| TokenError::Key(format!("unreadable PEM: {error}")))?;
        match kind {
            SectionKind::PrivateKey => {
                keys.push(Key::read(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)))?)
            }
            SectionKind::RsaPrivateKey => keys.push(Key::read(&PrivateKeyDer::Pkcs1(der.into()))?),
            SectionKind::EcPrivateKey => {
                return Err(TokenError::Key(
                    "an EC key must be PKCS #8 (BEGIN PRIVATE KEY)".into(),
                ));
            }
            _ => {}
        }
    }
    if keys.is_empty() {
        return Err(TokenError::Key("no private key in the PEM".into()));
    }
    Ok(keys)
}

impl Key {
    fn read(der: &PrivateKeyDer<'_>) -> Result<Self, TokenError> {
        let pair = match der {
            PrivateKeyDer::Pkcs1(rsa) => RsaKeyPair::from_der(rsa.secret_pkcs1_der())
                .ok()
                .map(|pair| Pair::Rsa(Box::new(pair))),
            _ => {
                let der = der.secret_der();
                let ec = EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    der,
                    &SystemRandom::new(),
                );
                match ec {
                    Ok(pair) => Some(Pair::Ec(Box::new(pair))),
                    Err(_) => {
                        RsaKeyPair::from_pkcs8(der).ok().map(|pair| Pair::Rsa(Box::new(pair)))
                    }
                }
            }
        };
        let pair = pair.ok_or_else(|| {
            TokenError::Key("neither a P-256 nor an RSA key (2048 bits or more)".into())
        })?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &pair.spki());
        Ok(Self { pair, id: URL_SAFE_NO_PAD.encode(digest) })
    }

    /// `ES256` or `RS256`.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ec(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let rng = SystemRandom::new();
        let failed = |_| TokenError::Key("signing failed".into());
        match &self.pair {
            Pair::Ec(pair) => pair
                .sign(&rng, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(failed),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.pair {
            Pair::Ec(pair) => {
                let key =
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
                key.verify(message, signature).is_ok()
            }
            Pair::Rsa(pair) => {
                let key =
                    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
                key.verify(message, signature).is_ok()
            }
        }
    }

    /// The public half as a JSON Web Key (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = json!({ "use": "sig", "kid": self.id, "alg": self.algorithm() });
        match &self.pair {
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                jwk["kty"] = json!("EC");
                jwk["crv"] = json!("P-256");
                jwk["x"] = json!(URL_SAFE_NO_PAD.encode(x));
                jwk["y"] = json!(URL_SAFE_NO_PAD.encode(y));
            }
            Pair::Rsa(pair) => {
                let public: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
                jwk["kty"] = json!("RSA");
                jwk["n"] = json!(URL_SAFE_NO_PAD.encode(public.n));
                jwk["e"] = json!(URL_SAFE_NO_PAD.encode(public.e));
            }
        }
        jwk
    }
}

impl Pair {
    /// The public key as DER SubjectPublicKeyInfo.
    fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ec(pair) => [&P256_SPKI_PREFIX, pair.public_key().as_ref()].concat(),
            Self::Rsa(pair) => {
                let bits = [&[0], pair.public_key().as_ref()].concat();
                der(0x30, &[&RSA_ALGORITHM[..], &der(0x03, &bits)].concat())
            }
        }
    }
}

/// Tag, length, content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    if length < 128 {
        out.extend(bytes.last().copied().or(Some(0)));
    } else {
        out.push(0x80 | u8::try_from(bytes.len()).expect("a length has at most eight bytes"));
        out.extend(bytes);
    }
    out.extend(content);
    out
}
