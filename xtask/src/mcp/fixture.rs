//! The service for MCP's conformance suite, with the tools, resources and prompts that the suite calls.

use async_trait::async_trait;
use isobar_objects::Participant;
use isobar_objects::mcp::model::{
    CallToolResponse, CallToolResult, ClientCapabilities, CompleteRequestParams, CompleteResult, CompletionInfo,
    ContentBlock, ErrorData, GetPromptResponse, GetPromptResult, Implementation, InitializeResult, InputRequest,
    InputRequests, InputRequiredResult, LoggingLevel, Prompt, ReadResourceResult, Resource, ResourceTemplate,
    ServerCapabilities, Tool,
};
use isobar_objects::mcp::{Change, McpCall, McpService, no_such_resource};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

/// A PNG of one pixel, and an empty sound, in base64.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

/// Names and descriptions of the tools.
const TOOLS: [&str; 27] = [
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_multiple_content_types",
    "test_error_handling",
    "test_tool_with_progress",
    "test_tool_with_logging",
    "test_sampling",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_reconnection",
    "json_schema_2020_12_tool",
    "test_missing_capability",
    "test_streaming_elicitation",
    "test_logging_tool",
    "test_trigger_tool_change",
    "test_trigger_prompt_change",
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_tampered_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_capabilities",
];

#[derive(Debug)]
pub(super) struct Fixture;

#[async_trait]
impl McpService for Fixture {
    fn about(&self) -> InitializeResult {
        let capabilities: ServerCapabilities = from(json!({
            "tools": {"listChanged": true}, "prompts": {"listChanged": true}, "logging": {}, "completions": {},
            "resources": {"subscribe": true, "listChanged": true},
        }));
        InitializeResult::new(capabilities).with_server_info(Implementation::new("isobar-fixture", "1"))
    }

    async fn tools(&self, _: &Participant) -> Result<Vec<Tool>, ErrorData> {
        let tool = |name: &&str| {
            let schema = match *name {
                "json_schema_2020_12_tool" => schema_2020_12(),
                "test_sampling" => text_schema("prompt"),
                "test_elicitation" => text_schema("message"),
                _ => json!({"type": "object", "properties": {}}),
            };
            from::<Tool>(json!({"name": name, "description": format!("What {name} stands for"), "inputSchema": schema}))
        };
        let header = json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
        let header = json!({"name": "test_custom_header", "description": "Takes a header", "inputSchema": header});
        Ok(TOOLS.iter().map(tool).chain([from(header)]).collect())
    }

    async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData> {
        let text = |text: &str| Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into());
        let content = |content: Json| Ok(from::<CallToolResult>(json!({ "content": content })).into());
        let resource = |uri: &str| json!({"type": "resource", "resource": {"uri": uri, "mimeType": "text/plain", "text": "Here."}});
        let picture = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
        match call.name.as_str() {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_custom_header" | "json_schema_2020_12_tool" => text("Taken."),
            "test_image_content" => content(json!([picture])),
            "test_audio_content" => content(json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}])),
            "test_embedded_resource" => content(json!([resource("test://embedded-resource")])),
            "test_multiple_content_types" => content(
                json!([{"type": "text", "text": "Several:"}, picture, resource("test://mixed-content-resource")]),
            ),
            "test_error_handling" => Ok(CallToolResult::error(vec![ContentBlock::text(
                "This tool intentionally returns an error for testing",
            )])
            .into()),
            "test_tool_with_progress" => {
                for done in [0.0, 50.0, 100.0] {
                    call.reporter.progress(done, Some(100.0), Some("On its way"));
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                text("It is done.")
            }
            "test_tool_with_logging" | "test_logging_tool" => {
                for line in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                    call.reporter.log(LoggingLevel::Info, Some("fixture"), line);
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                text("It is logged.")
            }
            "test_reconnection" => {
                call.reporter.log(LoggingLevel::Info, Some("fixture"), "Half way");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                text("It went on.")
            }
            "test_trigger_tool_change" => {
                call.reporter.changed(Change::Tools);
                text("The tools have changed.")
            }
            "test_trigger_prompt_change" => {
                call.reporter.changed(Change::Prompts);
                text("The prompts have changed.")
            }
            "test_missing_capability" if call.client.sampling.is_none() => {
                Err(ErrorData::missing_required_client_capability(from(json!({"sampling": {}}))))
            }
            "test_missing_capability" => text("The client has it."),
            _ => wanting(&call),
        }
    }

    async fn resources(&self, _: &Participant) -> Result<Vec<Resource>, ErrorData> {
        Ok(["static-text", "static-binary", "watched-resource"]
            .map(|name| Resource::new(format!("test://{name}"), name))
            .into())
    }

    async fn resource_templates(&self, _: &Participant) -> Result<Vec<ResourceTemplate>, ErrorData> {
        Ok(vec![ResourceTemplate::new("test://template/{id}/data", "template").with_mime_type("application/json")])
    }

    async fn read(&self, _: &Participant, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        let contents = match uri {
            "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
            "test://static-text" | "test://watched-resource" => {
                json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
            }
            _ => {
                let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
                let id = id.ok_or_else(|| no_such_resource(uri))?;
                json!({"uri": uri, "mimeType": "application/json", "text": json!({"id": id}).to_string()})
            }
        };
        Ok(ReadResourceResult::new(vec![from(contents)]))
    }

    async fn prompts(&self, _: &Participant) -> Result<Vec<Prompt>, ErrorData> {
        let argument = |name: &str| json!({"name": name, "description": "A text", "required": true});
        let prompt = |name: &str, arguments: Json| {
            from(json!({"name": name, "description": format!("What {name} stands for"), "arguments": arguments}))
        };
        Ok(vec![
            prompt("test_simple_prompt", json!([])),
            prompt("test_prompt_with_arguments", json!([argument("arg1"), argument("arg2")])),
            prompt("test_prompt_with_embedded_resource", json!([argument("resourceUri")])),
            prompt("test_prompt_with_image", json!([])),
            prompt("test_input_required_result_prompt", json!([])),
        ])
    }

    async fn prompt(&self, call: McpCall) -> Result<GetPromptResponse, ErrorData> {
        let given = |name: &str| call.arguments.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let text = |text: String| json!({"role": "user", "content": {"type": "text", "text": text}});
        let messages = match call.name.as_str() {
            "test_simple_prompt" => json!([text("This is a simple prompt for testing.".to_owned())]),
            "test_prompt_with_arguments" => {
                json!([text(format!("Prompt with arguments: arg1='{}', arg2='{}'", given("arg1"), given("arg2")))])
            }
            "test_prompt_with_embedded_resource" => {
                let uri = given("resourceUri");
                let resource =
                    json!({"type": "resource", "resource": {"uri": uri, "mimeType": "text/plain", "text": "Here."}});
                json!([{"role": "user", "content": resource}, text("Look at it.".to_owned())])
            }
            "test_prompt_with_image" => {
                let picture = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
                json!([{"role": "user", "content": picture}, text("Look at it.".to_owned())])
            }
            "test_input_required_result_prompt" => match call.inputs.get("user_context") {
                Some(_) => json!([text("You have told me.".to_owned())]),
                None => {
                    return Ok(GetPromptResponse::InputRequired(wants([("user_context", elicit("context"))], None)));
                }
            },
            name => return Err(ErrorData::invalid_params(format!("there is no prompt {name:?}"), None)),
        };
        Ok(from::<GetPromptResult>(json!({"description": "A prompt", "messages": messages})).into())
    }

    async fn complete(&self, _: &Participant, _: CompleteRequestParams) -> Result<CompleteResult, ErrorData> {
        let values = CompletionInfo::new(vec!["paris".to_owned(), "parma".to_owned()]);
        values.map(CompleteResult::new).map_err(|error| ErrorData::internal_error(error, None))
    }
}

/// Answers the tools that ask the client by sampling and elicitation.
fn wanting(call: &McpCall) -> Result<CallToolResponse, ErrorData> {
    let given = |name: &str| call.arguments.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
    match call.name.as_str() {
        "test_sampling" => match call.inputs.get("answer") {
            Some(answer) => text(&format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or_default())),
            None => ask(wants([("answer", sample(&given("prompt")))], None)),
        },
        "test_elicitation" | "test_streaming_elicitation" => match call.inputs.get("answer") {
            Some(answer) => text(&format!("User response: {answer}")),
            None => {
                let schema = json!({"type": "object", "required": ["username", "email"],
                    "properties": {"username": {"type": "string"}, "email": {"type": "string"}}});
                let message = Some(given("message")).filter(|it| !it.is_empty()).unwrap_or_else(|| "Who?".to_owned());
                ask(wants([("answer", elicit_with(&message, schema))], None))
            }
        },
        "test_elicitation_sep1034_defaults" | "test_elicitation_sep1330_enums" => match call.inputs.get("answer") {
            Some(answer) => text(&format!("Elicitation completed: {answer}")),
            None if call.name.ends_with("defaults") => {
                ask(wants([("answer", elicit_with("Defaults", defaults()))], None))
            }
            None => ask(wants([("answer", elicit_with("Enums", enums()))], None)),
        },
        _ => requiring(call),
    }
}

/// Answers the tools whose result is that more input is required.
fn requiring(call: &McpCall) -> Result<CallToolResponse, ErrorData> {
    // An input of another form is invalid and requested again.
    let has = |name: &str| call.inputs.get(name).is_some_and(Json::is_object);
    let roots = || json!({"method": "roots/list", "params": {}});
    match call.name.as_str() {
        "test_input_required_result_elicitation" if has("user_name") => text("Hello."),
        "test_input_required_result_elicitation" => ask(wants([("user_name", elicit("name"))], None)),
        "test_input_required_result_sampling" if has("capital_question") => text("It is known."),
        "test_input_required_result_sampling" => {
            ask(wants([("capital_question", sample("What is the capital of France?"))], None))
        }
        "test_input_required_result_list_roots" if has("client_roots") => text("They are known."),
        "test_input_required_result_list_roots" => ask(wants([("client_roots", roots())], None)),
        "test_input_required_result_request_state" | "test_input_required_result_tampered_state" => match &call.state {
            Some(_) if has("confirm") => text("Confirmed: state-ok"),
            _ => ask(wants([("confirm", elicit("ok"))], Some("confirm"))),
        },
        "test_input_required_result_multiple_inputs" => {
            match ["user_name", "greeting", "client_roots"].iter().all(|it| has(it)) {
                true => text("All are known."),
                false => {
                    let requests =
                        [("user_name", elicit("name")), ("greeting", sample("Greet")), ("client_roots", roots())];
                    ask(wants(requests, Some("several")))
                }
            }
        }
        "test_input_required_result_multi_round" => match call.state.as_deref() {
            Some("second") if has("step2") => text("Both rounds are over."),
            Some("first") if has("step1") => ask(wants([("step2", elicit("color"))], Some("second"))),
            _ => ask(wants([("step1", elicit("name"))], Some("first"))),
        },
        "test_input_required_result_capabilities" => {
            let ClientCapabilities { elicitation, sampling, .. } = &call.client;
            let requests = elicitation.is_some().then(|| ("user_name", elicit("name")));
            let requests: Vec<_> =
                requests.into_iter().chain(sampling.is_some().then(|| ("greeting", sample("Greet")))).collect();
            if requests.is_empty() || requests.iter().all(|(name, _)| has(name)) {
                return text("Nothing more to know.");
            }
            ask(wants(requests, None))
        }
        name => Err(ErrorData::invalid_params(format!("there is no tool {name:?}"), None)),
    }
}

fn text(text: &str) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
}

fn ask(requests: InputRequiredResult) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResponse::InputRequired(requests))
}

fn wants<'n>(requests: impl IntoIterator<Item = (&'n str, Json)>, state: Option<&str>) -> InputRequiredResult {
    let requests: InputRequests =
        requests.into_iter().map(|(name, request)| (name.to_owned(), from::<InputRequest>(request))).collect();
    InputRequiredResult::new(Some(requests), state.map(str::to_owned))
}

fn elicit(field: &str) -> Json {
    elicit_with(&format!("Your {field}?"), text_schema(field))
}

fn elicit_with(message: &str, schema: Json) -> Json {
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

fn sample(prompt: &str) -> Json {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 100}})
}

fn text_schema(field: &str) -> Json {
    json!({"type": "object", "properties": {field: {"type": "string"}}, "required": [field]})
}

fn defaults() -> Json {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    }})
}

fn enums() -> Json {
    let values = ["option1", "option2", "option3"];
    let titled: Vec<_> = values.iter().map(|value| json!({"const": value, "title": format!("The {value}")})).collect();
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": values},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": values, "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": values}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }})
}

fn schema_2020_12() -> Json {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
        "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
        "allOf": [{"anyOf": [{"required": ["name"]}, {"required": ["address"]}]}],
        "if": {"required": ["address"]},
        "then": {"properties": {"address": {"required": ["street"]}}},
        "else": {"required": ["name"]},
        "additionalProperties": false,
    })
}

fn from<T: DeserializeOwned>(json: Json) -> T {
    serde_json::from_value(json).expect("the fixture's own JSON is of its type")
}
