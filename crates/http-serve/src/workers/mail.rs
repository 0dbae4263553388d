//! E-mail from inside a Worker: the `send_email` binding.
//!
//! Cloudflare accepts a message for delivery or refuses it; what becomes of it later shows in the
//! dashboard. The sender's domain has to be one of the account's, with Email Service enabled.

use async_trait::async_trait;
use isobar_api::mail::{Mail, MailError, MailSender};
use isobar_cloudflare::binding::{Object, send};

/// Sends by a `send_email` binding of Cloudflare's Email Service.
#[derive(Debug, Clone)]
pub struct SendEmail {
    binding: Object,
    from: Option<String>,
}

impl SendEmail {
    /// Returns a sender by this binding, from this address. Without one each message fails, and says
    /// what is missing.
    #[must_use]
    pub fn new(binding: Object, from: Option<String>) -> Self {
        Self { binding, from }
    }
}

#[async_trait]
impl MailSender for SendEmail {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let from = self.from.as_deref();
        let from =
            from.ok_or_else(|| MailError::new("the var MAIL_FROM is missing: the address that e-mail is sent from"))?;
        let message = Object::empty().with("from", from).with("to", mail.to.as_str());
        let message = message.with("subject", mail.subject.as_str()).with("text", mail.text.as_str());
        let binding = self.binding.clone();
        let arguments = [message.into()];
        let sent =
            send(async move { binding.ask("send", &arguments).await.map(drop).map_err(|error| error.to_string()) });
        sent.await.map_err(|error| MailError::new(format!("the binding did not take the message: {error}")))
    }
}
