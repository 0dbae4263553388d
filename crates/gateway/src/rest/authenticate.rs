//! The token of a request.
//!
//! | failure | status, code | counts against the address |
//! |---|---|---|
//! | no `Authorization` header | 400, 9106 | yes |
//! | a header without a bearer token | 400, 6003 | yes |
//! | an unknown, expired or revoked token | 403, 10000; 401, 1000 for `/tokens/verify` | yes |
//! | a blocked address | 429, 10429 | no |
//! | the store of keys fails | 500, 10001 | no |
//!
//! Statuses and codes are those by which wrangler and the SDKs decide whether to ask for another token.

use std::net::IpAddr;
use std::time::Instant;

use chrono::Utc;
use http::{StatusCode, header};

use super::call::Call;
use super::envelope::{Answer, ApiError, code};
use crate::keys::{AccessKeys, FailedAttempts, Key, KeyStore, Verified};

/// Returns the key of a request's token, and counts its use. A failure counts against the client's address.
///
/// A blocked address may use the tokens that this process has verified before: one client's mistake must not lock others out that
/// share its address.
pub(crate) async fn authenticate(keys: &KeyStore, attempts: &FailedAttempts, call: &Call) -> Answer<Key> {
    let token = token(call);
    let blocked = call.address().and_then(|address| attempts.blocked_for(address, Instant::now()));
    if let Some(time) = blocked
        && !token.as_ref().is_ok_and(|token| keys.remembers(token))
    {
        let message = "Too many failed attempts from this address";
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY_FAILURES, message);
        return Err(error.retry_after(time).refused("the address has too many failed attempts"));
    }
    let outcome = match token {
        Ok(token) => verify(keys, token, call).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(key) => {
            keys.note_use(&key.id);
            Ok(key)
        }
        Err(error) => {
            if error.refusal.is_some() {
                note(attempts, call.address());
            }
            Err(error)
        }
    }
}

/// Counts a failure, where the address is known.
fn note(attempts: &FailedAttempts, address: Option<IpAddr>) {
    if let Some(address) = address {
        attempts.note_failure(address, Instant::now());
    }
}

/// Asks the store of keys. The reason in the error is for the audit; the client gets one message for
/// all.
async fn verify(keys: &KeyStore, token: &str, call: &Call) -> Answer<Key> {
    // Clients tell an invalid token from one that may not do something by these.
    let invalid = |reason: String| {
        let is_check = call.path.ends_with("/tokens/verify");
        let error = match is_check {
            true => ApiError::new(StatusCode::UNAUTHORIZED, code::INVALID_TOKEN, "Invalid API Token"),
            false => ApiError::new(StatusCode::FORBIDDEN, code::AUTHENTICATION, "Authentication error"),
        };
        error.refused(reason)
    };
    match keys.verify(token).await? {
        Verified::Active(key) => Ok(key),
        Verified::Expired(key) => {
            let expired = key.expires.unwrap_or_else(Utc::now);
            Err(invalid(format!("the token of the key {} expired at {expired}", key.id)))
        }
        Verified::Revoked(key) => Err(invalid(format!("the token of the key {} is revoked", key.id))),
        Verified::Unknown => Err(invalid("the token is no key's".to_owned())),
    }
}

/// The bearer token in the request's headers.
fn token(call: &Call) -> Answer<&str> {
    let Some(value) = call.headers.get(header::AUTHORIZATION) else {
        let message = "Missing the Authorization header";
        let error = ApiError::new(StatusCode::BAD_REQUEST, code::NO_AUTHORIZATION, message);
        return Err(error.refused("there is no Authorization header"));
    };
    let bearer = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.filter(|token| !token.is_empty()).ok_or_else(|| {
        let message = "Invalid request headers: invalid format for the Authorization header";
        let error = ApiError::new(StatusCode::BAD_REQUEST, code::INVALID_HEADERS, message);
        error.refused("the Authorization header has no bearer token")
    })
}
