//! The tools that the server offers to models.

use async_trait::async_trait;
use isobar_objects::Participant;
use isobar_objects::mcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, InitializeResult, JsonObject,
    ServerCapabilities, Tool, ToolsCapability,
};
use isobar_objects::mcp::{McpCall, McpService};
use serde_json::{Value, json};

/// Tools about texts.
#[derive(Debug)]
pub(crate) struct TextTools;

#[async_trait]
impl McpService for TextTools {
    fn about(&self) -> InitializeResult {
        let mut capabilities = ServerCapabilities::default();
        capabilities.tools = Some(ToolsCapability::default());
        InitializeResult::new(capabilities)
            .with_server_info(Implementation::new("text-tools", env!("CARGO_PKG_VERSION")))
            .with_instructions("Counts words, and knows who calls.")
    }

    async fn tools(&self, _caller: &Participant) -> Result<Vec<Tool>, ErrorData> {
        let text = json!({"type": "object", "required": ["text"], "additionalProperties": false,
            "properties": {"text": {"type": "string", "description": "The text whose words are counted"}}});
        let nothing = json!({"type": "object", "additionalProperties": false});
        Ok(vec![
            Tool::new("count_words", "Counts the words of a text", object(text)),
            Tool::new("who_am_i", "Says as whom the client is signed in", object(nothing)),
        ])
    }

    async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData> {
        let result = match call.name.as_str() {
            "count_words" => match call.arguments.get("text").and_then(Value::as_str) {
                Some(text) => success(format!("{} words", text.split_whitespace().count())),
                // What a tool fails with is a result that the model reads, not an error of the protocol.
                None => CallToolResult::error(vec![ContentBlock::text("pass the text as \"text\"")]),
            },
            "who_am_i" => success(call.caller.name.clone()),
            other => return Err(ErrorData::invalid_params(format!("there is no tool {other:?}"), None)),
        };
        Ok(result.into())
    }
}

fn success(text: String) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

/// The schema of a tool's arguments.
fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}
