//! WebSockets: a pair of ends, one with the object, one with the HTTP server of the client.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use isobar_base::sync::IgnorePoison;

use crate::pipe::{Frame, Receiver, Refused, Sender, pipe};
use crate::{Body, CloseFrame, Error, ErrorKind, Message, Response, Result, limits};

/// Bytes that may wait on either side; beyond, the object closes a client that does not read, and a client's sending fails.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that wait for the object when [`ClientSocket::ready`] holds its caller.
const WINDOW_BYTES: usize = 1024 * 1024;

/// Creates the two ends of a WebSocket: the client's, for [`websocket_response`], and the object's, for
/// [`SessionContext::accept_websocket`](crate::SessionContext::accept_websocket).
#[must_use]
pub fn socket_pair() -> (ClientSocket, ServerSocket) {
    let (to_server, from_client) = pipe(QUEUE_BYTES);
    let (to_client, from_server) = pipe(QUEUE_BYTES);
    let link = Link::default();
    let client = ClientSocket {
        link: Arc::clone(&link),
        sender: ClientSender { sender: to_server, message_bytes: limits::MESSAGE_BYTES },
        receiver: ClientReceiver(from_server),
    };
    let server = ServerSocket { sender: ServerSender { sender: to_client }, frames: ServerFrames(from_client), link };
    (client, server)
}

/// The client's end: what an HTTP server bridges to the network, and what a test speaks through. Dropping it breaks the
/// connection.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> isobar_sessions::Result<()> {
/// use isobar_sessions::{CloseFrame, Message, socket_pair};
///
/// let (mut client, server) = socket_pair();
/// let (object, _received) = server.into_parts();
/// object.send(Message::from("hello"));
/// object.close(CloseFrame::new(1000, "done"));
///
/// assert_eq!(client.receive().await, Some(Ok(Message::from("hello"))));
/// assert_eq!(client.receive().await.and_then(Result::err).map(|close| close.code), Some(1000));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ClientSocket {
    #[cfg_attr(not(feature = "cloudflare-binding"), allow(dead_code))]
    link: Link,
    sender: ClientSender,
    receiver: ClientReceiver,
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
    /// Limits the client's messages to fewer bytes: a larger one ends the connection with 1009. Default: 32 MiB, the limit of
    /// Durable Objects. Inside Workers the runtime's limit holds.
    ///
    /// ```
    /// use isobar_sessions::{ErrorKind, Message, socket_pair};
    /// let (client, _server) = socket_pair();
    /// let client = client.with_message_bytes(1024);
    /// assert_eq!(client.send("x".repeat(1025)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// assert!(client.send(Message::from("short")).is_ok());
    /// ```
    #[must_use]
    pub fn with_message_bytes(mut self, bytes: usize) -> Self {
        self.sender.message_bytes = bytes.min(limits::MESSAGE_BYTES);
        self
    }

    /// Returns the size of the largest message, in bytes, that the object takes.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.sender.message_bytes
    }

    /// Sends a message to the object.
    ///
    /// # Errors
    /// As [`ClientSender::send`].
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        self.sender.send(message)
    }

    /// Sends a close frame. What the object has sent and sends until it answers can still be received.
    ///
    /// # Errors
    /// [`ErrorKind::Socket`] when the object's end is gone.
    pub fn close(&self, close: CloseFrame) -> Result<()> {
        self.sender.close(close)
    }

    /// Waits for the next message of the object. Returns `None` once its end is gone. Dropping the future loses no message.
    ///
    /// # Errors
    /// The object's close frame, after which nothing comes.
    pub async fn receive(&mut self) -> Option<Result<Message, CloseFrame>> {
        self.receiver.receive().await
    }

    /// Returns the next message of the object if it has come already.
    ///
    /// ```
    /// use isobar_sessions::{Message, socket_pair};
    /// let (mut client, server) = socket_pair();
    /// let (object, _received) = server.into_parts();
    /// assert_eq!(client.try_receive(), None);
    /// object.send(Message::from("hello"));
    /// assert_eq!(client.try_receive(), Some(Ok(Message::from("hello"))));
    /// ```
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn try_receive(&mut self) -> Option<Result<Message, CloseFrame>> {
        futures_util::FutureExt::now_or_never(self.receive()).flatten()
    }

    /// Takes the two directions apart, for a client that reads while it writes. Dropping the sender breaks the connection.
    #[must_use]
    pub fn split(self) -> (ClientSender, ClientReceiver) {
        (self.sender, self.receiver)
    }
}

/// The sending half of the client's end.
#[derive(Debug)]
pub struct ClientSender {
    sender: Sender,
    message_bytes: usize,
}

impl ClientSender {
    /// Bytes that a message may have: 32 MiB, or what [`ClientSocket::with_message_bytes`] has set.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.message_bytes
    }

    /// Sends a message to the object.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] over [`message_bytes`](Self::message_bytes); [`ErrorKind::Socket`] when the object's
    /// end is gone; [`ErrorKind::Overloaded`] when 64 MiB wait for the object.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        let message = message.into();
        if message.as_bytes().len() > self.message_bytes {
            let message = format!("a WebSocket message may have {} bytes at most", self.message_bytes);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.sender.send(Frame::Message(message)).map_err(|refused| match refused {
            Refused::Full => Error::new(ErrorKind::Overloaded, "the object is slower than its WebSocket's client"),
            Refused::Gone => gone(),
        })
    }

    /// Waits until less than 1 MiB waits for the object, or its end is gone: a reader of a network waits here
    /// before reading on.
    pub async fn ready(&self) {
        std::future::poll_fn(|cx| self.sender.poll_below(cx, WINDOW_BYTES)).await;
    }

    /// Sends a close frame. What the object has sent and sends until it answers can still be received.
    ///
    /// # Errors
    /// [`ErrorKind::Socket`] when the object's end is gone.
    pub fn close(&self, close: CloseFrame) -> Result<()> {
        self.sender.end_with(Frame::Close(close), false).map_err(|_| gone())
    }
}

/// The receiving half of the client's end.
#[derive(Debug)]
pub struct ClientReceiver(Receiver);

impl ClientReceiver {
    /// Waits for the next message of the object. Returns `None` once its end is gone. Dropping the future loses no message.
    ///
    /// # Errors
    /// The object's close frame, after which nothing comes.
    pub async fn receive(&mut self) -> Option<Result<Message, CloseFrame>> {
        std::future::poll_fn(|cx| self.0.poll_next(cx)).await.map(parted)
    }

    /// Whether nothing follows what waits: the object has closed, was reset, or has given the client up because it does
    /// not read.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.0.is_ended()
    }
}

/// The object's end before it is accepted: for [`SessionContext::accept_websocket`](crate::SessionContext).
#[derive(Debug)]
pub struct ServerSocket {
    sender: ServerSender,
    frames: ServerFrames,
    #[cfg_attr(not(feature = "cloudflare-binding"), allow(dead_code))]
    link: Link,
}

/// A slot by which a host with sockets of its own passes its socket from the object's end to the client's.
pub(crate) type Link = Arc<Mutex<Option<Box<dyn std::any::Any + Send>>>>;

/// Sending half of the object's end, for hosts. It does not wait for the client: a host hands out what its output gate has
/// released, and what the client has not read is bounded.
#[derive(Debug, Clone)]
pub struct ServerSender {
    sender: Sender,
}

impl ServerSender {
    /// Sends at once: the host holds what must wait for the output gate. A client for which too much waits already is closed
    /// with 1013, and what waits is dropped.
    pub fn send(&self, message: Message) {
        if self.sender.send(Frame::Message(message)) == Err(Refused::Full) {
            #[cfg(feature = "tracing")]
            tracing::warn!("a WebSocket is closed with 1013: its client does not read what is sent to it");
            let close = CloseFrame::new(1013, "the client does not read");
            drop(self.sender.end_with(Frame::Close(close), true)); // it is full, so it is not gone
        }
        // That a client is gone is reported by its close event, not here.
    }

    /// Bounds what may wait for this client, and for all clients of the budget.
    #[cfg(all(any(feature = "memory", feature = "local"), not(target_arch = "wasm32")))]
    pub(crate) fn bound(&self, bytes: usize, budget: &Arc<crate::pipe::Budget>) {
        self.sender.bound(bytes, budget);
    }

    /// Ends without a close frame: the connection broke.
    #[cfg(feature = "cloudflare-binding")]
    pub(crate) fn end(&self) {
        self.sender.end();
    }

    /// Sends a close frame; nothing can be sent after it.
    pub fn close(&self, close: CloseFrame) {
        drop(self.sender.end_with(Frame::Close(close), false));
    }
}

impl ServerSocket {
    /// Takes the end apart, for hosts: what sends to the client, and the stream of its messages.
    ///
    /// # Errors
    /// The last item of the stream is the client's close frame.
    pub fn into_parts(self) -> (ServerSender, impl futures_core::Stream<Item = Result<Message, CloseFrame>> + Unpin) {
        (self.sender, self.frames)
    }
}

/// The frames that the client sends.
#[derive(Debug)]
struct ServerFrames(Receiver);

impl futures_core::Stream for ServerFrames {
    type Item = Result<Message, CloseFrame>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx).map(|frame| frame.map(parted))
    }
}

/// Converts a frame: a close frame is the error.
fn parted(frame: Frame) -> Result<Message, CloseFrame> {
    match frame {
        Frame::Message(message) => Ok(message),
        Frame::Close(close) => Err(close),
    }
}

/// WebSocket that an object has accepted: a handle, cheap to clone. It outlives the instance: when the object hibernates the
/// connection stays, and the next instance finds it in [`websockets`](crate::SessionContext::websockets), with its tags and its
/// attachment.
///
/// ```
/// use isobar_sessions::{Message, Request, Response, Result, SessionContext, SessionObject, WebSocket};
/// use isobar_sessions::{socket_pair, websocket_response};
///
/// /// Sends each message to everybody.
/// struct Room(SessionContext);
///
/// impl SessionObject for Room {
///     type Env = ();
///
///     async fn start(context: SessionContext, _: ()) -> Result<Self> {
///         Ok(Self(context))
///     }
///
///     async fn fetch(&self, request: Request) -> Result<Response> {
///         let (client, server) = socket_pair();
///         let socket = self.0.accept_websocket(server, &["member"])?;
///         socket.set_attachment(&request.uri().path())?; // kept across hibernation
///         Ok(websocket_response(client))
///     }
///
///     async fn message(&self, _: &WebSocket, message: Message) -> Result<()> {
///         for socket in self.0.websockets(Some("member")) {
///             // One that has closed meanwhile is no failure of the others.
///             drop(socket.send(message.clone()));
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone)]
pub struct WebSocket {
    backend: Rc<dyn SocketBackend>,
}

/// Operations that a host provides behind a [`WebSocket`].
///
/// A test of a handler can record what it sends, without a host:
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// use bytes::Bytes;
/// use chrono::{DateTime, Utc};
/// use isobar_sessions::{CloseFrame, Message, Result, SocketBackend, WebSocket};
///
/// #[derive(Default)]
/// struct Recorder(RefCell<Vec<Message>>);
///
/// impl SocketBackend for Recorder {
///     fn id(&self) -> u64 {
///         1
///     }
///     fn send(&self, message: Message) -> Result<()> {
///         self.0.borrow_mut().push(message);
///         Ok(())
///     }
///     fn close(&self, _: CloseFrame) -> Result<()> {
///         Ok(())
///     }
///     fn is_open(&self) -> bool {
///         true
///     }
///     fn tags(&self) -> Vec<String> {
///         Vec::new()
///     }
///     fn attachment(&self) -> Option<Bytes> {
///         None
///     }
///     fn set_attachment(&self, _: Option<Bytes>) -> Result<()> {
///         Ok(())
///     }
///     fn auto_responded(&self) -> Option<DateTime<Utc>> {
///         None
///     }
/// }
///
/// let recorder = Rc::new(Recorder::default());
/// let socket = WebSocket::new(recorder.clone());
/// socket.send_json(&[1, 2])?;
/// assert_eq!(*recorder.0.borrow(), [Message::from("[1,2]")]);
/// # Ok::<_, isobar_sessions::Error>(())
/// ```
pub trait SocketBackend {
    /// Returns the socket's number, unique in its object's lifetime.
    fn id(&self) -> u64;
    /// Sends a message once what was written before is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Socket`] after [`close`](Self::close).
    fn send(&self, message: Message) -> Result<()>;
    /// Sends a close frame once what was written before is durable.
    fn close(&self, close: CloseFrame) -> Result<()>;
    /// Returns whether neither side has closed.
    fn is_open(&self) -> bool;
    /// Returns the tags that the socket was accepted with.
    fn tags(&self) -> Vec<String>;
    /// Returns the attachment's JSON; `None` before one was set.
    fn attachment(&self) -> Option<Bytes>;
    /// Sets the attachment's JSON, which is kept across hibernation.
    fn set_attachment(&self, attachment: Option<Bytes>) -> Result<()>;
    /// Returns the time of the last auto-response; `None` before the first.
    fn auto_responded(&self) -> Option<DateTime<Utc>>;
}

impl WebSocket {
    /// Creates a handle over a backend, for hosts and tests.
    #[must_use]
    pub fn new(backend: Rc<dyn SocketBackend>) -> Self {
        Self { backend }
    }

    /// Returns the socket's number, unique in its object's lifetime; it survives hibernation.
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
    /// As [`send`](Self::send); [`ErrorKind::Decode`] when the value cannot be JSON.
    pub fn send_json(&self, value: &impl serde::Serialize) -> Result<()> {
        self.send(serde_json::to_string(value)?)
    }

    /// Closes the socket. A second close is ignored.
    ///
    /// It stays among [`websockets`](crate::SessionContext::websockets) until its client has answered; nothing can be sent any
    /// more.
    ///
    /// # Errors
    /// As [`CloseFrame::check`].
    pub fn close(&self, code: u16, reason: &str) -> Result<()> {
        let close = CloseFrame::new(code, reason);
        close.check()?;
        self.backend.close(close)
    }

    /// Whether neither side has closed: one that the object has closed stays among
    /// [`websockets`](crate::SessionContext::websockets) until its client has answered.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.backend.is_open()
    }

    /// Returns the tags that the socket was accepted with.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        self.backend.tags()
    }

    /// Returns the attachment, which survives hibernation; `None` before one was set.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the attachment is not a `T`.
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

    /// Returns the time at which the auto-response last answered this socket's client; `None` before the first.
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

/// Creates the response to an upgrade: 101, with the client's end in it.
#[must_use]
pub fn websocket_response(client: ClientSocket) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(Slot(Arc::new(Mutex::new(Some(client)))));
    response
}

/// Takes out a client's end that was made here.
pub(crate) fn take_client(response: &mut Response) -> Option<ClientSocket> {
    let slot = response.extensions_mut().remove::<Slot>()?;
    slot.0.lock().ignore_poison().take()
}

/// Extensions must be `Clone`; a socket is not, so the first that takes it has it.
#[derive(Clone)]
struct Slot(Arc<Mutex<Option<ClientSocket>>>);

/// The error of sending to an end that is gone.
fn gone() -> Error {
    Error::new(ErrorKind::Socket, "the object's end of the WebSocket is gone")
}
