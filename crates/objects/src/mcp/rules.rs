//! The protocol's rules without I/O: the protocol revision of a message, the check of its headers, the status of an error.
//!
//! | of a message | revision with sessions | revision without |
//! |---|---|---|
//! | recognized by | neither of the marks on the right | `params._meta`, or its headers without `Mcp-Session-Id` |
//! | unknown method | an error in a 200 | an error in a 404 |
//! | headers that differ from the body | not looked at | 400, `HEADER_MISMATCH` |
//! | `initialize`, `ping`, `logging/setLevel`, `resources/subscribe` | answered | 404 |
//!
//! The header rules of the revision without sessions let a proxy route by headers what the body says; so both must agree, or a
//! request could be one thing to the proxy and another to the server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use rmcp::model::{ErrorCode, ErrorData, LoggingLevel, ProtocolVersion, RequestMetaObject};
use serde_json::{Value as Json, json};

/// The revisions with sessions, newest first.
pub(super) const WITH_SESSIONS: [ProtocolVersion; 4] = [
    ProtocolVersion::V_2025_11_25,
    ProtocolVersion::V_2025_06_18,
    ProtocolVersion::V_2025_03_26,
    ProtocolVersion::V_2024_11_05,
];
/// The revision without.
pub(super) const STATELESS: ProtocolVersion = ProtocolVersion::V_2026_07_28;

/// Bytes of a request's id.
const ID_BYTES: usize = 1024;

/// Methods of the revisions with sessions that the one without has not.
const REMOVED: [&str; 5] = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// An error, and the status it is answered with.
pub(super) type Refused = (StatusCode, ErrorData);

/// Kind of a JSON-RPC message.
#[derive(Debug)]
pub(super) enum Incoming {
    Request { id: Json, method: String },
    Notification { method: String },
    Response { id: Json },
}

/// Tells requests, notifications and responses apart.
pub(super) fn classify(message: &Json) -> Result<Incoming, Refused> {
    let invalid = |what: &str| (StatusCode::BAD_REQUEST, ErrorData::invalid_request(what.to_owned(), None));
    let object = message.as_object().ok_or_else(|| invalid("a message is a JSON object; there are no batches here"))?;
    if object.get("jsonrpc") != Some(&json!("2.0")) {
        return Err(invalid("a message says \"jsonrpc\": \"2.0\""));
    }
    let id = object.get("id").filter(|id| id.is_string() || id.is_i64() || id.is_u64()).cloned();
    if id.as_ref().and_then(Json::as_str).is_some_and(|id| id.len() > ID_BYTES) {
        return Err(invalid("an id has 1024 bytes at most"));
    }
    match (object.get("method").and_then(Json::as_str), id) {
        (Some(method), Some(id)) => Ok(Incoming::Request { id, method: method.to_owned() }),
        (Some(method), None) if !object.contains_key("id") => Ok(Incoming::Notification { method: method.to_owned() }),
        (None, Some(id)) if object.contains_key("result") || object.contains_key("error") => {
            Ok(Incoming::Response { id })
        }
        _ => Err(invalid("this is not a request, notification or response")),
    }
}

/// Whether a request is of the revision without sessions: its `_meta` or its headers say so.
pub(super) fn is_stateless(message: &Json, headers: &HeaderMap) -> bool {
    let in_meta = &message["params"]["_meta"][RequestMetaObject::DRAFT_REQUIRED_KEYS[0]];
    let has_session = headers.contains_key("mcp-session-id");
    let version = text(headers, "mcp-protocol-version");
    let is_older = version.is_some_and(|version| WITH_SESSIONS.iter().any(|known| known.as_str() == version));
    !in_meta.is_null() || (!has_session && !is_older && (version.is_some() || headers.contains_key("mcp-method")))
}

/// Refuses a request of the revision without sessions that is not as it must be.
pub(super) fn check_stateless(message: &Json, headers: &HeaderMap, method: &str) -> Result<RequestMetaObject, Refused> {
    let bad = |error| (StatusCode::BAD_REQUEST, error);
    let mismatch = |what: String| bad(ErrorData::header_mismatch(what, None));
    let meta: Option<RequestMetaObject> = serde_json::from_value(message["params"]["_meta"].clone()).ok();
    let meta = meta.unwrap_or_default();
    let missing = meta.missing_required_keys(&STATELESS);
    if !missing.is_empty() {
        let detail = format!("params._meta lacks {}", missing.join(", "));
        return Err(bad(ErrorData::invalid_params(detail, None)));
    }
    let version = meta.protocol_version().unwrap_or(STATELESS);
    if text(headers, "mcp-protocol-version") != Some(version.as_str()) {
        return Err(mismatch("MCP-Protocol-Version is not what params._meta says".to_owned()));
    }
    if version != STATELESS {
        return Err(bad(ErrorData::unsupported_protocol_version(version, &[STATELESS])));
    }
    if text(headers, "mcp-method") != Some(method) {
        return Err(mismatch("Mcp-Method is not the message's method".to_owned()));
    }
    let named = match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        _ => None,
    };
    if let Some(field) = named
        && let Some(name) = message["params"][field].as_str()
        && decoded(headers, "mcp-name").as_deref() != Some(name)
    {
        return Err(mismatch(format!("Mcp-Name is not params.{field}")));
    }
    if REMOVED.contains(&method) {
        return Err(unknown_method(method));
    }
    Ok(meta)
}

/// Refuses a call whose `Mcp-Param-...` headers are not what the tool's schema takes out of its arguments.
pub(super) fn check_parameters(schema: &Json, arguments: &Json, headers: &HeaderMap) -> Result<(), Refused> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, property) in properties {
        if let Some(header) = property["x-mcp-header"].as_str() {
            let header = format!("mcp-param-{}", header.to_ascii_lowercase());
            let given = headers.contains_key(&header);
            let argument = &arguments[name];
            let fits = match (argument, decoded(headers, &header)) {
                (Json::Null, _) => !given,
                (Json::String(text), Some(value)) => *text == value,
                (Json::Number(number), Some(value)) => value.parse::<f64>().ok() == number.as_f64(),
                (Json::Bool(flag), Some(value)) => value == flag.to_string(),
                _ => false,
            };
            if !fits {
                let error = ErrorData::header_mismatch(format!("{header} is not the argument {name}"), None);
                return Err((StatusCode::BAD_REQUEST, error));
            }
        }
        check_parameters(property, &arguments[name], headers)?;
    }
    Ok(())
}

/// 404, as the revision without sessions has it.
pub(super) fn unknown_method(method: &str) -> Refused {
    let error = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("there is no method {method}"), None);
    (StatusCode::NOT_FOUND, error)
}

/// The status that an error of the revision without sessions is answered with.
pub(super) fn status_of(error: &ErrorData) -> StatusCode {
    match error.code {
        ErrorCode::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        ErrorCode::HEADER_MISMATCH
        | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
        | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// Whether the request's host and origin are allowed. A page that makes a browser resolve its own name to this server sends that name.
pub(super) fn is_allowed_host(headers: &HeaderMap, allowed: &[String]) -> bool {
    let name = |authority: &str| match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        _ => authority.to_owned(),
    };
    let fits = |authority: &str| allowed.iter().any(|host| *host == authority || *host == name(authority));
    let origin = text(headers, "origin").and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    allowed.is_empty() || (text(headers, "host").is_some_and(fits) && origin.is_none_or(fits))
}

/// Whether a message of a level is sent to a client that has asked for this one.
pub(super) fn is_sent(level: LoggingLevel, asked: Option<LoggingLevel>) -> bool {
    let rank = |level| {
        use LoggingLevel as L;
        let order = [L::Debug, L::Info, L::Notice, L::Warning, L::Error, L::Critical, L::Alert, L::Emergency];
        order.iter().position(|other| *other == level)
    };
    asked.is_some_and(|asked| rank(level) >= rank(asked))
}

/// Returns a header as text.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Returns a header's text; one that a header cannot hold as it is comes as `=?base64?...?=`.
fn decoded(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = text(headers, name)?;
    match value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    fn call(version: &str) -> Json {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "té", "_meta": {
            "io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}}}})
    }

    #[test]
    fn stateless_requests_are_judged_by_meta_headers_and_version() {
        let good =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "=?base64?dMOp?=")];
        let code = |message: &Json, pairs: &[(&'static str, &'static str)]| {
            check_stateless(message, &headers(pairs), "tools/call")
                .map(drop)
                .map_err(|(status, error)| (status.as_u16(), error.code.0))
        };
        assert_eq!(code(&call("2026-07-28"), &good), Ok(()));
        assert_eq!(code(&call("2026-07-28"), &good[..2]), Err((400, -32020)));
        assert_eq!(code(&call("2026-07-28"), &good[1..]), Err((400, -32020)));
        assert_eq!(code(&call("2025-11-25"), &good), Err((400, -32020)));
        assert_eq!(code(&json!({"params": {}}), &good), Err((400, -32602)));
        let future = [("mcp-protocol-version", "2099-01-01"), good[1], good[2]];
        assert_eq!(code(&call("2099-01-01"), &future), Err((400, -32022)));
    }

    #[test]
    fn revisions_are_distinguished() {
        let initialize =
            json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
        assert!(!is_stateless(&initialize, &HeaderMap::new()));
        assert!(is_stateless(&call("2026-07-28"), &HeaderMap::new()));
        assert!(is_stateless(&initialize, &headers(&[("mcp-method", "initialize")])));
        assert!(!is_stateless(
            &initialize,
            &headers(&[("mcp-session-id", "a"), ("mcp-protocol-version", "2025-06-18")])
        ));
    }

    #[test]
    fn messages_are_requests_notifications_or_responses() {
        assert!(matches!(
            classify(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})),
            Ok(Incoming::Request { .. })
        ));
        assert!(matches!(classify(&json!({"jsonrpc": "2.0", "method": "x"})), Ok(Incoming::Notification { .. })));
        assert!(matches!(classify(&json!({"jsonrpc": "2.0", "id": "a", "result": {}})), Ok(Incoming::Response { .. })));
        for wrong in [
            json!([]),
            json!({}),
            json!({"jsonrpc": "2.0", "id": null, "method": "x"}),
            json!({"jsonrpc": "2.0", "id": 1}),
        ] {
            assert!(classify(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_and_parameters_must_fit() {
        let allowed = ["localhost".to_owned()];
        assert!(is_allowed_host(&headers(&[("host", "localhost:80"), ("origin", "http://localhost:80")]), &allowed));
        assert!(!is_allowed_host(&headers(&[("host", "evil.example")]), &allowed));
        assert!(!is_allowed_host(&headers(&[("host", "localhost"), ("origin", "http://evil.example")]), &allowed));
        let schema = json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
        let fits = |argument: Json, pairs: &[(&'static str, &'static str)]| {
            check_parameters(&schema, &json!({ "region": argument }), &headers(pairs)).is_ok()
        };
        assert!(fits(json!("eu"), &[("mcp-param-region", "eu")]));
        assert!(fits(Json::Null, &[]));
        assert!(!fits(json!("eu"), &[]));
        assert!(!fits(json!("eu"), &[("mcp-param-region", "=?base64?!!?=")]));
        assert!(!fits(Json::Null, &[("mcp-param-region", "eu")]));
    }
}
