//! E-mail that the service sends: a trait, and what sends natively.
//!
//! Inside Workers `isobar_http_serve` sends by the `send_email` binding.

#[cfg(all(feature = "mail", not(target_arch = "wasm32")))]
mod native;

use std::fmt::{self, Debug};

use async_trait::async_trait;

#[cfg(all(feature = "mail", not(target_arch = "wasm32")))]
pub use native::{FolderMailSender, SmtpMailSender};

/// A message of plain text to one person.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// The address.
    pub to: String,
    /// The subject: one line.
    pub subject: String,
    /// The text, in lines that end with `\n`.
    pub text: String,
}

/// Without the text, which may have a link that is valid for any reader.
impl Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Mail {
    /// A message.
    pub fn new(to: impl Into<String>, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { to: to.into(), subject: subject.into(), text: text.into() }
    }
}

/// Sends e-mail, from an address of its own.
#[async_trait]
pub trait MailSender: Debug + Send + Sync {
    /// Hands a message on to be delivered.
    ///
    /// # Errors
    /// When the server, the binding or the folder did not take it. Nothing is tried again here.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// Why a message was not taken. It has neither the message nor a password in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailError(String);

impl MailError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for MailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MailError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_mail_is_not_shown() {
        let mail = Mail::new("ada@example.com", "Reset your password", "https://example.com/#secret");
        let shown = format!("{mail:?}");
        assert!(shown.contains("Reset") && !shown.contains("secret") && !shown.contains("ada@"), "{shown}");
    }
}
