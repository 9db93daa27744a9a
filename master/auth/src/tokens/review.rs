//! TokenReview: whose token is this?
//!
//! A wrong token is an answer, not an error.

use serde_json::{Value, json};

use crate::authn::{Authenticator, Refusal};
use crate::authz::review::{filled, user_info};
use crate::json::{text, texts};

/// Fills a TokenReview. The error says what is wrong with the spec.
pub fn token_review(authenticator: &Authenticator, review: &Value) -> Result<Value, String> {
    let token = text(review, "/spec/token");
    if token.is_empty() {
        return Err("token is required for TokenReview in authentication".to_owned());
    }
    let status = match authenticator.token(token, &texts(review, "/spec/audiences")) {
        Ok((identity, audiences)) => {
            json!({ "authenticated": true, "user": user_info(&identity), "audiences": audiences })
        }
        Err(refusal) => json!({ "user": {}, "error": shown(&refusal) }),
    };
    Ok(filled(review, status))
}

/// Upstream asks two authenticators, of which the first knows no token of ours.
fn shown(refusal: &Refusal) -> String {
    const INVALID: &str = "invalid bearer token";
    match refusal {
        Refusal::Unknown(_) => INVALID.to_owned(),
        Refusal::Known(why) => format!("[{INVALID}, {why}]"),
    }
}
