//! The revisions with sessions: `initialize`, `Mcp-Session-Id`, streams that can be resumed.
//!
//! A session is a row, so it survives the object's sleep; a user has a limited number, and a new one ends the one that was unused
//! for longest. What answers no request (notifications) goes to a stream of the session's own, `GET`. Every event has an id and
//! is stored before it is sent; a client that has lost its connection names the last id that it has seen, and gets what followed.

use futures_channel::mpsc;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rmcp::model::{ErrorData, InitializeRequestParams, ServerResult, SetLevelRequestParams};
use serde_json::{Value as Json, json};

use super::calls::CallKind;
use super::listen::URI_BYTES;
use super::response_stream::{event, events, failure, key};
use super::rules::{Incoming, WITH_SESSIONS, unknown_method};
use super::store::Session;
use super::{Asked, McpSession, StreamConsumer, accepted, failed, invalid, negotiated, parsed, too_many};
use crate::participant::Participant;
use crate::refusal::{Done, Stop};
use crate::reply::refusal;
use isobar_sessions::{Response, Result};

const SESSION: &str = "mcp-session-id";
/// The stream of what answers no request.
pub(super) const OWN_STREAM: &str = "own";

impl McpSession {
    /// Handles a message of the revisions with sessions.
    pub(super) async fn with_session(
        &self,
        who: Participant,
        incoming: Incoming,
        message: &Json,
        headers: &HeaderMap,
    ) -> Result<Response> {
        if let Incoming::Request { id, method } = &incoming
            && method == "initialize"
        {
            return self.initialize(who, id.clone(), message["params"].clone());
        }
        let session = match self.session(headers) {
            Ok(session) => session,
            Err(stop) => return stop.answered(|refused| *refused),
        };
        let asked = |id: Json| Asked {
            who: who.clone(),
            id,
            client: session.client.clone(),
            level: session.level,
            progress: message["params"]["_meta"].get("progressToken").cloned(),
            session: Some(session.clone()),
        };
        match incoming {
            Incoming::Request { id, method } => self.request(asked(id), &method, message, headers).await,
            Incoming::Notification { method } => {
                if method == "notifications/cancelled" {
                    let asked = asked(Json::Null);
                    let cancelled = self.live.borrow_mut().calls.remove(&asked.key(&message["params"]["requestId"]));
                    cancelled.into_iter().for_each(|call: futures_channel::oneshot::Sender<()>| {
                        call.send(()).ok();
                    });
                }
                Ok(accepted())
            }
            Incoming::Response { id } => {
                let waiting = self.live.borrow_mut().pending.remove(&asked(Json::Null).key(&id));
                waiting.into_iter().for_each(|waiting| drop(waiting.send(message.clone())));
                Ok(accepted())
            }
        }
    }

    /// Creates a session. The least recently used one ends where the user has as many as the limit.
    fn initialize(&self, who: Participant, id: Json, params: Json) -> Result<Response> {
        let params: InitializeRequestParams = match parsed(params) {
            Ok(params) => params,
            Err(error) => return Ok(failed(StatusCode::OK, id, error)),
        };
        let version = negotiated(&params.protocol_version);
        self.forget(&self.store.make_room()?);
        let session = self.store.create(&version, &params.capabilities)?;
        let mut about = self.options.service.about();
        about.protocol_version = version.clone();
        let client = params.capabilities;
        let session = Session { id: session, version, client: client.clone(), level: None };
        let value = HeaderValue::from_str(&session.id).expect("hexadecimal makes a header");
        let asked = Asked { who, id, session: Some(session), client, level: None, progress: None };
        let mut response = self.answered(&asked, Ok(about.into()));
        response.headers_mut().insert(SESSION, value);
        Ok(response)
    }

    /// Handles a request within a session.
    async fn request(&self, asked: Asked, method: &str, message: &Json, headers: &HeaderMap) -> Result<Response> {
        let params = message["params"].clone();
        let Some(session) = asked.session.clone() else { return Ok(accepted()) };
        let empty = || Ok(ServerResult::empty(()));
        let result = match method {
            "tools/call" => return self.call(asked, params, CallKind::Tool, headers).await,
            "prompts/get" => return self.call(asked, params, CallKind::Prompt, headers).await,
            "ping" => empty(),
            "logging/setLevel" => match parsed::<SetLevelRequestParams>(params) {
                Ok(params) => {
                    self.store.set_level(&session.id, params.level)?;
                    empty()
                }
                Err(error) => Err(error),
            },
            "resources/subscribe" | "resources/unsubscribe" => match params["uri"].as_str() {
                Some(uri) if uri.len() > URI_BYTES => Err(invalid("params.uri has 2048 bytes at most")),
                Some(uri) => {
                    if !self.store.subscribe(&session.id, uri, method == "resources/subscribe")? {
                        return Ok(too_many("you have as many subscriptions as you may have: end some"));
                    }
                    empty()
                }
                None => Err(invalid("params.uri is missing")),
            },
            _ => match self.offered(&asked, method, params).await {
                Some(result) => result,
                None => Err(unknown_method(method).1),
            },
        };
        Ok(self.answered(&asked, result))
    }

    /// `GET`: events of a stream that broke off, or of what answers no request.
    pub(super) fn resume(&self, headers: &HeaderMap) -> Result<Response> {
        if !headers.contains_key(SESSION) {
            return Ok(refusal(StatusCode::METHOD_NOT_ALLOWED, "without a session there is only POST"));
        }
        let session = match self.session(headers) {
            Ok(session) => session,
            Err(stop) => return stop.answered(|refused| *refused),
        };
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        if !accept.contains("text/event-stream") {
            return Ok(refusal(StatusCode::NOT_ACCEPTABLE, "accept text/event-stream"));
        }
        let (sender, receiver) = mpsc::unbounded();
        let last = headers.get("last-event-id").and_then(|last| last.to_str().ok());
        let last = last.and_then(|last| last.rsplit_once('.')).and_then(|(name, id)| Some((name, id.parse().ok()?)));
        let (stream, after) = last.unwrap_or((OWN_STREAM, i64::MAX));
        let key = key(&session.id, stream);
        let is_live = stream == OWN_STREAM || self.live.borrow().streams.contains_key(&key);
        if !is_live && let Some(request) = self.store.unanswered(&session.id, stream)? {
            // Its call ended with the instance: a client that waits for it gets an error.
            let why = failure(&request, "the call was interrupted by a restart: call again");
            self.store.keep(&session.id, stream, &why, true)?;
        }
        let missed = self.store.events(&session.id, stream, after)?;
        for missed in &missed {
            drop(sender.unbounded_send(event(Some((stream, missed.id)), &missed.data)));
        }
        // A stream of a call that is over has nothing more to come.
        if is_live && missed.iter().all(|missed| missed.is_last == 0) {
            let last_sent = missed.last().map(|missed| missed.id).unwrap_or_default();
            self.live.borrow_mut().streams.insert(key, StreamConsumer { sender, last_sent });
        }
        Ok(events(receiver, Some(self.stay())))
    }

    /// `DELETE`: ends the session.
    pub(super) fn end(&self, headers: &HeaderMap) -> Result<Response> {
        let session = match self.session(headers) {
            Ok(session) => session,
            Err(stop) => return stop.answered(|refused| *refused),
        };
        self.store.end(&session.id)?;
        self.forget(&[session.id]);
        let mut response = accepted();
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// Returns the session of a request. The refusal is a 400 without one, and a 404 for one that has ended, after which clients begin
    /// anew.
    fn session(&self, headers: &HeaderMap) -> Done<Session, Box<Response>> {
        let refused = |status, what: &str| {
            let error = ErrorData::invalid_request(what.to_owned(), None);
            Stop::Refused(Box::new(failed(status, Json::Null, error)))
        };
        if let Some(version) = headers.get("mcp-protocol-version")
            && !WITH_SESSIONS.iter().any(|known| known.as_str().as_bytes() == version.as_bytes())
        {
            return Err(refused(StatusCode::BAD_REQUEST, "this MCP-Protocol-Version has no sessions"));
        }
        let id = headers.get(SESSION);
        let id = id.ok_or_else(|| refused(StatusCode::BAD_REQUEST, "send Mcp-Session-Id, or begin with initialize"))?;
        let session = self.store.find(id.to_str().unwrap_or_default())?;
        session.ok_or_else(|| refused(StatusCode::NOT_FOUND, "the session has ended: begin with initialize"))
    }

    /// Notifies every session that is subscribed, and that listens or may resume its stream.
    pub(super) async fn notify_sessions(&self, method: &str, uri: Option<&str>) -> Result<()> {
        let mut params = json!({});
        uri.into_iter().for_each(|uri| params["uri"] = uri.into());
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string();
        for (session, has_events) in self.store.notified_sessions(OWN_STREAM)? {
            let key = key(&session, OWN_STREAM);
            let hears = has_events || self.live.borrow().streams.contains_key(&key);
            let wants = uri.map_or(Ok(true), |uri| self.store.is_subscribed(&session, uri))?;
            if !hears || !wants {
                continue;
            }
            let id = self.store.keep(&session, OWN_STREAM, &message, false)?;
            self.context.durable().await?;
            if let Some(consumer) = self.live.borrow_mut().streams.get_mut(&key) {
                consumer.send(OWN_STREAM, id, &message);
            }
        }
        Ok(())
    }
}
