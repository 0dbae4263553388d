//! Links that are sent by e-mail, each with a token that is valid once and for a time.

use isobar_db::Statement;

use super::messages::Message;
use super::throttle::{Counted, count};
use super::{Auth, token};
use crate::background::later;
use crate::time::rfc3339;
use crate::{Format, Problem};

/// Purpose of the links that prove the address of an account.
pub(super) const VERIFY: &str = "verify";
/// Lifetime of links that prove an address.
pub(super) const VERIFY_LIFETIME: chrono::TimeDelta = chrono::TimeDelta::hours(24);
/// E-mails to one address within a quarter of an hour. Further ones are dropped without an error, which would reveal a request.
pub(super) const MAILS: i64 = 5;

impl Auth {
    /// Sends the link that proves an address.
    pub(super) async fn send_verification(&self, user: &str, email: &str) -> Result<(), Problem> {
        if self.options().mail.is_none() {
            return Ok(());
        }
        let token = self.keep_link(user, VERIFY, Some(email), VERIFY_LIFETIME).await?;
        let auth = self.clone();
        let email = email.to_owned();
        later(async move { auth.notify_within_limit(&email, Message::Confirm { token: &token }).await });
        Ok(())
    }

    /// Sends a message, unless its address has had enough of them.
    pub(super) async fn notify_within_limit(&self, to: &str, message: Message<'_>) {
        if self.may_mail("mail", to).await {
            self.notify(to, message).await;
        }
    }

    /// Counts a message of a kind to an address. Returns whether it may be sent.
    pub(super) async fn may_mail(&self, kind: &'static str, to: &str) -> bool {
        let counted = count(self.database(), &[Counted::new(kind, to, MAILS)]).await;
        if let Err(problem) = &counted {
            tracing::warn!(?problem, "an e-mail was not sent: its address has had {MAILS} in 15 minutes");
        }
        counted.is_ok()
    }

    /// Keeps a link of a user; of each purpose the newest five are good, so that asking again takes none away.
    pub(super) async fn keep_link(
        &self,
        user: &str,
        purpose: &str,
        data: Option<&str>,
        lifetime: chrono::TimeDelta,
    ) -> Result<String, Problem> {
        let token = token::new()?;
        let sql = "INSERT INTO one_time_tokens (hash, purpose, expires_at, data, user_id) VALUES (?, ?, ?, ?, ?)";
        let keep = Statement::new(sql).bind(token::hash(&token)).bind(purpose);
        let keep = keep.bind(rfc3339(chrono::Utc::now() + lifetime)).bind(data).bind(user);
        let trim = "DELETE FROM one_time_tokens WHERE user_id = ?1 AND purpose = ?2 AND hash NOT IN \
                    (SELECT hash FROM one_time_tokens WHERE user_id = ?1 AND purpose = ?2 ORDER BY expires_at DESC LIMIT 5)";
        let trim = Statement::new(trim).bind(user).bind(purpose);
        self.database().batch(vec![keep, trim]).await?;
        Ok(token)
    }
}

/// The statement that makes a user's links worthless.
pub(super) fn forget_links(user: &str) -> Statement {
    Statement::new("DELETE FROM one_time_tokens WHERE user_id = ?").bind(user)
}

/// Whether a text can be an e-mail address, of at most 254 bytes (RFC 5321).
pub(super) fn is_address(email: &str) -> bool {
    email.len() <= 254 && Format::Email.fits(email)
}
