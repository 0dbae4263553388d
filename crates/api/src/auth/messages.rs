//! E-mails of accounts: their texts.

use super::{Auth, MailOptions};
use crate::Problem;
use crate::mail::Mail;

/// The occasion of an e-mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// A link that confirms the address of a new account.
    Confirm { token: &'a str },
    /// A link that confirms the new address of an account.
    ConfirmNew { token: &'a str },
    /// A link to a new password.
    Reset { token: &'a str },
    /// A link into a tenant.
    Invitation { token: &'a str, tenant: &'a str, by: &'a str },
    /// A notice: the password was changed.
    PasswordChanged,
    /// A notice to the old address: a change was requested.
    AddressChanging { to: &'a str },
    /// A notice to the old address: it was changed.
    AddressChanged { to: &'a str },
}

impl Message<'_> {
    fn mail(self, options: &MailOptions, to: &str) -> Mail {
        let MailOptions { base_url, service, .. } = options;
        // In the fragment: a server's log never has it.
        let link = |page: &str, token: &str| format!("{base_url}/dashboard/{page}#{token}");
        let forgot = format!("{base_url}/dashboard/forgot");
        let (subject, text) = match self {
            Self::Confirm { token } => (
                format!("Confirm your e-mail address for {service}"),
                format!(
                    "Confirm that this is your e-mail address:\n\n{}\n\nThe link is valid for 24 hours. If you did not sign up \
                     for {service}, ignore this message.\n",
                    link("verify", token)
                ),
            ),
            Self::ConfirmNew { token } => (
                format!("Confirm your new e-mail address for {service}"),
                format!(
                    "Confirm that this is the new e-mail address of your account:\n\n{}\n\nThe link is valid for 24 hours. If you \
                     did not ask for it, ignore this message: nothing changes.\n",
                    link("verify", token)
                ),
            ),
            Self::Reset { token } => (
                format!("Reset your {service} password"),
                format!(
                    "Choose a new password:\n\n{}\n\nThe link is valid for one hour and works once. If you did not ask for it, \
                     ignore this message: your password has not changed.\n",
                    link("reset", token)
                ),
            ),
            Self::Invitation { token, tenant, by } => (
                format!("{} invites you to {} on {service}", one_line(by), one_line(tenant)),
                format!(
                    "{} invites you to join {}:\n\n{}\n\nThe link is valid for a week and works once.\n",
                    one_line(by),
                    one_line(tenant),
                    link("join", token)
                ),
            ),
            Self::PasswordChanged => (
                format!("Your {service} password was changed"),
                format!(
                    "The password of your account was changed, and its other sessions were signed out. If it was not you, reset \
                     the password now:\n\n{forgot}\n"
                ),
            ),
            Self::AddressChanging { to } => (
                format!("A new e-mail address was requested for your {service} account"),
                format!(
                    "A change of your account's e-mail address to {to} was requested by a signed-in user. If it was not you, \
                     reset your password now:\n\n{forgot}\n"
                ),
            ),
            Self::AddressChanged { to } => (
                format!("The e-mail address of your {service} account was changed"),
                format!("The e-mail address of your account is now {to}.\n"),
            ),
        };
        Mail::new(to, subject, text)
    }
}

/// Returns a name in one line: users choose names, which must not add lines to a message.
fn one_line(name: &str) -> String {
    name.chars().map(|it| if it.is_control() { ' ' } else { it }).take(100).collect()
}

impl Auth {
    /// The options of e-mail.
    ///
    /// # Errors
    /// 501 where none is configured.
    pub(super) fn mail(&self) -> Result<&MailOptions, Problem> {
        self.options().mail.as_ref().ok_or_else(|| {
            Problem::new(http::StatusCode::NOT_IMPLEMENTED).with_detail("this service is not configured to send e-mail")
        })
    }

    /// Sends a message. A failure is logged, without the message.
    pub(super) async fn notify(&self, to: &str, message: Message<'_>) {
        let Some(options) = &self.options().mail else { return };
        if let Err(error) = options.sender.send(&message.mail(options, to)).await {
            tracing::error!(%error, "an e-mail was not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Never;

    #[async_trait::async_trait]
    impl crate::mail::MailSender for Never {
        async fn send(&self, _: &Mail) -> Result<(), crate::mail::MailError> {
            Err(crate::mail::MailError::new("never"))
        }
    }

    #[test]
    fn a_name_adds_no_line_to_a_message() {
        let options = MailOptions::new(std::sync::Arc::new(Never), "https://example.com/").with_service("isobar");
        let message = Message::Invitation { token: "t", tenant: "Acme\r\nBcc: x", by: "Eve\n\nhttps://evil.example" };
        let mail = message.mail(&options, "ada@example.com");
        assert!(!mail.subject.contains(['\r', '\n']), "{}", mail.subject);
        assert!(mail.text.contains("https://example.com/dashboard/join#t"), "{}", mail.text);
        assert!(!mail.text.lines().any(|line| line.starts_with("https://evil")), "{}", mail.text);
    }
}
