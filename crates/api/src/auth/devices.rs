//! Browsers from which a user has signed in before.
//!
//! Their tries are counted on their own (OWASP: device cookies): filling the counters of an account or of a network keeps
//! out strangers, and not the user.

use http::{HeaderMap, HeaderValue};
use isobar_db::{QueryableExt, Statement};

use super::session::{cookie_named, cookie_of};
use super::throttle::{Counted, DEVICE_TRIES, count, login_tries};
use super::{Auth, token};
use crate::Problem;
use crate::time::{now, rfc3339};

const COOKIE: &str = "__Host-device";
/// How long a browser is known after a sign-in.
const LIFETIME: chrono::TimeDelta = chrono::TimeDelta::days(180);
/// Browsers that are known of one user; the oldest is forgotten first.
const MAX_DEVICES: i64 = 20;

/// A try at the password of an account.
pub(super) struct PasswordTry {
    /// Where it is counted; a success takes the counts back.
    pub(super) counted: Vec<Counted>,
    /// Whether the account has signed in from this browser before.
    pub(super) is_known: bool,
}

/// Counts a try at the password of the account with this address: of its browser if the account has signed in from it, else of the
/// account and of the network.
///
/// # Errors
/// 429 after too many tries.
pub(super) async fn count_try(
    auth: &Auth,
    headers: &HeaderMap,
    email: &str,
    network: &str,
) -> Result<PasswordTry, Problem> {
    let device = known(auth, headers, email).await?;
    let counted = match &device {
        Some(device) => vec![Counted::new("device", device, DEVICE_TRIES)],
        None => login_tries(email, network).into(),
    };
    // The first one alone: tries from a network that is refused for the account do not count against the account.
    count(auth.database(), &counted[..1]).await?;
    if device.is_none() {
        count(auth.database(), &counted[1..]).await?;
    }
    Ok(PasswordTry { counted, is_known: device.is_some() })
}

/// The hash of the request's device, when the account of this address has signed in from it.
async fn known(auth: &Auth, headers: &HeaderMap, email: &str) -> Result<Option<String>, Problem> {
    let Some(token) = cookie_of(headers, COOKIE).filter(|token| !token.is_empty()) else { return Ok(None) };
    let hash = token::hash(token);
    let sql = "SELECT count(*) FROM known_devices d JOIN users u ON u.id = d.user_id \
               WHERE d.hash = ? AND u.email = ? AND d.expires_at > ?";
    let query = auth.database().prepare(sql).bind(hash.clone()).bind(email).bind(now());
    Ok((query.one::<i64>().await? > 0).then(|| hex::encode(hash)))
}

/// The statements that make a browser known, and its cookie.
pub(super) fn remember(user: &str) -> Result<([Statement; 2], HeaderValue), Problem> {
    let token = token::new()?;
    let expires = rfc3339(chrono::Utc::now() + LIFETIME);
    let keep = Statement::new("INSERT INTO known_devices (hash, user_id, expires_at) VALUES (?, ?, ?)");
    let keep = keep.bind(token::hash(&token)).bind(user).bind(expires);
    let trim = "DELETE FROM known_devices WHERE user_id = ?1 AND hash NOT IN \
                (SELECT hash FROM known_devices WHERE user_id = ?1 ORDER BY expires_at DESC LIMIT ?2)";
    let trim = Statement::new(trim).bind(user).bind(MAX_DEVICES);
    Ok(([keep, trim], cookie_named(COOKIE, &token, LIFETIME)))
}

/// The statement that forgets the browsers of a user.
pub(super) fn forget(user: &str) -> Statement {
    Statement::new("DELETE FROM known_devices WHERE user_id = ?").bind(user)
}
