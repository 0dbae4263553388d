//! A watch over refused requests: who is refused too often waits, and operators learn of each.
//!
//! It sees requests from outside, before s3s and after it, and knows of a refusal by the response
//! alone: s3s decides on signatures, and says so in the code of its XML. Errors are small and whole in
//! memory, so that reading the code costs little.
//!
//! An unknown key and a wrong signature are failed attempts. A key that lacks a permission is reported,
//! and no attempt: it is a client that has shown its secret. So is a request that names no key, which
//! guesses at none.
//!
//! A blocked address may use the keys with which it has signed well before: one client's mistake must
//! not lock out others that share its address.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode, header};
use isobar_base::sync::IgnorePoison;
use s3s::S3Error;

use super::error::refusal;
use super::objects::Denied;
use crate::ClientInfo;
use crate::keys::{Audit, FailedAttempts, RefusedRequest};

/// Codes of errors that count as failed attempts: the client does not have the secret of a key.
const FAILED: [&str; 2] = ["Unauthorized", "SignatureDoesNotMatch"];

/// Most addresses that are remembered for a key.
const ADDRESSES: usize = 1024;

/// The limit and the audit of a door, if it has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    pub(super) audit: Option<Audit>,
    pub(super) attempts: Option<Arc<FailedAttempts>>,
    /// Addresses from which a signature of a key was good, as failures are counted, by the ids of keys: guesses take no memory.
    verified: Arc<Mutex<HashMap<String, HashSet<IpAddr>>>>,
}

/// A request, as the audit names it.
#[derive(Debug)]
pub(super) struct Seen {
    address: Option<IpAddr>,
    method: String,
    path: String,
    /// Key with which it says it is signed; none where the guard has refused it.
    key: Option<String>,
}

impl Watch {
    /// Notes a request before it is answered.
    pub(super) fn see(head: &http::request::Parts, key: Option<String>) -> Seen {
        let address = head.extensions.get::<ClientInfo>().and_then(|client| client.address);
        Seen { address, method: head.method.to_string(), path: head.uri.path().to_owned(), key }
    }

    /// Returns the error for an address with too many failed attempts, unless it has used the key before.
    pub(super) fn blocked(&self, seen: &Seen) -> Option<S3Error> {
        let address = seen.address?;
        let left = self.attempts.as_ref()?.blocked_for(address, Instant::now())?;
        let verified = self.verified.lock().ignore_poison();
        let known = seen.key.as_ref().and_then(|key| verified.get(key));
        if known.is_some_and(|known| known.contains(&FailedAttempts::counted(address))) {
            return None;
        }
        let message = "There were too many failed attempts from this address; try again later";
        let mut error = refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", message);
        let seconds = left.max(Duration::from_secs(1)).as_secs();
        let xml = HeaderValue::from_static("application/xml");
        error.set_headers([(header::CONTENT_TYPE, xml), (header::RETRY_AFTER, seconds.into())].into_iter().collect());
        Some(error)
    }

    /// Remembers that the signature of a request was good.
    pub(super) fn remember(&self, seen: &Seen) {
        let (Some(_), Some(address), Some(key)) = (&self.attempts, seen.address, &seen.key) else { return };
        let address = FailedAttempts::counted(address);
        let mut verified = self.verified.lock().ignore_poison();
        if let Some(known) = verified.get_mut(key) {
            if known.len() >= ADDRESSES && !known.contains(&address) {
                known.clear();
            }
            known.insert(address);
        } else {
            verified.insert(key.clone(), HashSet::from([address]));
        }
    }

    /// Counts and reports a response that refuses.
    pub(super) fn note(&self, seen: &Seen, response: &http::Response<s3s::Body>) {
        let is_refusal = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if is_refusal || seen.key.is_none() || response.extensions().get::<Denied>().is_some() {
            self.report(seen, response);
        }
    }

    /// Counts a refusal, where it is a failed attempt, and reports it.
    pub(super) fn report(&self, seen: &Seen, response: &http::Response<s3s::Body>) {
        let denied = response.extensions().get::<Denied>();
        let body = response.body().bytes().unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let code = element(&text, "Code");
        // The codes of the guard are those of any bad request.
        let reason = match (denied, &seen.key) {
            (Some(Denied(count)), _) => format!("AccessDenied: {count} of the objects to delete"),
            (None, Some(_)) => code.to_owned(),
            (None, None) => format!("{code}: {}", element(&text, "Message")),
        };
        if let (Some(attempts), Some(address), true) = (&self.attempts, seen.address, FAILED.contains(&code)) {
            attempts.note_failure(address, Instant::now());
        }
        if let Some(audit) = &self.audit {
            audit.refused(&RefusedRequest {
                door: "s3",
                key: seen.key.as_deref(),
                address: seen.address,
                method: &seen.method,
                path: &seen.path,
                status: response.status().as_u16(),
                reason: &reason,
            });
        }
    }
}

/// Content of the first element of this name in an error's document.
fn element<'t>(text: &'t str, name: &str) -> &'t str {
    let behind = text.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
    behind.split_once(&format!("</{name}>")).map_or("", |(content, _)| content)
}
