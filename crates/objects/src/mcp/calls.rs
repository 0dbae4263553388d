//! Calls of tools and prompts: their progress, their elicitations, their ends.
//!
//! A call is a task that outlives its request: a tool may run for minutes, and in the revisions with sessions its client may come
//! back for the answer. It ends when the tool has answered, when the client cancels it (by a message within a session, else by
//! closing the stream), or when its user is revoked.
//!
//! **Elicitation.** A tool that needs input returns what it needs. A client of the newest revision gets that as the result of its
//! call, calls again with the answers, and sends back the tool's state, which is sealed for this tool and this user. For older
//! clients the object itself sends the questions on the call's stream, waits for at most 5 minutes for each, and calls the tool
//! again with the answers. So a tool is written once, for all of them. A call has at most 10 rounds.

use std::time::Duration;

use futures_channel::{mpsc, oneshot};
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt, pin_mut, select_biased};
use http::HeaderMap;
use rmcp::model::{
    CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, ErrorData, GetPromptResponse, InputRequest,
    InputRequests, InputRequiredResult, InputResponses, JsonObject, LoggingLevel, SealOptions, ServerResult,
};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::response_stream::ResponseStream;
use super::service::Report;
use super::{Asked, McpCall, McpSession, Reporter, invalid, parsed, rules, takes_events, too_many};
use crate::refusal::{Done, Stop};
use crate::time::within;
use isobar_sessions::{Response, Result};

/// Time that a client has to answer an elicitation.
const PATIENCE: Duration = Duration::from_secs(300);
/// Validity of the state that a tool has left for itself.
const STATE_FOR: Duration = Duration::from_secs(3600);
/// Elicitations of one call.
const ROUNDS: usize = 10;

/// Kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Tool,
    Prompt,
}

/// Parameters of a call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    name: String,
    #[serde(default)]
    arguments: JsonObject,
    #[serde(default)]
    input_responses: Option<InputResponses>,
    request_state: Option<String>,
}

/// How far a call has come.
#[allow(clippy::large_enum_variant, reason = "there is one of it at a time")]
enum Outcome {
    Done(ServerResult),
    NeedsInput(InputRequiredResult),
}

impl McpSession {
    /// Starts a call. Its answer is a stream when messages precede the result.
    pub(super) async fn call(
        &self,
        asked: Asked,
        params: Json,
        kind: CallKind,
        headers: &HeaderMap,
    ) -> Result<Response> {
        if self.live.borrow().in_flight.len() >= self.options.limits.calls as usize {
            return Ok(too_many("you have too many calls in flight: wait for some"));
        }
        let call = match self.prepared(&asked, params) {
            Ok(call) => call,
            Err(stop) => return stop.answered(|error| self.answered(&asked, Err(error))),
        };
        let key = asked.key(&asked.id);
        if asked.session.is_some() && self.live.borrow().calls.contains_key(&key) {
            return Ok(self.answered(&asked, Err(invalid("a call with this id is in flight"))));
        }
        let (response, answer, is_gone) = ResponseStream::new(takes_events(headers), &asked);
        let (cancel, is_cancelled) = oneshot::channel();
        if asked.session.is_some() {
            // Without a session a call is cancelled by the end of its stream, and not by a message.
            self.live.borrow_mut().calls.insert(key, cancel);
        }
        let this = self.clone();
        let (number, is_revoked) = self.enlist();
        self.context.wait_until(async move {
            let has_session = asked.session.is_some();
            // Either way its sender is gone, or says so.
            let ended = async {
                let ended = async { if has_session { is_cancelled.await } else { is_gone.await }.ok() };
                pin_mut!(ended);
                select(ended, is_revoked).await;
            };
            let _enlisted = Enlisted { session: &this, number };
            if let Err(error) = this.run(call, kind, &asked, response, ended).await {
                this.context.abort(&error.to_string()); // what was to be kept was not
            }
        });
        // Without an answer the call was cancelled: its client waits for none.
        Ok(answer.await.unwrap_or_else(|_| super::accepted()))
    }

    /// Counts a call in flight. Returns its number, and a receiver that ends when its user is revoked.
    fn enlist(&self) -> (u64, oneshot::Receiver<()>) {
        let (end, is_revoked) = oneshot::channel();
        let mut live = self.live.borrow_mut();
        live.last_call += 1;
        let number = live.last_call;
        live.in_flight.insert(number, end);
        (number, is_revoked)
    }

    /// Parses the parameters of a call, and opens the state that its tool has left.
    ///
    /// # Errors
    /// Refused: invalid parameters, and a state that was made for another tool or user, or an hour ago.
    fn prepared(&self, asked: &Asked, params: Json) -> Done<McpCall, ErrorData> {
        let params: Params = parsed(params).map_err(Stop::Refused)?;
        let mut call = McpCall::new(asked.who.clone(), params.name, params.arguments, asked.client.clone());
        call.inputs = params.input_responses.unwrap_or_default();
        if let Some(sealed) = params.request_state {
            let state = self.codec()?.open_with(&sealed, self.bound_to(&call).as_bytes());
            let Some(state) = state.ok().and_then(|state| String::from_utf8(state).ok()) else {
                return Err(Stop::Refused(invalid("params.requestState is invalid or has expired")));
            };
            call.state = Some(state);
        }
        Ok(call)
    }

    /// Returns the data that a tool's state is sealed with: it is opened for the same tool and the same user alone.
    fn bound_to(&self, call: &McpCall) -> String {
        json!([call.caller.user, call.name]).to_string()
    }

    /// Runs a call to its end, or until `ended` is done.
    async fn run(
        &self,
        call: McpCall,
        kind: CallKind,
        asked: &Asked,
        mut response: ResponseStream,
        ended: impl Future,
    ) -> Result<()> {
        let done = {
            let work = self.complete(call, kind, asked, &mut response);
            pin_mut!(work, ended);
            match select(work, ended).await {
                Either::Left((done, _)) => Some(done),
                Either::Right(_) => None,
            }
        };
        // The canceller has removed the call, and its id may be another call's by now.
        let Some(done) = done else { return response.abandon(self) };
        let result = match done {
            Ok(result) => Ok(result),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Failed(error)) => return Err(error),
        };
        // From here on there is nothing to cancel. Before anything is awaited: the id is free for another call then.
        self.live.borrow_mut().calls.remove(&asked.key(&asked.id));
        let (status, message) = self.shaped(asked, result);
        response.finish(self, status, &message).await
    }

    /// Calls until the tool needs no more input of an older client; a client of the newest revision gets the elicitation as result.
    async fn complete(
        &self,
        mut call: McpCall,
        kind: CallKind,
        asked: &Asked,
        response: &mut ResponseStream,
    ) -> Done<ServerResult, ErrorData> {
        let bound = self.bound_to(&call);
        for _ in 0..ROUNDS {
            let input = match self.perform(&call, kind, asked, response).await? {
                Outcome::Done(result) => return Ok(result),
                Outcome::NeedsInput(input) => input,
            };
            if let Err(error) = check_capabilities(&asked.client, input.input_requests.as_ref()) {
                return match &asked.session {
                    Some(_) => without_input(kind, &error.message),
                    None => Err(Stop::Refused(error)),
                };
            }
            if asked.session.is_none() {
                return Ok(self.sealed(input, &bound)?.into());
            }
            match self.elicit(asked, &input, response).await {
                Ok(inputs) => call.inputs = inputs,
                Err(Stop::Refused(why)) => return without_input(kind, &why),
                Err(Stop::Failed(error)) => return Err(error.into()),
            }
            call.state = input.request_state;
        }
        without_input(kind, "the tool asked for input too often")
    }

    /// Calls once, and passes its reports on meanwhile.
    async fn perform(
        &self,
        call: &McpCall,
        kind: CallKind,
        asked: &Asked,
        response: &mut ResponseStream,
    ) -> Done<Outcome, ErrorData> {
        let (sender, mut reports) = mpsc::unbounded();
        let call = McpCall { reporter: Reporter(Some(sender)), ..call.clone() };
        let service = self.options.service.clone();
        let work = async move {
            match kind {
                CallKind::Tool => service.call(call).await.and_then(tool_outcome),
                CallKind::Prompt => service.prompt(call).await.and_then(prompt_outcome),
            }
        }
        .fuse();
        pin_mut!(work);
        loop {
            select_biased! {
                report = reports.select_next_some() => self.report(report, asked, response).await?,
                outcome = work => {
                    while let Ok(report) = reports.try_recv() {
                        self.report(report, asked, response).await?;
                    }
                    return outcome.map_err(Stop::Refused);
                }
            }
        }
    }

    /// Sends a report of a call to its client, as far as the client has asked for it.
    async fn report(&self, report: Report, asked: &Asked, response: &mut ResponseStream) -> Result<()> {
        let message = match report {
            Report::Progress { progress, total, message } => {
                let Some(token) = &asked.progress else { return Ok(()) };
                let mut params = json!({"progressToken": token, "progress": number(progress)});
                total.into_iter().for_each(|total| params["total"] = number(total));
                message.into_iter().for_each(|message| params["message"] = message.into());
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
            }
            Report::Log { level, logger, data } => {
                let asked_for = match &asked.session {
                    Some(session) => Some(session.level.unwrap_or(LoggingLevel::Info)),
                    None => asked.level,
                };
                if !rules::is_sent(level, asked_for) {
                    return Ok(());
                }
                let mut params = json!({"level": level, "data": data});
                logger.into_iter().for_each(|logger| params["logger"] = logger.into());
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params})
            }
            Report::Changed(change) => return self.changed(&change).await,
        };
        response.send(self, &message).await.map(drop)
    }

    /// Asks an older client by requests of the server's own; a client of the newest revision answers with its next request.
    async fn elicit(
        &self,
        asked: &Asked,
        input: &InputRequiredResult,
        response: &mut ResponseStream,
    ) -> Done<InputResponses, String> {
        let mut inputs = InputResponses::new();
        for (name, request) in input.input_requests.iter().flatten() {
            let number = isobar_base::random::bytes::<8>().map_err(isobar_sessions::Error::from)?;
            let id = json!(format!("ask-{}", hex::encode(number)));
            let mut message = json!(request);
            message["jsonrpc"] = "2.0".into();
            message["id"] = id.clone();
            let (sender, answer) = oneshot::channel();
            let _pending = Pending::new(self, asked.key(&id), sender);
            if !response.send(self, &message).await? {
                let why = "the tool needs input, and the client does not accept text/event-stream";
                return Err(Stop::Refused(why.to_owned()));
            }
            let answered = match within(PATIENCE, answer).await {
                Some(Ok(answer)) => answer,
                _ => json!({"error": {"message": "the client did not answer"}}),
            };
            match answered.get("result") {
                Some(result) => drop(inputs.insert(name.clone(), result.clone())),
                None => {
                    let why = answered["error"]["message"].as_str().unwrap_or("the client refused");
                    return Err(Stop::Refused(why.to_owned()));
                }
            }
        }
        Ok(inputs)
    }

    /// Seals the state of a tool for its way through the client.
    fn sealed(&self, mut input: InputRequiredResult, bound: &str) -> Result<InputRequiredResult> {
        let options = SealOptions::new().associated_data(bound.as_bytes()).ttl(STATE_FOR);
        if let Some(state) = input.request_state.take() {
            input.request_state = Some(self.codec()?.seal_with(state.as_bytes(), &options));
        }
        Ok(input)
    }
}

/// A call that is in flight, until this is dropped.
struct Enlisted<'s> {
    session: &'s McpSession,
    number: u64,
}

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        self.session.live.borrow_mut().in_flight.remove(&self.number);
    }
}

/// A request of the server's own that waits for its answer, until this is dropped.
struct Pending<'s> {
    session: &'s McpSession,
    key: String,
}

impl<'s> Pending<'s> {
    fn new(session: &'s McpSession, key: String, answer: oneshot::Sender<Json>) -> Self {
        session.live.borrow_mut().pending.insert(key.clone(), answer);
        Self { session, key }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.session.live.borrow_mut().pending.remove(&self.key);
    }
}

impl Asked {
    /// Returns the key of an id among those of all sessions, which choose ids independently.
    pub(super) fn key(&self, id: &Json) -> String {
        format!("{}/{id}", self.session.as_ref().map(|session| session.id.as_str()).unwrap_or_default())
    }
}

/// Returns the outcome of a tool's response.
fn tool_outcome(response: CallToolResponse) -> Result<Outcome, ErrorData> {
    match response {
        CallToolResponse::Complete(result) => Ok(Outcome::Done(result.into())),
        CallToolResponse::InputRequired(input) => Ok(Outcome::NeedsInput(input)),
        _ => Err(ErrorData::internal_error("tasks are not offered", None)),
    }
}

/// Returns the outcome of a prompt's response.
fn prompt_outcome(response: GetPromptResponse) -> Result<Outcome, ErrorData> {
    match response {
        GetPromptResponse::Complete(result) => Ok(Outcome::Done(result.into())),
        GetPromptResponse::InputRequired(input) => Ok(Outcome::NeedsInput(input)),
        _ => Err(ErrorData::internal_error("this response is not offered", None)),
    }
}

/// The result of a call that did not get its input from the client: a tool's own failure, and an error for a prompt, which has
/// no such result.
fn without_input(kind: CallKind, why: &str) -> Done<ServerResult, ErrorData> {
    match kind {
        CallKind::Tool => Ok(CallToolResult::error(vec![ContentBlock::text(why)]).into()),
        CallKind::Prompt => Err(Stop::Refused(ErrorData::internal_error(why.to_owned(), None))),
    }
}

/// Refuses to ask a client what it cannot answer.
fn check_capabilities(client: &ClientCapabilities, requests: Option<&InputRequests>) -> Result<(), ErrorData> {
    let mut required = ClientCapabilities::default();
    for request in requests.into_iter().flat_map(InputRequests::values) {
        match request {
            InputRequest::Elicitation(_) if client.elicitation.is_none() => {
                required.elicitation = Some(Default::default());
            }
            InputRequest::CreateMessage(_) if client.sampling.is_none() => required.sampling = Some(Default::default()),
            InputRequest::ListRoots(_) if client.roots.is_none() => required.roots = Some(Default::default()),
            _ => {}
        }
    }
    match required == ClientCapabilities::default() {
        true => Ok(()),
        false => Err(ErrorData::missing_required_client_capability(required)),
    }
}

/// A whole number without a fraction.
fn number(number: f64) -> Json {
    if number.fract() == 0.0 && number.abs() < 9e15 { json!(number as i64) } else { json!(number) }
}
