//! The sockets of one object: received frames, and messages that are sent.
//!
//! The host reads each socket in a task of its own, and hands the object one event at a time, in the order of arrival. What the
//! object has not handled is bounded by bytes for all its sockets together: a client that is quicker than the object is not read
//! for a while, and so slows down, by TCP, rather than being closed. A text that is set as auto-response is answered here, and
//! wakes nobody.

use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;

use super::socket::{Outgoing, Socket, SocketEvent};
use super::state::ObjectState;
use crate::{
    CloseFrame, Error, ErrorKind, Message, Result, ServerSocket, SessionObject, SocketBackend, SocketDetails,
    WebSocket, limits,
};

/// Events in flight beyond which an object's sockets wait.
const MESSAGES_IN_FLIGHT: usize = 256;
/// Longest pause of a socket between two looks: a host that has given up draining tells nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl SocketEvent {
    /// Runs the object's handler for it; what has ended is forgotten then.
    pub(super) async fn handle<O: SessionObject>(self, object: &O, state: &ObjectState) -> Result<()> {
        match self {
            Self::Message(socket, message) => object.message(&socket, message).await,
            Self::Closed(socket, close) => {
                let result = object.closed(&socket, close).await;
                state.forget_socket(&socket);
                result
            }
        }
    }
}

impl ObjectState {
    /// Takes a socket over, and listens to it from now on.
    pub(super) fn accept(&self, socket: ServerSocket, tags: Vec<String>) -> Result<WebSocket> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        if self.sockets.borrow().len() >= limits::SOCKETS {
            let message = format!("an object may have {} WebSockets at most", limits::SOCKETS);
            return Err(Error::new(ErrorKind::Overloaded, message));
        }
        let Some(this) = self.this.upgrade() else {
            return Err(Error::new(ErrorKind::Internal, "the object is being dropped"));
        };
        let id = self.next_socket.get() + 1;
        self.next_socket.set(id);
        let (sender, frames) = socket.into_parts();
        sender.bound(self.shared.socket_bytes, &self.shared.outgoing);
        let entry = Socket { sender, tags, attachment: None, auto_responded: None, closed: false, ended: false };
        self.sockets.borrow_mut().insert(id, entry);
        tokio::task::spawn_local(this.pump(id, frames));
        Ok(self.socket(id))
    }

    /// The sockets whose end has not been handled, of one tag or all: one that the object has closed until its client answers.
    pub(super) fn accepted_sockets(&self, tag: Option<&str>) -> Vec<WebSocket> {
        let sockets = self.sockets.borrow();
        let tagged = |socket: &Socket| tag.is_none_or(|tag| socket.tags.iter().any(|one| one == tag));
        // As workerd: the newest first.
        let found = sockets.iter().rev().filter(|(_, socket)| tagged(socket));
        found.map(|(id, _)| self.socket(*id)).collect()
    }

    /// The sockets whose end has not been handled, in the order of their numbers.
    pub(super) fn socket_details(&self) -> Vec<SocketDetails> {
        let sockets = self.sockets.borrow();
        let details = |(id, socket): (&u64, &Socket)| SocketDetails {
            id: *id,
            tags: socket.tags.clone(),
            attachment: socket.attachment.clone(),
            auto_responded: socket.auto_responded,
            is_open: !socket.closed && !socket.ended,
        };
        sockets.iter().map(details).collect()
    }

    /// Tells every client that the host goes away.
    pub(super) fn go_away(&self) {
        for socket in self.sockets.borrow().values().filter(|socket| !socket.closed) {
            socket.sender.close(CloseFrame::new(1001, "the server is shutting down"));
        }
    }

    /// Creates a handle of a socket.
    fn socket(&self, id: u64) -> WebSocket {
        WebSocket::new(Rc::new(SocketHandle { state: self.this.clone(), id }))
    }

    /// Carries a socket's frames to the object, in order, until it ends.
    async fn pump(
        self: Rc<Self>,
        id: u64,
        mut frames: impl futures_core::Stream<Item = Result<Message, CloseFrame>> + Unpin,
    ) {
        let close = loop {
            match frames.next().await {
                Some(Ok(message)) => {
                    if self.auto_respond(id, &message) {
                        continue;
                    }
                    // A client that is quicker than the object waits in its channel, which has a bound.
                    let bytes = message.as_bytes().len();
                    self.wait_while(|state| {
                        state.shared.pauses.load(Ordering::SeqCst) > 0
                            || state.in_flight() >= MESSAGES_IN_FLIGHT
                            || (state.incoming.get() > 0 && state.incoming.get() + bytes > state.shared.incoming_bytes)
                    })
                    .await;
                    self.deliver(SocketEvent::Message(self.socket(id), message)).await;
                    tokio::task::yield_now().await; // others of the thread go before this client's next message
                }
                Some(Err(close)) => break close,
                None => break CloseFrame::broken(),
            }
        };
        let is_known = self.sockets.borrow_mut().get_mut(&id).map(|socket| socket.ended = true).is_some();
        if is_known {
            self.deliver(SocketEvent::Closed(self.socket(id), close)).await;
        }
    }

    /// Waits while this holds, and looks again whenever an event of the object ends, and now and then.
    async fn wait_while(&self, holds: impl Fn(&Self) -> bool) {
        while self.broken().is_none() && holds(self) {
            drop(tokio::time::timeout(LOOK_AGAIN, self.event_ended.notified()).await);
        }
    }

    /// Hands an event to the object, once it may be awake.
    async fn deliver(&self, event: SocketEvent) {
        let dispatch = self.dispatch.borrow().clone();
        if let Some(dispatch) = dispatch {
            dispatch(event).await;
        }
    }

    /// Answers a message that has an auto-response. Returns whether it has one.
    fn auto_respond(&self, id: u64, message: &Message) -> bool {
        let pair = self.auto_response.borrow();
        let Some((request, response)) = &*pair else { return false };
        if !matches!(message, Message::Text(text) if text == request) {
            return false;
        }
        if let Some(socket) = self.sockets.borrow_mut().get_mut(&id) {
            socket.auto_responded = Some(Utc::now());
            socket.sender.send(Message::Text(response.clone()));
        }
        true
    }

    /// Forgets a socket whose end has been handled; what was sent to it before still leaves with the turn.
    pub(super) fn forget_socket(&self, socket: &WebSocket) {
        if let Some(socket) = self.sockets.borrow_mut().remove(&socket.id())
            && !socket.closed
        {
            let close = Outgoing::Close(CloseFrame::new(1000, ""));
            self.outbox.borrow_mut().push((socket.sender, close));
        }
    }
}

/// Handle of a socket, which is in its object's state.
struct SocketHandle {
    state: Weak<ObjectState>,
    id: u64,
}

impl SocketHandle {
    fn with<T>(&self, work: impl FnOnce(&ObjectState, &mut Socket) -> T) -> Option<T> {
        let state = self.state.upgrade()?;
        let mut sockets = state.sockets.borrow_mut();
        sockets.get_mut(&self.id).map(|socket| work(&state, socket))
    }
}

impl SocketBackend for SocketHandle {
    fn id(&self) -> u64 {
        self.id
    }

    fn send(&self, message: Message) -> Result<()> {
        let closed = || Error::new(ErrorKind::Socket, "Can't call WebSocket send() after close().");
        self.with(|state, socket| {
            if socket.closed {
                return Err(closed());
            }
            state.outbox.borrow_mut().push((socket.sender.clone(), Outgoing::Message(message)));
            Ok(())
        })
        .unwrap_or_else(|| Err(closed()))
    }

    fn close(&self, close: CloseFrame) -> Result<()> {
        self.with(|state, socket| {
            if !std::mem::replace(&mut socket.closed, true) {
                state.outbox.borrow_mut().push((socket.sender.clone(), Outgoing::Close(close)));
            }
        });
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.with(|_, socket| !socket.closed && !socket.ended).unwrap_or_default()
    }

    fn tags(&self) -> Vec<String> {
        self.with(|_, socket| socket.tags.clone()).unwrap_or_default()
    }

    fn attachment(&self) -> Option<Bytes> {
        self.with(|_, socket| socket.attachment.clone()).flatten()
    }

    fn set_attachment(&self, attachment: Option<Bytes>) -> Result<()> {
        self.with(|_, socket| socket.attachment = attachment);
        Ok(())
    }

    fn auto_responded(&self) -> Option<DateTime<Utc>> {
        self.with(|_, socket| socket.auto_responded).flatten()
    }
}
