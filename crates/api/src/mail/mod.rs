//! E-mail that the service sends: the trait [`MailSender`], and its native implementations (feature `mail`).
//!
//! Inside Workers `isobar_http_serve::workers::SendEmail` sends by the `send_email` binding.

#[cfg(all(feature = "mail", not(target_arch = "wasm32")))]
mod native;

use std::fmt::{self, Debug};

use async_trait::async_trait;

#[cfg(all(feature = "mail", not(target_arch = "wasm32")))]
pub use native::{FolderMailSender, SmtpMailSender};

/// A message of plain text to one address.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// Address of the recipient, as `ada@example.com`.
    pub to: String,
    /// Subject, in one line.
    pub subject: String,
    /// Text, in lines that end with `\n`.
    pub text: String,
}

/// Shows the subject only: the text may have a link that is valid for its bearer.
impl Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Mail {
    /// A message.
    ///
    /// Neither address nor subject is checked here: the sender refuses what is not valid.
    ///
    /// ```
    /// use isobar_api::mail::Mail;
    /// let mail = Mail::new("ada@example.com", "Reset your password", "https://example.com/#token\n");
    /// // Logs get the subject only.
    /// assert_eq!(format!("{mail:?}"), r#"Mail { subject: "Reset your password", .. }"#);
    /// ```
    pub fn new(to: impl Into<String>, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { to: to.into(), subject: subject.into(), text: text.into() }
    }
}

/// Sends e-mail, from an address of its own.
///
/// ```
/// use std::sync::Mutex;
/// use isobar_api::mail::{Mail, MailError, MailSender};
///
/// /// Keeps the messages, for a test.
/// #[derive(Debug, Default)]
/// struct Outbox(Mutex<Vec<Mail>>);
///
/// #[async_trait::async_trait]
/// impl MailSender for Outbox {
///     async fn send(&self, mail: &Mail) -> Result<(), MailError> {
///         self.0.lock().map_err(|error| MailError::new(error.to_string()))?.push(mail.clone());
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), MailError> {
/// let outbox = Outbox::default();
/// outbox.send(&Mail::new("ada@example.com", "Hello", "Hello, Ada.\n")).await?;
/// assert_eq!(outbox.0.lock().unwrap()[0].subject, "Hello");
/// # Ok(()) }
/// ```
#[async_trait]
pub trait MailSender: Debug + Send + Sync {
    /// Passes a message on for delivery, once: the caller repeats it or not.
    ///
    /// # Errors
    /// When the server, the binding or the folder did not accept it.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// The reason why a message was not accepted. Its text contains neither the message nor a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailError(String);

impl MailError {
    /// An error with this text.
    ///
    /// ```
    /// use isobar_api::mail::MailError;
    /// assert_eq!(MailError::new("the SMTP server is away").to_string(), "the SMTP server is away");
    /// ```
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
