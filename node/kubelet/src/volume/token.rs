//! Tokens of service accounts for pods: bound to the pod, renewed before they expire.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use store_env::clock::SharedClock;

use crate::error::{Error, Result};
use crate::objects::{Objects, within};
use crate::pod;

/// A token older than this is renewed whatever its life.
const AGE_MAX_MS: u64 = 24 * 3_600_000;

#[derive(Debug, Clone)]
struct Token {
    text: String,
    asked_ms: u64,
    expires_ms: u64,
}

impl Token {
    /// At 80 % of its life, or after a day.
    fn is_due(&self, now_ms: u64) -> bool {
        let life_ms = self.expires_ms.saturating_sub(self.asked_ms);
        let age_ms = now_ms.saturating_sub(self.asked_ms);
        age_ms > life_ms / 5 * 4 || age_ms > AGE_MAX_MS
    }
}

/// Tokens by pod and request.
#[derive(Debug)]
pub(crate) struct Tokens {
    objects: Objects,
    clock: SharedClock,
    held: Mutex<BTreeMap<String, Token>>,
}

impl Tokens {
    pub(crate) fn new(objects: Objects, clock: SharedClock) -> Self {
        Self { objects, clock, held: Mutex::default() }
    }

    /// A token for the pod's service account that is good for a while.
    pub(crate) async fn get(
        &self,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String> {
        let audience = wanted.audience.clone().unwrap_or_default();
        let seconds = wanted.expiration_seconds.unwrap_or(3_600);
        let key = format!("{}/{audience}/{seconds}", pod::uid(pod));
        let now_ms = self.clock.unix_ms();
        let held = self.held.lock().get(&key).cloned();
        if let Some(token) = held.as_ref().filter(|token| !token.is_due(now_ms)) {
            return Ok(token.text.clone());
        }
        match self.request(pod, &audience, seconds, now_ms).await {
            Ok(token) => {
                let text = token.text.clone();
                self.held.lock().insert(key, token);
                Ok(text)
            }
            // The old one is still good.
            Err(error) => match held.filter(|token| token.expires_ms > now_ms) {
                Some(token) => Ok(token.text),
                None => Err(error),
            },
        }
    }

    /// Forgets the tokens of a pod.
    pub(crate) fn forget(&self, uid: &str) {
        self.held.lock().retain(|key, _| !key.starts_with(&format!("{uid}/")));
    }

    async fn request(&self, pod: &Pod, audience: &str, seconds: i64, now_ms: u64) -> Result<Token> {
        let account = pod::spec(pod).service_account_name.as_deref().unwrap_or("default");
        let what = format!("token for {}/{account}", pod::namespace(pod));
        let client = self.objects.client(&what)?;
        let api: Api<ServiceAccount> = Api::namespaced(client, pod::namespace(pod));
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: (!audience.is_empty()).then(|| vec![audience.to_owned()]),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..Default::default()
        };
        let parameters = PostParams::default();
        let call = api.create_token_request(account, &parameters, &request);
        let answer = within(&what, call).await?;
        let status = answer.status.unwrap_or_default();
        let expires = status.expiration_timestamp.map(|time| time.0.as_millisecond());
        let expires_ms = expires.and_then(|at| u64::try_from(at).ok()).unwrap_or_default();
        let none = || Error::Volume(format!("{what}: no token in the answer"));
        Ok(Token { text: status.token.ok_or_else(none)?, asked_ms: now_ms, expires_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_renewed_at_four_fifths_of_its_life_or_after_a_day() {
        let token =
            |life_s: u64| Token { text: String::new(), asked_ms: 0, expires_ms: life_s * 1_000 };
        assert!(!token(3_600).is_due(2_880_000));
        assert!(token(3_600).is_due(2_880_001));
        assert!(token(1_000_000).is_due(AGE_MAX_MS + 1));
    }
}
