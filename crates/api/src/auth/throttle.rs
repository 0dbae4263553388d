//! Limits on tries at passwords and tokens.
//!
//! A try is counted before it is judged, so that concurrent tries are all counted; a success takes its count back.
//!
//! | what | of | limit within 15 minutes |
//! |---|---|---|
//! | tries at a password | an account from one network | 5 |
//! | the same | a network | 50 |
//! | the same | an account, from browsers that it has not signed in from | 20 |
//! | the same | a browser that it has signed in from | 5 |
//! | tries at the own password, at the set-up token | a user | 5 |
//! | sign-ups | a network | 20 |
//!
//! A window begins with its first try and is not prolonged by others, so a counter is one row and no list of times. A success
//! clears the first counter of a try, and takes the try back from the others: someone who knows one password cannot clear the
//! count of a network by it. Counters are in the database, since isolates and processes share nothing else; a refused try
//! costs one batch.

use std::net::IpAddr;

use http::{HeaderValue, StatusCode};
use isobar_db::{Database, Statement};
use sha2::{Digest, Sha256};

use crate::Problem;
use crate::time::{now, rfc3339};

const WINDOW: chrono::TimeDelta = chrono::TimeDelta::minutes(15);

/// Tries at a password within the window, of one network for one account.
const PAIR_TRIES: i64 = 5;
/// Of one network.
const NETWORK_TRIES: i64 = 50;
/// For one account, from browsers that it has not signed in from. No hour touches more than five windows, so there are at most 100
/// of them an hour: OWASP ASVS 4.0.3, 2.2.1, NIST SP 800-63B, 5.2.2.
const ACCOUNT_TRIES: i64 = 20;
/// From one browser that the account has signed in from, instead of all of those: others do not lock its user out.
pub(super) const DEVICE_TRIES: i64 = 5;
/// At the password of the signed-in user.
pub(super) const OWN_TRIES: i64 = 5;
/// At the set-up token, of one signed-in user.
const SET_UP_TRIES: i64 = 5;
/// Sign-ups of one network.
pub(super) const SIGN_UPS: i64 = 20;

/// The counters of a try at a password: the account from that network, the network, the account.
pub(super) fn login_tries(email: &str, network: &str) -> [Counted; 3] {
    [
        Counted::new("pair", &format!("{email}|{network}"), PAIR_TRIES),
        Counted::new("network", network, NETWORK_TRIES),
        Counted::new("account", email, ACCOUNT_TRIES),
    ]
}

/// The counters of a try at the set-up token: the signed-in user, and the network, which shares its count with sign-in.
pub(super) fn set_up_tries(user: &str, network: &str) -> [Counted; 2] {
    [Counted::new("set-up", user, SET_UP_TRIES), Counted::new("network", network, NETWORK_TRIES)]
}

/// IP address of the client of a request, in the request's extensions. The server puts it there; without it all clients share their
/// rate limits.
///
/// Behind a proxy it is the address that a trusted proxy has named, not the proxy's. Of IPv6 addresses the first 64 bits are
/// counted.
///
/// ```
/// use isobar_api::auth::ClientAddress;
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(ClientAddress([192, 0, 2, 7].into()));
/// assert!(request.extensions().get::<ClientAddress>().is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// A counter of tries, and their limit within the window.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    key: String,
    limit: i64,
}

impl Counted {
    /// The database has a hash only, so that it does not reveal the addresses that users came from.
    pub(super) fn new(what: &str, of: &str, limit: i64) -> Self {
        let hash = Sha256::digest(format!("{what}|{of}").as_bytes());
        Self { key: format!("{what}:{}", hex::encode(&hash[..16])), limit }
    }
}

/// The network of an address as it is counted: of IPv6 the /64, because one client has 2^64 addresses.
pub(super) fn network(address: Option<&ClientAddress>) -> String {
    match address {
        Some(ClientAddress(IpAddr::V4(address))) => address.to_string(),
        Some(ClientAddress(IpAddr::V6(address))) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => format!("{:x?}", &address.segments()[..4]),
        },
        None => "unknown".to_owned(),
    }
}

/// Counts a try; 429 when one of the counts is over its limit.
pub(super) async fn count(database: &dyn Database, counted: &[Counted]) -> Result<(), Problem> {
    let now = now();
    let end = rfc3339(chrono::Utc::now() + WINDOW);
    let mut statements = vec![Statement::new("DELETE FROM auth_attempts WHERE window_ends_at <= ?").bind(&now)];
    statements.extend(counted.iter().map(|one| {
        let sql = "INSERT INTO auth_attempts (key, count, window_ends_at) VALUES (?, 1, ?) \
                   ON CONFLICT (key) DO UPDATE SET count = auth_attempts.count + 1 RETURNING count, window_ends_at";
        Statement::new(sql).bind(&one.key).bind(&end)
    }));
    let results = database.batch(statements).await?;
    for (one, result) in counted.iter().zip(&results[1..]) {
        let (count, ends): (i64, String) = result.rows_as()?.pop().unwrap_or_default();
        if count > one.limit {
            return Err(too_many(&ends));
        }
    }
    Ok(())
}

/// Records a success: clears the first counter, and takes the try back from the others.
pub(super) async fn forgive(database: &dyn Database, counted: &[Counted]) -> Result<(), Problem> {
    let sql = |index| match index {
        0 => "DELETE FROM auth_attempts WHERE key = ?",
        _ => "UPDATE auth_attempts SET count = count - 1 WHERE key = ?",
    };
    let forgive = |(index, one): (usize, &Counted)| Statement::new(sql(index)).bind(&one.key);
    database.batch(counted.iter().enumerate().map(forgive).collect()).await?;
    Ok(())
}

fn too_many(ends: &str) -> Problem {
    let ends = chrono::DateTime::parse_from_rfc3339(ends).map(|ends| ends.to_utc()).unwrap_or_default();
    let seconds = (ends - chrono::Utc::now()).num_seconds().max(1);
    Problem::new(StatusCode::TOO_MANY_REQUESTS)
        .with_detail(format!("there were too many tries; wait {} minutes", seconds / 60 + 1))
        .with_retry_after(HeaderValue::from(seconds))
}
