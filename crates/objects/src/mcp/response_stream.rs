//! The answer to a request: one JSON, or, when messages precede the result, a stream of events.
//!
//! Nothing is decided when a call begins: the response is one JSON if the result is the first thing to be said, and becomes a
//! stream of events with the first message before it. A client that does not take streams gets no such messages, and the JSON.

use std::convert::Infallible;

use bytes::Bytes;
use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use rmcp::model::ProtocolVersion;
use serde_json::{Value as Json, json};

use super::{Asked, McpSession, StreamConsumer};
use crate::reply::reply;
use isobar_sessions::{Body, Response, Result, limits};

/// Bytes of an event that is kept: what a row of an object takes, less what else is in it.
const KEPT_BYTES: usize = limits::VALUE_BYTES - 4096;

/// The answer to one request.
#[derive(Debug)]
pub(super) struct ResponseStream {
    head: Option<oneshot::Sender<Response>>,
    /// Whether the client takes a stream.
    takes_events: bool,
    stream: Option<Stream>,
    /// The request's id.
    request: Json,
    /// The session, in which events are kept to be sent again.
    session: Option<StreamSession>,
    gone: Option<oneshot::Sender<()>>,
}

/// Session of a response.
#[derive(Debug)]
struct StreamSession {
    id: String,
    /// Whether its revision begins streams with an empty event.
    is_primed: bool,
}

/// The stream, once it is open.
#[derive(Debug)]
struct Stream {
    name: String,
    /// The connection of a stream without a session; with one, the session's newest connection receives it.
    sender: Option<mpsc::UnboundedSender<Bytes>>,
}

impl ResponseStream {
    /// Returns a response, the receiver of its head, and a receiver that ends when the client has gone.
    pub(super) fn new(takes_events: bool, asked: &Asked) -> (Self, oneshot::Receiver<Response>, oneshot::Receiver<()>) {
        let (head, answer) = oneshot::channel();
        let (gone, is_gone) = oneshot::channel();
        let session = asked.session.as_ref().map(|session| StreamSession {
            id: session.id.clone(),
            is_primed: session.version.as_str() >= ProtocolVersion::V_2025_11_25.as_str(),
        });
        let response =
            Self { head: Some(head), takes_events, stream: None, request: asked.id.clone(), session, gone: Some(gone) };
        (response, answer, is_gone)
    }

    /// Sends a message before the answer. Returns whether the client takes a stream.
    pub(super) async fn send(&mut self, owner: &McpSession, message: &Json) -> Result<bool> {
        if !self.takes_events {
            return Ok(false);
        }
        self.open(owner).await?;
        self.push(owner, message, false).await?;
        Ok(true)
    }

    /// The answer itself.
    pub(super) async fn finish(mut self, owner: &McpSession, status: StatusCode, message: &Json) -> Result<()> {
        if self.stream.is_some() {
            self.push(owner, message, true).await?;
            self.leave(owner);
        } else if let Some(head) = self.head.take() {
            drop(head.send(reply(status, message)));
        }
        Ok(())
    }

    /// Ends without an answer: the request was cancelled, or its session has ended.
    pub(super) fn abandon(self, owner: &McpSession) -> Result<()> {
        if let (true, Some(session), Some(stream)) = (self.leave(owner), &self.session, &self.stream) {
            owner.store.keep(&session.id, &stream.name, "", true)?; // a client that resumes it waits for nothing
        }
        Ok(())
    }

    /// Takes the stream from its consumer. Returns whether it had one.
    fn leave(&self, owner: &McpSession) -> bool {
        let (Some(session), Some(stream)) = (&self.session, &self.stream) else { return false };
        owner.live.borrow_mut().streams.remove(&key(&session.id, &stream.name)).is_some()
    }

    /// Sends the head of the response, and registers the stream, if that was not done before.
    async fn open(&mut self, owner: &McpSession) -> Result<()> {
        let (None, Some(head)) = (&self.stream, self.head.take()) else { return Ok(()) };
        let (sender, receiver) = mpsc::unbounded();
        // An older session goes on without its client; a request of the newest revision ends with it.
        let guard = self.gone.take_if(|_| self.session.is_none());
        drop(head.send(events(receiver, guard)));
        let name = hex::encode(isobar_base::random::bytes::<8>()?);
        let Some(StreamSession { id: session, is_primed }) = &self.session else {
            self.stream = Some(Stream { name, sender: Some(sender) });
            return Ok(());
        };
        owner.live.borrow_mut().streams.insert(key(session, &name), StreamConsumer { sender, last_sent: 0 });
        owner.store.begin(session, &name, &self.request)?;
        // Before anything is awaited: a call that is cancelled meanwhile ends its stream.
        self.stream = Some(Stream { name: name.clone(), sender: None });
        if *is_primed {
            let id = owner.store.keep(session, &name, "", false)?;
            owner.context.durable().await?;
            if let Some(consumer) = owner.live.borrow_mut().streams.get_mut(&key(session, &name)) {
                consumer.send(&name, id, "");
            }
        }
        Ok(())
    }

    /// Sends a message, which is durable before, so that it can be sent again. Of one that is too large to be kept a note is kept.
    async fn push(&self, owner: &McpSession, message: &Json, is_last: bool) -> Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let message = message.to_string();
        let Some(StreamSession { id: session, .. }) = &self.session else {
            stream.sender.iter().for_each(|sender| drop(sender.unbounded_send(event(None, &message))));
            return Ok(());
        };
        let kept = match (message.len() <= KEPT_BYTES, is_last) {
            (true, _) => message.clone(),
            (false, true) => failure(&self.request, "the answer was too large to be kept: call again"),
            (false, false) => String::new(),
        };
        let id = owner.store.keep(session, &stream.name, &kept, is_last)?;
        owner.context.durable().await?;
        // The client may have come back, and listens to a newer connection.
        if let Some(consumer) = owner.live.borrow_mut().streams.get_mut(&key(session, &stream.name)) {
            consumer.send(&stream.name, id, &message);
        }
        Ok(())
    }
}

/// An error of the server's, as the answer to a request.
pub(super) fn failure(request: &Json, why: &str) -> String {
    json!({"jsonrpc": "2.0", "id": request, "error": {"code": -32603, "message": why}}).to_string()
}

/// The name of a stream among those of all sessions.
pub(super) fn key(session: &str, stream: &str) -> String {
    format!("{session}/{stream}")
}

/// An event as the stream has it.
pub(super) fn event(id: Option<(&str, i64)>, data: &str) -> Bytes {
    let id = id.map(|(stream, number)| format!("id: {stream}.{number}\n")).unwrap_or_default();
    format!("{id}data: {data}\n\n").into()
}

/// An answer of events; the guard is dropped with its body.
pub(super) fn events(receiver: mpsc::UnboundedReceiver<Bytes>, guard: Option<oneshot::Sender<()>>) -> Response {
    let frames = receiver.map(move |bytes| {
        let _ = &guard;
        Ok::<_, Infallible>(Frame::data(bytes))
    });
    let mut response = Response::new(Body::wrap(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
