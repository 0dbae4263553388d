//! The service that an application offers to MCP clients.
//!
//! A service is shared by the objects of all users, natively by all threads, and gets the caller with each call: rights are
//! looked at there. It knows the newest revision of the protocol alone. Panics reset the object of the user whose call it was.

use std::fmt::Debug;

use async_trait::async_trait;
use futures_channel::mpsc::UnboundedSender;
use rmcp::model::{
    CallToolResponse, ClientCapabilities, CompleteRequestParams, CompleteResult, CompletionInfo, ErrorData,
    GetPromptResponse, InitializeResult, InputResponses, JsonObject, LoggingLevel, Prompt, ReadResourceResult,
    Resource, ResourceTemplate, Tool,
};
use serde_json::Value as Json;

use crate::participant::Participant;

/// Tools, resources and prompts, in the types of `rmcp`. One is served to many callers at once, and keeps nothing of them.
///
/// ```
/// use async_trait::async_trait;
/// use isobar_objects::Participant;
/// use isobar_objects::mcp::{McpCall, McpService};
/// use isobar_objects::mcp::model::{
///     CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, InitializeResult, JsonObject,
///     ServerCapabilities, Tool,
/// };
///
/// /// A server with one tool, which greets its caller.
/// #[derive(Debug)]
/// struct Greeter;
///
/// #[async_trait]
/// impl McpService for Greeter {
///     fn about(&self) -> InitializeResult {
///         InitializeResult::new(ServerCapabilities::default()).with_server_info(Implementation::new("greeter", "1.0"))
///     }
///
///     async fn tools(&self, _: &Participant) -> Result<Vec<Tool>, ErrorData> {
///         Ok(vec![Tool::new("greet", "Greets the caller", JsonObject::new())])
///     }
///
///     async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData> {
///         call.reporter.progress(1.0, Some(1.0), Some("greeting"));
///         let greeting = format!("Hello, {}!", call.caller.name);
///         Ok(CallToolResult::success(vec![ContentBlock::text(greeting)]).into())
///     }
/// }
/// ```
#[async_trait]
pub trait McpService: Debug + Send + Sync {
    /// Returns the name, instructions and capabilities. The protocol version in it is replaced by the negotiated one.
    fn about(&self) -> InitializeResult;

    /// Returns the tools that the caller may call.
    ///
    /// # Errors
    /// An error of JSON-RPC, which the client receives as it is; so do the errors of the other operations.
    async fn tools(&self, caller: &Participant) -> Result<Vec<Tool>, ErrorData>;

    /// Calls a tool. A failure of the tool is a result with `isError`; an error is for an unknown tool.
    ///
    /// A tool that needs input from the user answers [`CallToolResponse::InputRequired`] and is called again with the client's
    /// answers, in all revisions of the protocol.
    async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData>;

    /// Returns the resources that the caller may read. Default: none.
    async fn resources(&self, _caller: &Participant) -> Result<Vec<Resource>, ErrorData> {
        Ok(Vec::new())
    }

    /// Returns the templates of resources that the caller may read. Default: none.
    async fn resource_templates(&self, _caller: &Participant) -> Result<Vec<ResourceTemplate>, ErrorData> {
        Ok(Vec::new())
    }

    /// Reads a resource. Default: there is none.
    async fn read(&self, _caller: &Participant, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        Err(no_such_resource(uri))
    }

    /// Returns the prompts that the caller may use. Default: none.
    async fn prompts(&self, _caller: &Participant) -> Result<Vec<Prompt>, ErrorData> {
        Ok(Vec::new())
    }

    /// Returns a prompt with its arguments filled in. Default: there is none.
    async fn prompt(&self, call: McpCall) -> Result<GetPromptResponse, ErrorData> {
        Err(ErrorData::invalid_params(format!("there is no prompt {:?}", call.name), None))
    }

    /// Returns completions of an argument. Default: none.
    async fn complete(
        &self,
        _caller: &Participant,
        _request: CompleteRequestParams,
    ) -> Result<CompleteResult, ErrorData> {
        Ok(CompleteResult::new(CompletionInfo::new(Vec::new()).unwrap_or_default()))
    }
}

/// Returns the error for an unknown resource; each revision gets its own code.
///
/// ```
/// use isobar_objects::mcp::no_such_resource;
/// let error = no_such_resource("notes://17");
/// assert_eq!(error.data, Some(serde_json::json!({"uri": "notes://17"})));
/// ```
#[must_use]
pub fn no_such_resource(uri: &str) -> ErrorData {
    ErrorData::resource_not_found("there is no such resource", Some(serde_json::json!({ "uri": uri })))
}

/// A call of a tool or a prompt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct McpCall {
    /// The caller, as the application has authenticated it.
    pub caller: Participant,
    /// Name of the tool or prompt.
    pub name: String,
    /// Arguments, as the client has sent them: not checked against the tool's schema.
    pub arguments: JsonObject,
    /// Capabilities of the client.
    pub client: ClientCapabilities,
    /// The client's answers to the tool's elicitation, by the tool's own keys. Empty in the first call.
    pub inputs: InputResponses,
    /// State that the tool left for itself with its elicitation, sealed on its way through the client. `None` in the first call.
    pub state: Option<String>,
    /// Reports progress to the client.
    pub reporter: Reporter,
}

impl McpCall {
    pub(super) fn new(caller: Participant, name: String, arguments: JsonObject, client: ClientCapabilities) -> Self {
        let inputs = InputResponses::new();
        let state = None;
        let reporter = Reporter(None);
        Self { caller, name, arguments, client, inputs, state, reporter }
    }
}

/// A report of a call in flight.
#[derive(Debug, Clone)]
pub(super) enum Report {
    Progress { progress: f64, total: Option<f64>, message: Option<String> },
    Log { level: LoggingLevel, logger: Option<String>, data: Json },
    Changed(Change),
}

/// A change of a service.
///
/// ```
/// use isobar_objects::mcp::{Change, McpCall};
///
/// /// Tells subscribers that a note was changed by this call.
/// fn saved(call: &McpCall, note: u64) {
///     call.reporter.changed(Change::Resource(format!("notes://{note}")));
/// }
/// # let _ = saved;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The list of tools.
    Tools,
    /// The list of prompts.
    Prompts,
    /// The list of resources.
    Resources,
    /// The content of the resource with this URI.
    Resource(String),
}

/// Reports a call's progress to its client. Never fails: a client without a stream misses the report.
///
/// ```
/// use isobar_objects::mcp::model::{CallToolResponse, CallToolResult, ContentBlock, ErrorData};
/// use isobar_objects::mcp::McpCall;
///
/// /// A tool that takes its time.
/// async fn import(call: McpCall) -> Result<CallToolResponse, ErrorData> {
///     for row in 0..100 {
///         call.reporter.progress(f64::from(row), Some(100.0), Some("importing"));
///         // ... import it ...
///     }
///     Ok(CallToolResult::success(vec![ContentBlock::text("100 rows")]).into())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Reporter(pub(super) Option<UnboundedSender<Report>>);

impl Reporter {
    /// Reports progress to a client that has asked for it: a number that grows, its total if it is known, a text to show.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        self.report(Report::Progress { progress, total, message: message.map(str::to_owned) });
    }

    /// Sends a line of log, to a client that has asked for its level.
    ///
    /// ```
    /// use isobar_objects::mcp::McpCall;
    /// use isobar_objects::mcp::model::LoggingLevel;
    ///
    /// fn warn(call: &McpCall, row: u64) {
    ///     call.reporter.log(LoggingLevel::Warning, Some("import"), format!("row {row} has no date"));
    /// }
    /// # let _ = warn;
    /// ```
    pub fn log(&self, level: LoggingLevel, logger: Option<&str>, data: impl Into<Json>) {
        self.report(Report::Log { level, logger: logger.map(str::to_owned), data: data.into() });
    }

    /// Reports a change of the service, to clients of the same user that have subscribed to it.
    pub fn changed(&self, change: Change) {
        self.report(Report::Changed(change));
    }

    fn report(&self, report: Report) {
        if let Some(sender) = &self.0 {
            drop(sender.unbounded_send(report));
        }
    }
}
