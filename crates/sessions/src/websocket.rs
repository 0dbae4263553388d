//! WebSockets: a pair of ends, one with the object, one with whoever speaks HTTP to the client.

use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_util::StreamExt;

use crate::{Body, Error, ErrorKind, Response, Result, limits};

/// Bytes that may wait on either side; beyond, the object closes a client that does not read (its server gives up writing
/// after a while), and a client's sending fails.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// A WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "RFC 6455's names")]
pub enum Message {
    Text(String),
    Binary(Bytes),
}

impl Message {
    /// The bytes of either kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

/// How a WebSocket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code: 1005 when the peer gave none, 1006 when the connection broke.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: String,
    /// Whether the peer said goodbye.
    pub was_clean: bool,
}

impl CloseFrame {
    /// A goodbye with a code and a reason.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), was_clean: true }
    }

    /// The end of a connection that broke.
    #[must_use]
    pub fn broken() -> Self {
        let reason = "WebSocket disconnected without sending Close frame.".to_owned();
        Self { code: 1006, reason, was_clean: false }
    }

    /// Refuses what a WebSocket's `close` refuses.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a code that only the protocol may use, and for a reason over 123 bytes.
    pub fn check(&self) -> Result<()> {
        if !matches!(self.code, 1000..=1003 | 1007..=1014 | 1016..=4999) {
            let message = format!("Invalid WebSocket close code: {}.", self.code);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if self.reason.len() > limits::CLOSE_REASON_BYTES {
            let message = "WebSocket close reason must not be longer than 123 bytes when UTF-8 encoded.";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(())
    }
}

/// What travels between the two ends.
#[derive(Debug)]
enum Frame {
    Message(Message),
    Close(CloseFrame),
}

/// Makes the two ends of a WebSocket.
#[must_use]
pub fn socket_pair() -> (ClientSocket, ServerSocket) {
    let (to_server, from_client) = unbounded();
    let (to_client, from_server) = unbounded();
    let (queued, waiting) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let link = Link::default();
    let client = ClientSocket {
        link: Arc::clone(&link),
        sender: to_server,
        receiver: from_server,
        queued: Arc::clone(&queued),
        waiting: Arc::clone(&waiting),
        message_bytes: limits::MESSAGE_BYTES,
    };
    let server =
        ServerSocket { sender: ServerSender { sender: to_client, queued }, receiver: from_client, waiting, link };
    (client, server)
}

/// The client's end: what an HTTP server bridges to the network, and what a test speaks through. Dropping it breaks the
/// connection.
#[derive(Debug)]
pub struct ClientSocket {
    #[cfg_attr(not(feature = "cloudflare-binding"), allow(dead_code))]
    link: Link,
    sender: UnboundedSender<Frame>,
    receiver: UnboundedReceiver<Frame>,
    /// Bytes that the object has sent and this end has not received.
    queued: Arc<AtomicUsize>,
    /// Bytes that this end has sent and the object has not taken.
    waiting: Arc<AtomicUsize>,
    message_bytes: usize,
}

#[cfg(feature = "cloudflare-binding")]
impl ClientSocket {
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }
}

#[cfg(feature = "cloudflare-binding")]
impl ServerSocket {
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }
}

impl ClientSocket {
    /// Sets the size of the largest message, in bytes, that the object takes from the client: the HTTP server refuses a larger
    /// one by its frame's head, before it is in memory. Inside Workers the runtime's own limit stands.
    #[must_use]
    pub fn with_message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes.min(limits::MESSAGE_BYTES);
        self
    }

    /// Returns the size of the largest message, in bytes, that the object takes. Default: 32 MiB.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// Sends a message to the object.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] over 32 MiB; [`ErrorKind::Socket`] when the object's end is gone;
    /// [`ErrorKind::Overloaded`] when 64 MiB wait for the object.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        let message = message.into();
        if message.as_bytes().len() > limits::MESSAGE_BYTES {
            return Err(Error::new(ErrorKind::InvalidArgument, "a WebSocket message may have 32 MiB at most"));
        }
        let bytes = message.as_bytes().len();
        if self.waiting.fetch_add(bytes, Ordering::Relaxed) > QUEUE_BYTES {
            return Err(Error::new(ErrorKind::Overloaded, "the object is slower than its WebSocket's client"));
        }
        self.sender.unbounded_send(Frame::Message(message)).map_err(|_| gone())
    }

    /// Says goodbye; what the object answers can still be received.
    ///
    /// # Errors
    /// [`ErrorKind::Socket`] when the object's end is gone.
    pub fn close(&self, close: CloseFrame) -> Result<()> {
        self.sender.unbounded_send(Frame::Close(close)).map_err(|_| gone())
    }

    /// The object's next message, its goodbye as an error value, or `None` when its end is gone.
    pub async fn receive(&mut self) -> Option<Result<Message, CloseFrame>> {
        match self.receiver.next().await? {
            Frame::Message(message) => {
                self.queued.fetch_sub(message.as_bytes().len(), Ordering::Relaxed);
                Some(Ok(message))
            }
            Frame::Close(close) => Some(Err(close)),
        }
    }

    /// The next message that is there already.
    pub fn try_receive(&mut self) -> Option<Result<Message, CloseFrame>> {
        futures_util::FutureExt::now_or_never(self.receive()).flatten()
    }
}

/// The object's end before it is accepted: for [`SessionContext::accept_websocket`](crate::SessionContext).
#[derive(Debug)]
pub struct ServerSocket {
    sender: ServerSender,
    receiver: UnboundedReceiver<Frame>,
    waiting: Arc<AtomicUsize>,
    #[cfg_attr(not(feature = "cloudflare-binding"), allow(dead_code))]
    link: Link,
}

/// What a host that has sockets of its own leaves at the object's end for whoever takes the client's.
pub(crate) type Link = Arc<Mutex<Option<Box<dyn std::any::Any + Send>>>>;

/// The sending half of the object's end: for hosts.
#[derive(Debug, Clone)]
pub struct ServerSender {
    sender: UnboundedSender<Frame>,
    queued: Arc<AtomicUsize>,
}

impl ServerSender {
    /// Sends at once: the host holds what must wait for the output gate.
    pub fn send(&self, message: Message) {
        let waiting = self.queued.fetch_add(message.as_bytes().len(), Ordering::Relaxed);
        if waiting > QUEUE_BYTES {
            self.close(CloseFrame::new(1013, "the client does not read"));
            return;
        }
        // A client that is gone is told by its close event, not here.
        drop(self.sender.unbounded_send(Frame::Message(message)));
    }

    /// Ends without a goodbye: the connection broke.
    #[cfg(feature = "cloudflare-binding")]
    pub(crate) fn end(&self) {
        self.sender.close_channel();
    }

    /// Says goodbye.
    pub fn close(&self, close: CloseFrame) {
        drop(self.sender.unbounded_send(Frame::Close(close)));
        self.sender.close_channel();
    }
}

impl ServerSocket {
    /// Takes the end apart: for hosts.
    pub fn into_parts(self) -> (ServerSender, impl futures_core::Stream<Item = Result<Message, CloseFrame>> + Unpin) {
        let waiting = self.waiting;
        let frames = self.receiver.map(move |frame| match frame {
            Frame::Message(message) => {
                waiting.fetch_sub(message.as_bytes().len(), Ordering::Relaxed);
                Ok(message)
            }
            Frame::Close(close) => Err(close),
        });
        (self.sender, frames)
    }
}

/// A WebSocket that an object has accepted: a handle, cheap to clone.
#[derive(Clone)]
pub struct WebSocket {
    backend: Rc<dyn SocketBackend>,
}

/// What a host provides behind a [`WebSocket`].
pub trait SocketBackend {
    /// Which socket it is, unique in its object's lifetime.
    fn id(&self) -> u64;
    /// Sends once what was written before is durable.
    fn send(&self, message: Message) -> Result<()>;
    /// Says goodbye once what was written before is durable.
    fn close(&self, close: CloseFrame) -> Result<()>;
    /// The tags it was accepted with.
    fn tags(&self) -> Vec<String>;
    /// The attachment's JSON.
    fn attachment(&self) -> Option<Bytes>;
    /// Keeps an attachment across hibernation.
    fn set_attachment(&self, attachment: Option<Bytes>) -> Result<()>;
    /// When the auto-response last answered.
    fn auto_responded(&self) -> Option<DateTime<Utc>>;
}

impl WebSocket {
    /// A handle as a host makes it.
    #[must_use]
    pub fn new(backend: Rc<dyn SocketBackend>) -> Self {
        Self { backend }
    }

    /// Which socket it is, unique in its object's lifetime.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.backend.id()
    }

    /// Sends a message, once what was written before is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Socket`] after `close`.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        self.backend.send(message.into())
    }

    /// Sends a value as JSON text.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`ErrorKind::Decode`] when it is no JSON.
    pub fn send_json(&self, value: &impl serde::Serialize) -> Result<()> {
        self.send(serde_json::to_string(value)?)
    }

    /// Says goodbye; twice is no error.
    ///
    /// # Errors
    /// As [`CloseFrame::check`].
    pub fn close(&self, code: u16, reason: &str) -> Result<()> {
        let close = CloseFrame::new(code, reason);
        close.check()?;
        self.backend.close(close)
    }

    /// The tags it was accepted with.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        self.backend.tags()
    }

    /// The attachment, which survives hibernation.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when it is no `T`.
    pub fn attachment<T: serde::de::DeserializeOwned>(&self) -> Result<Option<T>> {
        self.backend.attachment().map(|json| Ok(serde_json::from_slice(&json)?)).transpose()
    }

    /// Sets the attachment, at most 16,384 bytes as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when it is larger.
    pub fn set_attachment(&self, value: &impl serde::Serialize) -> Result<()> {
        let json = serde_json::to_vec(value)?;
        if json.len() > limits::ATTACHMENT_BYTES {
            let message = format!(
                "A WebSocket 'attachment' cannot be larger than {} bytes. 'attachment' was {} bytes.",
                limits::ATTACHMENT_BYTES,
                json.len()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.backend.set_attachment(Some(json.into()))
    }

    /// When the auto-response last answered for this socket.
    #[must_use]
    pub fn auto_responded(&self) -> Option<DateTime<Utc>> {
        self.backend.auto_responded()
    }
}

impl PartialEq for WebSocket {
    fn eq(&self, other: &Self) -> bool {
        self.backend.id() == other.backend.id()
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocket({}, {:?})", self.backend.id(), self.tags())
    }
}

/// The answer to a request for a WebSocket: 101, with the client's end in it.
#[must_use]
pub fn websocket_response(client: ClientSocket) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(Slot(Arc::new(Mutex::new(Some(client)))));
    response
}

/// Takes the client's end out of a response.
pub fn take_websocket(response: &mut Response) -> Option<ClientSocket> {
    #[cfg(feature = "cloudflare-binding")]
    if let Some(client) = crate::cloudflare::bridge(response) {
        return Some(client);
    }
    take_client(response)
}

/// Takes out a client's end that was made here.
pub(crate) fn take_client(response: &mut Response) -> Option<ClientSocket> {
    let slot = response.extensions_mut().remove::<Slot>()?;
    slot.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Extensions must be `Clone`; a socket is not, so whoever takes it first has it.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<ClientSocket>>>);

fn gone() -> Error {
    Error::new(ErrorKind::Socket, "the object's end of the WebSocket is gone")
}
