//! What an application offers to MCP clients.

use std::fmt::Debug;

use async_trait::async_trait;
use futures_channel::mpsc::UnboundedSender;
use rmcp::model::{
    CallToolResponse, ClientCapabilities, CompleteRequestParams, CompleteResult, CompletionInfo, ErrorData,
    GetPromptResponse, InitializeResult, InputResponses, JsonObject, LoggingLevel, Prompt, ReadResourceResult,
    Resource, ResourceTemplate, Tool,
};
use serde_json::Value as Json;

use crate::kinds::Participant;

/// Tools, resources and prompts, in the types of `rmcp`. One is served to many callers at once, and keeps nothing of them.
#[async_trait]
pub trait McpService: Debug + Send + Sync {
    /// Its name, instructions and capabilities; which revision is spoken is not its business.
    fn about(&self) -> InitializeResult;

    /// The tools that the caller may call.
    ///
    /// # Errors
    /// As JSON-RPC has them, here and below.
    async fn tools(&self, caller: &Participant) -> Result<Vec<Tool>, ErrorData>;

    /// Calls a tool. What the tool fails with is a result with `isError`; an error is for a tool that is not there.
    ///
    /// A tool that wants to know something from the user answers [`CallToolResponse::InputRequired`] and is called again with
    /// what the client said - in both eras of the protocol.
    async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData>;

    /// The resources that the caller may read.
    async fn resources(&self, _caller: &Participant) -> Result<Vec<Resource>, ErrorData> {
        Ok(Vec::new())
    }

    /// The templates of resources that the caller may read.
    async fn resource_templates(&self, _caller: &Participant) -> Result<Vec<ResourceTemplate>, ErrorData> {
        Ok(Vec::new())
    }

    /// Reads a resource.
    async fn read(&self, _caller: &Participant, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        Err(no_such_resource(uri))
    }

    /// The prompts that the caller may use.
    async fn prompts(&self, _caller: &Participant) -> Result<Vec<Prompt>, ErrorData> {
        Ok(Vec::new())
    }

    /// A prompt with its arguments filled in.
    async fn prompt(&self, call: McpCall) -> Result<GetPromptResponse, ErrorData> {
        Err(ErrorData::invalid_params(format!("there is no prompt {:?}", call.name), None))
    }

    /// What an argument may be completed to.
    async fn complete(
        &self,
        _caller: &Participant,
        _request: CompleteRequestParams,
    ) -> Result<CompleteResult, ErrorData> {
        Ok(CompleteResult::new(CompletionInfo::new(Vec::new()).unwrap_or_default()))
    }
}

/// The error for a resource that is not there; each revision gets its own code.
#[must_use]
pub fn no_such_resource(uri: &str) -> ErrorData {
    ErrorData::resource_not_found("there is no such resource", Some(serde_json::json!({ "uri": uri })))
}

/// A call of a tool or a prompt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct McpCall {
    /// Who calls.
    pub caller: Participant,
    /// The tool's or prompt's name.
    pub name: String,
    /// What it is given.
    pub arguments: JsonObject,
    /// What the client can do.
    pub client: ClientCapabilities,
    /// What the client answered to what the tool wanted to know, by the tool's own keys.
    pub inputs: InputResponses,
    /// What the tool has left for itself when it wanted to know something; nobody has changed it.
    pub state: Option<String>,
    /// Tells the client how it goes.
    pub reporter: Reporter,
}

impl McpCall {
    pub(super) fn new(caller: Participant, name: String, arguments: JsonObject, client: ClientCapabilities) -> Self {
        let (inputs, state, reporter) = (InputResponses::new(), None, Reporter(None));
        Self { caller, name, arguments, client, inputs, state, reporter }
    }
}

/// Something that happens while a tool works.
#[derive(Debug, Clone)]
pub(super) enum Report {
    Progress { progress: f64, total: Option<f64>, message: Option<String> },
    Log { level: LoggingLevel, logger: Option<String>, data: Json },
    Changed(Change),
}

/// What has changed of what a service offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The list of tools.
    Tools,
    /// The list of prompts.
    Prompts,
    /// The list of resources.
    Resources,
    /// What the resource of this URI holds.
    Resource(String),
}

/// Tells a client how a call goes. Never fails: a client that does not listen misses it.
#[derive(Debug, Clone)]
pub struct Reporter(pub(super) Option<UnboundedSender<Report>>);

impl Reporter {
    /// So much of the total is done; only told to who asked for it.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        self.tell(Report::Progress { progress, total, message: message.map(str::to_owned) });
    }

    /// A line of log; only told to who asked for its level.
    pub fn log(&self, level: LoggingLevel, logger: Option<&str>, data: impl Into<Json>) {
        self.tell(Report::Log { level, logger: logger.map(str::to_owned), data: data.into() });
    }

    /// Something of what the service offers has changed; told to whoever of the same user has subscribed.
    pub fn changed(&self, change: Change) {
        self.tell(Report::Changed(change));
    }

    fn tell(&self, report: Report) {
        if let Some(sender) = &self.0 {
            drop(sender.unbounded_send(report));
        }
    }
}
