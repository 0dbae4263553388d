//! Account actions proven by e-mail: verifying an address, resetting a password, changing an address.
//!
//! A token is 256 bits, good once and for a time, and known to the database by its hash. Who asks for one is answered at once and
//! always alike; whether there is an account is found out after the answer.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use isobar_db::{QueryableExt, Statement};
use serde::Deserialize;
use serde_json::json;

use super::links::{MAILS, VERIFY, VERIFY_LIFETIME, forget_links, is_address};
use super::messages::Message;
use super::session::signed_in;
use super::throttle::{ClientAddress, Counted, count, network};
use super::{Auth, common, devices, keys, oauth, session, token};
use crate::background::later;
use crate::batch::{must_have_changed, nothing_changed};
use crate::json::{Body, input};
use crate::time::now;
use crate::{Principal, Problem};

const RESET: &str = "reset";
const CHANGE: &str = "address";
const RESET_LIFETIME: chrono::TimeDelta = chrono::TimeDelta::hours(1);
/// Requests of one network within a quarter of an hour: for links, and with tokens.
const NETWORK_TRIES: i64 = 20;

type Address = Option<Extension<ClientAddress>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgot {
    email: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    token: String,
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    token: String,
}

/// `POST /auth/forgot`: an e-mail with a link to a new password, where there is an account. The answer is the same where there is
/// none, and takes as long.
pub(super) async fn forgot(State(auth): State<Auth>, address: Address, body: Body) -> Result<Response, Problem> {
    auth.mail()?;
    count(auth.database(), &[Counted::new("forgot", &network(address.as_deref()), NETWORK_TRIES)]).await?;
    let Forgot { email } = input(body)?;
    let email = email.trim().to_ascii_lowercase();
    if !is_address(&email) {
        let problem = Problem::bad_request("the request is not valid; see errors");
        return Err(problem.with_field("email", "must be an e-mail address"));
    }
    later(async move {
        if let Err(problem) = auth.send_reset(&email).await {
            tracing::error!(?problem, "a link to a new password was not sent");
        }
    });
    Ok(accepted())
}

/// `POST /auth/reset`: a new password by the link's token. It proves the address, and ends every session, key and
/// connected account of the user.
pub(super) async fn reset(State(auth): State<Auth>, address: Address, body: Body) -> Result<Response, Problem> {
    count(auth.database(), &[Counted::new("token", &network(address.as_deref()), NETWORK_TRIES)]).await?;
    let Reset { token, password } = input(body)?;
    let sql = "SELECT u.id, u.email, u.name FROM one_time_tokens t JOIN users u ON u.id = t.user_id \
               WHERE t.hash = ? AND t.purpose = ? AND t.expires_at > ? AND u.disabled = 0";
    let query = auth.database().prepare(sql).bind(token::hash(&token)).bind(RESET).bind(now());
    let found: Option<(String, String, String)> = query.first().await?;
    let (user, email, name) = found.ok_or_else(over)?;
    if let Some(refusal) = common::refusal(&password, &[&email, &name]) {
        return Err(Problem::bad_request("the password is not valid").with_field("password", refusal));
    }
    let hash = auth.hasher().hash(password).await?;
    let take = Statement::new("DELETE FROM one_time_tokens WHERE hash = ? AND purpose = ? AND expires_at > ?");
    let sql = "UPDATE users SET password_hash = ?1, email_verified_at = coalesce(email_verified_at, ?2), updated_at = ?2, \
               revision = revision + 1 WHERE id = ?3 AND email = ?4";
    let mut statements = vec![
        take.bind(token::hash(&token)).bind(RESET).bind(now()),
        must_have_changed(),
        Statement::new(sql).bind(hash).bind(now()).bind(&user).bind(&email),
        must_have_changed(),
        forget_links(&user),
        session::end_all(&user),
        keys::revoke_all(&user),
        devices::forget(&user),
    ];
    // Connected accounts are credentials, too: the former user of this one may have connected theirs. They can be connected again.
    if oauth::has_tables(&auth).await? {
        statements.push(oauth::end_all(&user));
    }
    match auth.database().batch(statements).await {
        Ok(_) => {}
        Err(error) if nothing_changed(&error) => return Err(over()),
        Err(error) => return Err(error.into()),
    }
    later(async move { auth.notify(&email, Message::PasswordChanged).await });
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /auth/verify`: the address of the link's account is proved; where the link is to a new address, the account gets it.
pub(super) async fn verify(State(auth): State<Auth>, address: Address, body: Body) -> Result<Response, Problem> {
    count(auth.database(), &[Counted::new("token", &network(address.as_deref()), NETWORK_TRIES)]).await?;
    let Verify { token } = input(body)?;
    let sql = "SELECT u.id, u.email, t.data, t.purpose FROM one_time_tokens t JOIN users u ON u.id = t.user_id \
               WHERE t.hash = ? AND t.purpose IN (?, ?) AND t.expires_at > ? AND u.disabled = 0";
    let query = auth.database().prepare(sql).bind(token::hash(&token)).bind(VERIFY).bind(CHANGE).bind(now());
    let found: Option<(String, String, Option<String>, String)> = query.first().await?;
    let (user, old, email, purpose) = found.ok_or_else(over)?;
    let email = email.ok_or_else(over)?;
    if purpose == VERIFY && email != old {
        return Err(over()); // the account has another address by now
    }
    let take = Statement::new("DELETE FROM one_time_tokens WHERE hash = ? AND expires_at > ?");
    // An account whose address was never proved gives way to the one who proves it: it keeps its rows, and loses address and
    // sessions. The address it gets instead cannot be guessed, and taken beforehand.
    let end = "DELETE FROM sessions WHERE user_id IN \
               (SELECT id FROM users WHERE email = ? AND id <> ? AND email_verified_at IS NULL)";
    let end = Statement::new(end).bind(&email).bind(&user);
    let give_way = "UPDATE users SET email = lower(id || '.' || ?4) || '@unverified.invalid', updated_at = ?3, revision = revision + 1 \
                    WHERE email = ?1 AND id <> ?2 AND email_verified_at IS NULL";
    let give_way = Statement::new(give_way)
        .bind(&email)
        .bind(&user)
        .bind(now())
        .bind(isobar_base::random::hex_id().map_err(isobar_db::Error::from)?);
    let sql = "UPDATE users SET email = ?1, email_verified_at = ?2, updated_at = ?2, revision = revision + 1 \
               WHERE id = ?3 AND email = ?4";
    let prove = Statement::new(sql).bind(&email).bind(now()).bind(&user).bind(&old);
    let take = take.bind(token::hash(&token)).bind(now());
    let mut statements = vec![take, must_have_changed(), end, give_way, prove, must_have_changed()];
    if email != old {
        statements.push(forget_links(&user)); // what was sent to the old address is worth nothing
    }
    match auth.database().batch(statements).await {
        Ok(_) => {}
        Err(error) if nothing_changed(&error) => return Err(over()),
        Err(error) if matches!(error.kind(), isobar_db::ErrorKind::Constraint(_)) => {
            return Err(Problem::new(StatusCode::CONFLICT).with_detail("another account has this e-mail address"));
        }
        Err(error) => return Err(error.into()),
    }
    let body = axum::Json(json!({"email": email}));
    if email != old {
        later(async move { auth.notify(&old, Message::AddressChanged { to: &email }).await });
    }
    Ok(([(http::header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// `POST /auth/verify/send`: the link once more.
pub(super) async fn send_again(State(auth): State<Auth>, principal: Principal) -> Result<Response, Problem> {
    let (user, ..) = signed_in(&principal)?;
    auth.mail()?;
    count(auth.database(), &[Counted::new("verify", user, MAILS)]).await?;
    let sql = "SELECT email FROM users WHERE id = ? AND email_verified_at IS NULL";
    let email: Option<String> = auth.database().prepare(sql).bind(user).first().await?;
    let email =
        email.ok_or_else(|| Problem::new(StatusCode::CONFLICT).with_detail("the address is confirmed already"))?;
    auth.send_verification(user, &email).await?;
    Ok(accepted())
}

/// `POST /auth/email`: another address, by a link that is sent there. The answer does not tell whether an account has it.
pub(super) async fn change_address(
    State(auth): State<Auth>,
    principal: Principal,
    body: Body,
) -> Result<Response, Problem> {
    let (user, ..) = signed_in(&principal)?;
    auth.mail()?;
    session::must_be_recent(&auth, &principal).await?;
    count(auth.database(), &[Counted::new("address", user, MAILS)]).await?;
    let Forgot { email } = input(body)?;
    let email = email.trim().to_ascii_lowercase();
    if !is_address(&email) {
        let problem = Problem::bad_request("the request is not valid; see errors");
        return Err(problem.with_field("email", "must be an e-mail address"));
    }
    let old: String = auth.database().prepare("SELECT email FROM users WHERE id = ?").bind(user).one().await?;
    if old == email {
        return Err(Problem::bad_request("the request is not valid").with_field("email", "is your address already"));
    }
    let token = auth.keep_link(user, CHANGE, Some(&email), VERIFY_LIFETIME).await?;
    later(async move {
        auth.notify_within_limit(&email, Message::ConfirmNew { token: &token }).await;
        auth.notify(&old, Message::AddressChanging { to: &email }).await;
    });
    Ok(accepted())
}

impl Auth {
    async fn send_reset(&self, email: &str) -> Result<(), Problem> {
        let sql = "SELECT id FROM users WHERE email = ? AND disabled = 0";
        let user: Option<String> = self.database().prepare(sql).bind(email).first().await?;
        let Some(user) = user else { return Ok(()) };
        // Before a link is made: each takes the place of an older one, and one that is not sent must not. Counted apart from other
        // messages, so that these use up no reset.
        if self.may_mail("reset-mail", email).await {
            let token = self.keep_link(&user, RESET, None, RESET_LIFETIME).await?;
            self.notify(email, Message::Reset { token: &token }).await;
        }
        Ok(())
    }
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, [(http::header::CACHE_CONTROL, "no-store")], axum::Json(json!({}))).into_response()
}

fn over() -> Problem {
    Problem::new(StatusCode::FORBIDDEN)
        .with_detail("the link was used, has expired, or is not valid; ask for a new one")
}
