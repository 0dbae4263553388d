//! Options of the e-mails of accounts.

use std::sync::Arc;

use crate::mail::MailSender;

/// Options of e-mail.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), isobar_api::mail::MailError> {
/// # #[cfg(feature = "mail")] {
/// use std::sync::Arc;
/// use isobar_api::auth::MailOptions;
/// use isobar_api::mail::FolderMailSender;
/// let sender = FolderMailSender::new("mail", "Help desk <help@example.com>")?;
/// let options = MailOptions::new(Arc::new(sender), "https://example.com/").with_service("Help desk");
/// assert_eq!(options.base_url, "https://example.com");
/// # }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MailOptions {
    /// Sender of the messages.
    pub sender: Arc<dyn MailSender>,
    /// URL of the service as browsers see it, without a final `/`. Links begin with it; it is never taken from a request, whose `Host`
    /// its sender chooses.
    pub base_url: String,
    /// Name of the service in subjects and texts. Default: the host of the URL.
    pub service: String,
}

impl MailOptions {
    /// E-mail by a sender, with links to a URL such as `https://example.com`.
    ///
    /// The URL needs no path: links are to `/dashboard/...` below it. A final `/` is removed.
    pub fn new(sender: Arc<dyn MailSender>, base_url: &str) -> Self {
        let base_url = base_url.trim_end_matches('/').to_owned();
        let service = base_url.split("://").last().unwrap_or_default().to_owned();
        Self { sender, base_url, service }
    }

    /// Sets the name of the service in subjects and texts. Default: the host of the URL.
    ///
    /// ```
    /// # use isobar_api::mail::{Mail, MailError, MailSender};
    /// # #[derive(Debug)] struct Nowhere;
    /// # #[async_trait::async_trait]
    /// # impl MailSender for Nowhere { async fn send(&self, _: &Mail) -> Result<(), MailError> { Ok(()) } }
    /// use isobar_api::auth::MailOptions;
    /// let options = MailOptions::new(std::sync::Arc::new(Nowhere), "https://desk.example.com");
    /// assert_eq!(options.service, "desk.example.com");
    /// assert_eq!(options.with_service("Help desk").service, "Help desk");
    /// ```
    #[must_use]
    pub fn with_service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }
}
