//! The API's resources as tools, resources and prompts of MCP, with the principal's own permissions: what a tool does is a
//! request to the API's router, as the principal would send it.
//!
//! Tools are few and take the resource's name, rather than a tool for each operation of each resource:
//! a model reads all descriptions with every conversation, and ten resources would make fifty tools.
//!
//! | tool | request | hint |
//! |---|---|---|
//! | `describe_resources` | none | reads |
//! | `list_records` | `GET /{resource}?...` | reads |
//! | `get_record` | `GET /{resource}/{id}` | reads |
//! | `create_record` | `POST /{resource}` | writes |
//! | `update_record` | `PATCH /{resource}/{id}`, `If-Match` | destroys |
//! | `delete_record` | `DELETE /{resource}/{id}`, `If-Match` | destroys; asks the user where the client can |
//!
//! Validation, ownership, tenants, rate limits and the audit are the API's: a refusal comes back as the
//! tool's error, with the status and the problem, so that the model can mend its call. Names and ids
//! that become parts of a path are checked first.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Method, Request, StatusCode, header};
use isobar_api::{Principal, ResourceInfo};
use isobar_objects::Participant;
use isobar_objects::mcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, ElicitRequest, ElicitRequestParams, ElicitationSchema, ErrorData,
    GetPromptResponse, GetPromptResult, Implementation, InitializeResult, InputRequest, InputRequests,
    InputRequiredResult, JsonObject, Prompt, PromptMessage, PromptsCapability, ReadResourceResult, Resource,
    ResourceContents, ResourceTemplate, ResourcesCapability, Role, ServerCapabilities, Tool, ToolAnnotations,
    ToolsCapability,
};
use isobar_objects::mcp::{McpCall, McpService, no_such_resource};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

/// Bytes of an answer that a tool passes on.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
const SCHEME: &str = "isobar://";
const CONFIRM: &str = "confirm";

/// An API as an MCP service: a tool for each operation of its resources, done with the principal's own permissions by a request
/// to the API's router.
///
/// ```no_run
/// # fn example(database: std::sync::Arc<dyn isobar_db::Database>, projects: fn() -> isobar_api::Resource) {
/// use std::sync::Arc;
///
/// use isobar_api::Api;
/// use isobar_http_serve::ApiTools;
/// use isobar_objects::mcp::McpOptions;
///
/// // A router without an authenticating layer: the tools put the principal into each request.
/// let router = Api::new(database).resource(projects()).into_router();
/// let tools = ApiTools::new(router, vec![projects().info()], "example", "1.0.0");
/// let options = McpOptions::new(Arc::new(tools));
/// # drop(options); }
/// ```
///
/// An answer of the API of more than 4 MiB is an internal error of MCP: ask for fewer records, or fewer
/// `fields`.
#[derive(Clone)]
pub struct ApiTools {
    router: Router,
    resources: Arc<[ResourceInfo]>,
    about: Implementation,
}

impl std::fmt::Debug for ApiTools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiTools").field("about", &self.about).finish_non_exhaustive()
    }
}

impl ApiTools {
    /// The resources of this API. The router must take the [`Principal`] in a request's extensions at its word: it is the one
    /// that no authenticating layer is around.
    pub fn new(router: Router, resources: Vec<ResourceInfo>, name: &str, version: &str) -> Self {
        let about = Implementation::new(name.to_owned(), version.to_owned());
        Self { router, resources: resources.into(), about }
    }

    /// Returns the participant of a session for a principal, with the principal among its claims, where
    /// the tools find it again. `name` is for people.
    #[must_use]
    pub fn participant(principal: &Principal, name: &str) -> Participant {
        Participant::new(principal.user().unwrap_or_default(), name).with_claims(principal.to_json())
    }

    /// Sends a request to the router as the principal, and returns status and JSON. An answer that is
    /// not JSON counts as `null`.
    ///
    /// # Errors
    /// Claims without a principal, a path that is not a URI, an answer above the limit.
    async fn send(
        &self,
        who: &Participant,
        method: Method,
        path: &str,
        revision: Option<&str>,
        body: Option<&Json>,
    ) -> Result<(StatusCode, Json), ErrorData> {
        let principal = Principal::from_json(&who.claims)
            .ok_or_else(|| ErrorData::internal_error("the session has no principal", None))?;
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(revision) = revision {
            request = request.header(header::IF_MATCH, revision);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request =
            request.body(body).map_err(|error| ErrorData::invalid_params(format!("{path}: {error}"), None))?;
        request.extensions_mut().insert(principal);
        let answer = self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), ANSWER_BYTES).await;
        let bytes = bytes.map_err(|_| ErrorData::internal_error("the answer is too long", None))?;
        let json = if bytes.is_empty() { Json::Null } else { serde_json::from_slice(&bytes).unwrap_or(Json::Null) };
        Ok((status, json))
    }

    /// Names of the resources, for messages and schemas.
    fn names(&self) -> Vec<&str> {
        self.resources.iter().map(|resource| resource.name.as_str()).collect()
    }

    /// The resource of a call, by its name alone: it becomes a part of a path.
    fn named(&self, name: &Json) -> Result<&str, String> {
        let found = self.resources.iter().find(|resource| *name == *resource.name);
        let unknown = || format!("there is no resource {name}; there are {}", self.names().join(", "));
        found.map(|resource| resource.name.as_str()).ok_or_else(unknown)
    }

    /// Does what a tool says. The outer error is one of the protocol, such as an unknown tool; the
    /// inner one is the tool's own, for the model.
    async fn called(&self, call: &McpCall) -> Result<Result<Json, String>, ErrorData> {
        let arguments = json!(call.arguments);
        if call.name == "describe_resources" {
            let describe =
                |it: &ResourceInfo| json!({"name": it.name, "description": it.description, "columns": it.columns});
            return Ok(Ok(json!({"resources": self.resources.iter().map(describe).collect::<Vec<_>>()})));
        }
        let resource = match self.named(&arguments["resource"]) {
            Ok(resource) => resource,
            Err(why) => return Ok(Err(why)),
        };
        let one = || match arguments["id"].as_str().filter(|id| is_id(id)) {
            Some(id) => Ok(format!("/{resource}/{id}")),
            None => Err("id must be the id of a record".to_owned()),
        };
        let revision = match (&arguments["revision"], arguments["revision"].as_i64()) {
            (Json::Null, _) => "*".to_owned(),
            (_, Some(number)) => format!("\"{number}\""),
            _ => return Ok(Err("revision must be a whole number".to_owned())),
        };
        let value = || Some(&arguments["value"]);
        let (method, path, revision, body) = match call.name.as_str() {
            "list_records" => (Method::GET, list_path(resource, &arguments), None, None),
            "create_record" => (Method::POST, format!("/{resource}"), None, value()),
            "get_record" | "update_record" | "delete_record" => {
                let path = match one() {
                    Ok(path) => path,
                    Err(why) => return Ok(Err(why)),
                };
                match call.name.as_str() {
                    "get_record" => (Method::GET, path, None, None),
                    "update_record" => (Method::PATCH, path, Some(revision), value()),
                    _ => (Method::DELETE, path, Some(revision), None),
                }
            }
            name => return Err(ErrorData::invalid_params(format!("there is no tool {name:?}"), None)),
        };
        let (status, json) = self.send(&call.caller, method, &path, revision.as_deref(), body).await?;
        if status.is_success() {
            return Ok(Ok(if json.is_null() { json!({"done": true}) } else { json }));
        }
        Ok(Err(format!("{status}: {json}")))
    }

    /// Whether the user has to be asked before something is gone: where the client can ask, it does.
    fn wants_confirmation(&self, call: &McpCall) -> Option<InputRequiredResult> {
        if call.name != "delete_record" || call.client.elicitation.is_none() || call.inputs.contains_key(CONFIRM) {
            return None;
        }
        let message = format!("Delete {} {}?", json!(call.arguments)["resource"], json!(call.arguments)["id"]);
        // Made of types and not of JSON: the code that reads all requests of MCP weighs 110 KiB in a Worker.
        let requested_schema = ElicitationSchema::builder().required_bool("delete").build_unchecked();
        let params = ElicitRequestParams::FormElicitationParams { meta: None, message, requested_schema };
        let asks = InputRequest::Elicitation(ElicitRequest::new(params));
        Some(InputRequiredResult::from_input_requests(InputRequests::from([(CONFIRM.to_owned(), asks)])))
    }
}

#[async_trait]
impl McpService for ApiTools {
    fn about(&self) -> InitializeResult {
        let mut capabilities = ServerCapabilities::default();
        capabilities.tools = Some(ToolsCapability::default());
        capabilities.resources = Some(ResourcesCapability::default());
        capabilities.prompts = Some(PromptsCapability::default());
        InitializeResult::new(capabilities).with_server_info(self.about.clone()).with_instructions(
            "The records of the platform. describe_resources lists the resources; every other tool takes the name of one.",
        )
    }

    async fn tools(&self, _: &Participant) -> Result<Vec<Tool>, ErrorData> {
        let resource = json!({"type": "string", "enum": self.names()});
        let id = json!({"type": "string"});
        let value = json!({"type": "object"});
        let revision = json!({"type": "integer", "description": "Only if the record still has this revision"});
        let list = json!({
            "resource": resource,
            "q": {"type": "string", "description": "Words to search for, where the resource can be searched"},
            "filter": {"type": "object", "description": "Columns and what they must be equal to",
                "additionalProperties": {"type": ["string", "number", "boolean"]}},
            "sort": {"type": "string"},
            "fields": {"type": "string"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 200},
            "cursor": {"type": "string"},
        });
        let tool = |name: &'static str,
                    description: &'static str,
                    properties: Json,
                    required: &[&str],
                    reads,
                    destroys| {
            let schema = json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
            let annotations = ToolAnnotations::new().read_only(reads).destructive(destroys);
            Tool::new(name, description, object(schema)).with_annotations(annotations)
        };
        Ok(vec![
            tool("describe_resources", "What resources there are, and their columns", json!({}), &[], true, false),
            tool("list_records", "Records of a resource, a page at a time", list, &["resource"], true, false),
            tool("get_record", "One record", json!({"resource": resource, "id": id}), &["resource", "id"], true, false),
            tool(
                "create_record",
                "Makes a record",
                json!({"resource": resource, "value": value}),
                &["resource", "value"],
                false,
                false,
            ),
            tool(
                "update_record",
                "Changes columns of a record",
                json!({"resource": resource, "id": id, "value": value, "revision": revision}),
                &["resource", "id", "value"],
                false,
                true,
            ),
            tool(
                "delete_record",
                "Deletes a record",
                json!({"resource": resource, "id": id, "revision": revision}),
                &["resource", "id"],
                false,
                true,
            ),
        ])
    }

    async fn call(&self, call: McpCall) -> Result<CallToolResponse, ErrorData> {
        if let Some(wants) = self.wants_confirmation(&call) {
            return Ok(CallToolResponse::InputRequired(wants));
        }
        if let Some(answer) = call.inputs.get(CONFIRM)
            && (answer["action"] != "accept" || answer["content"]["delete"] != true)
        {
            return Ok(CallToolResult::error(vec![ContentBlock::text("the user does not want it deleted")]).into());
        }
        Ok(match self.called(&call).await? {
            Ok(value) => CallToolResult::structured(value).into(),
            Err(why) => CallToolResult::error(vec![ContentBlock::text(why)]).into(),
        })
    }

    async fn resources(&self, _: &Participant) -> Result<Vec<Resource>, ErrorData> {
        let resource = |it: &ResourceInfo| {
            let listed = Resource::new(format!("{SCHEME}{}", it.name), it.name.clone());
            listed.with_description(it.description.clone()).with_mime_type("application/json")
        };
        Ok(self.resources.iter().map(resource).collect())
    }

    async fn resource_templates(&self, _: &Participant) -> Result<Vec<ResourceTemplate>, ErrorData> {
        let template = |it: &ResourceInfo| {
            ResourceTemplate::new(format!("{SCHEME}{}/{{id}}", it.name), format!("{} by id", it.name))
                .with_mime_type("application/json")
        };
        Ok(self.resources.iter().map(template).collect())
    }

    async fn read(&self, caller: &Participant, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        let missing = || no_such_resource(uri);
        let rest = uri.strip_prefix(SCHEME).ok_or_else(missing)?;
        let (name, id) = rest.split_once('/').map_or((rest, None), |(name, id)| (name, Some(id)));
        let name = self.named(&json!(name)).map_err(|_| missing())?;
        let path = match id {
            Some(id) if is_id(id) => format!("/{name}/{id}"),
            Some(_) => return Err(missing()),
            None => format!("/{name}"),
        };
        match self.send(caller, Method::GET, &path, None, None).await? {
            (status, json) if status.is_success() => {
                let contents = ResourceContents::text(json.to_string(), uri).with_mime_type("application/json");
                Ok(ReadResourceResult::new(vec![contents]))
            }
            (StatusCode::NOT_FOUND, _) => Err(missing()),
            (status, json) => Err(ErrorData::invalid_params(format!("{status}: {}", json["detail"]), None)),
        }
    }

    /// The prompts of the library, by their ids.
    async fn prompts(&self, caller: &Participant) -> Result<Vec<Prompt>, ErrorData> {
        if !self.names().contains(&"prompts") {
            return Ok(Vec::new());
        }
        let (status, page) = self.send(caller, Method::GET, "/prompts?fields=id,title&limit=200", None, None).await?;
        if !status.is_success() {
            return Ok(Vec::new()); // who may not read them has none
        }
        let prompt = |row: &Json| {
            let id = row["id"].as_str()?;
            let title = row["title"].as_str()?;
            Some(Prompt::new(id, Some(title), None).with_title(title))
        };
        Ok(page["items"].as_array().into_iter().flatten().filter_map(prompt).collect())
    }

    async fn prompt(&self, call: McpCall) -> Result<GetPromptResponse, ErrorData> {
        let missing = || ErrorData::invalid_params(format!("there is no prompt {:?}", call.name), None);
        if !is_id(&call.name) || !self.names().contains(&"prompts") {
            return Err(missing());
        }
        let (status, row) =
            self.send(&call.caller, Method::GET, &format!("/prompts/{}", call.name), None, None).await?;
        let body = row["body"].as_str().filter(|_| status.is_success()).ok_or_else(missing)?;
        let prompt = GetPromptResult::new(vec![PromptMessage::new_text(Role::User, body)]);
        Ok(prompt.with_description(row["title"].as_str().unwrap_or_default()).into())
    }
}

/// Whether a text may stand in a path as an id: letters, digits, `-` and `_`, at most 64 of them.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Path and query of a list. Filters stand beside the list's own parameters, as the API takes them.
fn list_path(resource: &str, arguments: &Json) -> String {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let own = ["q", "sort", "fields", "limit", "cursor"].iter().filter(|name| !arguments[**name].is_null());
    let mut pairs: Vec<(String, String)> = own.map(|name| ((*name).to_owned(), text(&arguments[*name]))).collect();
    let filter = arguments["filter"].as_object().into_iter().flatten();
    pairs.extend(filter.map(|(name, value)| (name.clone(), text(value))));
    let encoded: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    format!("/{resource}?{}", encoded.join("&"))
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The object of a schema, which is one by its construction.
fn object(schema: Json) -> JsonObject {
    match schema {
        Json::Object(object) => object,
        _ => JsonObject::new(),
    }
}
