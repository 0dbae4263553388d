//! E-mail natively: by SMTP, or into a folder for development. Messages are made by `lettre`.

use std::fmt::{self, Debug};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox, Message};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::{Mail, MailError, MailSender};
use crate::id::new_id;

/// Time limit of one SMTP command.
const PATIENCE: Duration = Duration::from_secs(30);
/// Number of messages in a folder; older ones are deleted.
const KEPT: usize = 1000;

/// Sends by SMTP over TLS (rustls).
///
/// ```
/// use isobar_api::mail::SmtpMailSender;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let sender = SmtpMailSender::new("smtps://user:password@mail.example.com", "Help desk <help@example.com>");
/// assert!(sender.is_ok());
/// // Messages and passwords are not sent in clear text.
/// assert!(SmtpMailSender::new("smtp://user:password@mail.example.com", "help@example.com").is_err());
/// # }
/// ```
#[derive(Clone)]
pub struct SmtpMailSender {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Debug for SmtpMailSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailSender").field("from", &self.from).finish_non_exhaustive()
    }
}

impl SmtpMailSender {
    /// A sender that uses the server of a URL, with a sender address (`Name <address>` or an address).
    ///
    /// `smtps://USER:PASSWORD@HOST` uses TLS from the start (port 465), `smtp://USER:PASSWORD@HOST?tls=required` uses STARTTLS (port
    /// 587). Without TLS only a server on this machine is accepted. The time limit of a command is 30 s.
    ///
    /// # Errors
    /// When the URL or the address is not valid, or the URL names another host without TLS.
    pub fn new(url: &str, from: &str) -> Result<Self, MailError> {
        if url.starts_with("smtp://") && !url.contains("tls=required") && !is_local(url) {
            return Err(MailError::new(
                "the message would be sent in clear text: use smtps://, or smtp:// with ?tls=required",
            ));
        }
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|error| MailError::new(format!("the SMTP URL is not valid: {error}")))?;
        Ok(Self { transport: transport.timeout(Some(PATIENCE)).build(), from: mailbox(from)? })
    }
}

fn is_local(url: &str) -> bool {
    let authority = url.trim_start_matches("smtp://").split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|local| host.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
}

#[async_trait]
impl MailSender for SmtpMailSender {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = message(&self.from, mail, Body::new(mail.text.clone()))?;
        let sent = self.transport.send(message).await;
        sent.map(drop).map_err(|error| MailError::new(format!("the SMTP server refused the message: {error}")))
    }
}

/// Writes messages into a folder as `.eml` files, for development; mail programs open them.
///
/// The folder keeps the newest 1,000 messages. The folder and the files are readable by their owner only (modes 0700 and 0600),
/// because the messages contain valid links.
///
/// ```
/// use isobar_api::mail::{FolderMailSender, Mail, MailSender};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let sender = FolderMailSender::new(folder.path().join("mail"), "Help desk <help@example.com>")?;
/// sender.send(&Mail::new("ada@example.com", "Hello", "Hello, Ada.\n")).await?;
/// assert_eq!(std::fs::read_dir(folder.path().join("mail"))?.count(), 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct FolderMailSender {
    folder: PathBuf,
    from: Mailbox,
}

impl FolderMailSender {
    /// A sender into a folder, which the first message creates.
    ///
    /// # Errors
    /// When the address is not valid.
    pub fn new(folder: impl Into<PathBuf>, from: &str) -> Result<Self, MailError> {
        Ok(Self { folder: folder.into(), from: mailbox(from)? })
    }
}

#[async_trait]
impl MailSender for FolderMailSender {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let bytes = message(&self.from, mail, plain(&mail.text))?.formatted();
        let folder = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || write(&folder, &bytes)).await;
        let failed = |error: &dyn fmt::Display| {
            MailError::new(format!("a message was not written to {}: {error}", self.folder.display()))
        };
        written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

fn write(folder: &Path, bytes: &[u8]) -> std::io::Result<()> {
    isobar_base::fs::private_dir().recursive(true).create(folder)?;
    // Named by time, so that they sort.
    let id = new_id().map_err(std::io::Error::other)?;
    let path = folder.join(format!("{id}.eml"));
    let mut file = isobar_base::fs::private_file().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    prune(folder)
}

fn prune(folder: &Path) -> std::io::Result<()> {
    let is_mail = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "eml");
    let mut files: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|it| it.path())).collect::<Result<_, _>>()?;
    files.retain(is_mail);
    files.sort();
    for old in &files[..files.len().saturating_sub(KEPT)] {
        match std::fs::remove_file(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn mailbox(address: &str) -> Result<Mailbox, MailError> {
    address.parse().map_err(|error| MailError::new(format!("{address:?} is not an e-mail address: {error}")))
}

/// The unencoded text, so that links in the file stay whole: `lettre` would break lines of more than 76 characters by
/// quoted-printable.
fn plain(text: &str) -> Body {
    let encoding = if text.is_ascii() { ContentTransferEncoding::SevenBit } else { ContentTransferEncoding::EightBit };
    Body::dangerous_pre_encoded(text.replace('\n', "\r\n").into_bytes(), encoding)
}

fn message(from: &Mailbox, mail: &Mail, body: Body) -> Result<Message, MailError> {
    let made = Message::builder()
        .from(from.clone())
        .to(mailbox(&mail.to)?)
        .subject(&mail.subject)
        .header(ContentType::TEXT_PLAIN)
        .body(body);
    made.map_err(|error| MailError::new(format!("a message could not be made: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn folder_and_its_messages_are_readable_by_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let mails = folder.path().join("mail");
        let sender = FolderMailSender::new(&mails, "isobar <noreply@example.com>").unwrap();
        let link = format!("https://example.com/dashboard/verify#{}", "t".repeat(60));
        let mail = Mail::new("ada@example.com", "Größe", format!("Für dich.\n\n{link}\n"));
        sender.send(&mail).await.unwrap();
        let file = std::fs::read_dir(&mails).unwrap().next().unwrap().unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("To: ada@example.com\r\n") && text.lines().any(|line| line == link), "{text}");
        assert!(text.contains("Subject: =?utf-8?b?") && text.contains("From: "), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&mails), mode(&file)), (0o700, 0o600));
        }
        // A line break in a header is not one.
        let evil = Mail::new("ada@example.com\r\nBcc: eve@example.com", "x", "y");
        assert!(sender.send(&evil).await.is_err());
        sender.send(&Mail::new("ada@example.com", "x\r\nBcc: eve@example.com", "y")).await.unwrap();
        for file in std::fs::read_dir(&mails).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{text}");
        }
    }

    #[test]
    fn folder_keeps_the_newest_messages() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..KEPT + 5 {
            std::fs::write(folder.path().join(format!("{number:05}.eml")), "x").unwrap();
        }
        std::fs::write(folder.path().join("00000.txt"), "not ours").unwrap();
        prune(folder.path()).unwrap();
        assert!(!folder.path().join("00004.eml").exists() && folder.path().join("00005.eml").exists());
        assert!(folder.path().join("00000.txt").exists());
    }

    #[tokio::test]
    async fn smtp_without_tls_is_accepted_for_this_machine_only() {
        let from = "noreply@example.com";
        assert!(SmtpMailSender::new("smtp://user:password@mail.example.com", from).is_err());
        assert!(SmtpMailSender::new("smtp://localhost.example.com", from).is_err());
        for url in [
            "smtps://user:p%40ss@mail.example.com",
            "smtp://u:p@mail.example.com?tls=required",
            "smtp://127.0.0.1:2525",
        ] {
            let sender = SmtpMailSender::new(url, from).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert!(!format!("{sender:?}").contains("p@ss"));
        }
        assert!(SmtpMailSender::new("smtps://mail.example.com", "nobody").is_err());
    }

    #[tokio::test]
    async fn message_is_sent_by_smtp() {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(b"220 test\r\n").await.unwrap();
            let mut all = Vec::new();
            let mut data = false;
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = match (&line[..line.len().min(4)], data) {
                    (_, true) if line == "." => {
                        data = false;
                        "250 taken\r\n"
                    }
                    (_, true) => "",
                    ("EHLO", _) => "250 test\r\n",
                    ("DATA", _) => {
                        data = true;
                        "354 go on\r\n"
                    }
                    ("QUIT", _) => "221 bye\r\n",
                    _ => "250 ok\r\n",
                };
                all.push(line);
                writer.write_all(answer.as_bytes()).await.unwrap();
                if all.last().is_some_and(|line| line == ".") {
                    break;
                }
            }
            all
        });
        let sender = SmtpMailSender::new(&url, "isobar <noreply@example.com>").unwrap();
        sender.send(&Mail::new("ada@example.com", "Hello", "The text.\n")).await.unwrap();
        let lines = server.await.unwrap();
        for expected in ["MAIL FROM:<noreply@example.com>", "RCPT TO:<ada@example.com>", "Subject: Hello", "The text."]
        {
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected}: {lines:?}");
        }
    }
}
