//! Tokens, the account, and the membership in it.
//!
//! There is one account, whose id the store of keys has drawn; `/memberships` and `/accounts` list it
//! for tools that look for it before they do anything, as wrangler does.

use chrono::SecondsFormat;
use http::StatusCode;
use serde_json::{Value as Json, json};

use super::call::Call;
use super::door::RestDoor;
use super::envelope::{Answer, ApiError, code, success, success_with};
use super::page::page;
use crate::keys::Key;

/// Name of the account, for people.
const NAME: &str = "isobar";
const PER_PAGE: usize = 20;
const MOST_PER_PAGE: usize = 50;

/// The check of a token, which has been verified on the way here.
pub(super) fn verify(key: &Key) -> Answer {
    let mut result = json!({"id": key.id, "status": "active"});
    if let Some(expires) = key.expires {
        result["expires_on"] = expires.to_rfc3339_opts(SecondsFormat::Secs, true).into();
    }
    let message = json!({"code": 10000, "message": "This API Token is valid and active"});
    success_with(&result, None, &[message])
}

/// A token belongs to the account, and to no user.
pub(super) fn user() -> Answer {
    let message = "Unauthorized to access requested resource: the token belongs to no user";
    Err(ApiError::new(StatusCode::FORBIDDEN, code::NO_USER, message))
}

/// Lists the one account.
pub(super) fn list(door: &RestDoor, call: &Call) -> Answer {
    page(&[account(door)], &call.query, PER_PAGE, MOST_PER_PAGE)
}

/// Describes the account.
pub(super) fn get(door: &RestDoor) -> Answer {
    success(&account(door))
}

/// Lists the one membership: the token's, in its account.
pub(super) fn memberships(door: &RestDoor, call: &Call) -> Answer {
    let id = door.keys.account_id();
    let membership = json!({"id": id, "status": "accepted", "account": account(door), "roles": []});
    page(&[membership], &call.query, PER_PAGE, MOST_PER_PAGE)
}

/// The account as Cloudflare's API shows one.
fn account(door: &RestDoor) -> Json {
    json!({"id": door.keys.account_id(), "name": NAME, "type": "standard", "settings": {"enforce_twofactor": false}})
}
