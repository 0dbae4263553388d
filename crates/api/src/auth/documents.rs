//! The routes of accounts, as OpenAPI has them.

use serde_json::{Value as Json, json};

use super::common::LENGTH;

/// The routes of accounts, each a path and its path item.
pub(super) fn all() -> Vec<(&'static str, Json)> {
    [accounts(), recovery(), keys(), members()].concat()
}

fn text(min: usize, max: usize) -> Json {
    json!({"type": "string", "minLength": min, "maxLength": max})
}

fn email() -> Json {
    json!({"type": "string", "format": "email", "maxLength": 254})
}

fn role() -> Json {
    json!({"enum": ["viewer", "member", "admin", "owner"]})
}

fn password() -> Json {
    text(*LENGTH.start(), *LENGTH.end())
}

fn name() -> Json {
    text(1, 200)
}

fn token() -> Json {
    text(1, 200)
}

/// Sign-up, sign-in and the password.
fn accounts() -> Vec<(&'static str, Json)> {
    let slug = json!({"type": "string", "pattern": "^[a-z0-9-]{1,64}$"});
    let tenant = json!({"type": "object", "additionalProperties": false, "required": ["slug", "name"],
        "properties": {"slug": slug, "name": name()}});
    vec![
        (
            "/auth/signup",
            json!({"post": operation("sign_up", "Sign up, with a new tenant", 201, Some((
            json!({"email": email(), "password": password(), "name": name(), "tenant": tenant, "token": token()}),
            &["email", "password", "name", "tenant"]))) }),
        ),
        (
            "/auth/login",
            json!({"post": operation("log_in", "Sign in: the answer sets a cookie", 200, Some((
            json!({"email": email(), "password": text(1, 256), "tenant": text(1, 64)}), &["email", "password"]))) }),
        ),
        ("/auth/logout", json!({"post": operation("log_out", "Sign out", 204, None)})),
        (
            "/auth/logout-everywhere",
            json!({"post": operation("log_out_everywhere", "End every session and API key of the user", 204, None)}),
        ),
        ("/auth/me", json!({"get": operation("me", "The signed-in user, with tenant and role", 200, None)})),
        (
            "/auth/password",
            json!({"post": operation("change_password", "Change the password; every other session and API key ends", 200, Some((
            json!({"current": text(1, 256), "new": password(), "keep_keys": {"type": "boolean", "default": false}}),
            &["current", "new"]))) }),
        ),
        (
            "/auth/reauthenticate",
            json!({"post": operation("reauthenticate", "Enter the password again, for actions that need a recent sign-in", 204, Some((
            json!({"password": text(1, 256)}), &["password"]))) }),
        ),
        (
            "/auth/setup",
            json!({"post": operation("set_up", "Make the caller's tenant the operator's, with the set-up token", 204, Some((
            json!({"token": token()}), &["token"]))) }),
        ),
        (
            "/auth/tenant",
            json!({"post": operation("switch_tenant", "Switch to another tenant", 200, Some((
            json!({"tenant": text(1, 64)}), &["tenant"]))) }),
        ),
    ]
}

/// Actions that a link in an e-mail proves.
fn recovery() -> Vec<(&'static str, Json)> {
    vec![
        (
            "/auth/forgot",
            json!({"post": operation("forgot_password", "Request a link to a new password, by e-mail", 202, Some((
            json!({"email": email()}), &["email"]))) }),
        ),
        (
            "/auth/reset",
            json!({"post": operation("reset_password", "Set a new password with the token of a link; every session and API key ends", 204, Some((
            json!({"token": token(), "password": password()}), &["token", "password"]))) }),
        ),
        (
            "/auth/verify",
            json!({"post": operation("verify_email", "Confirm an e-mail address with the token of a link", 200, Some((
            json!({"token": token()}), &["token"]))) }),
        ),
        (
            "/auth/verify/send",
            json!({"post": operation("send_verification", "Send the confirmation link again", 202, None)}),
        ),
        (
            "/auth/email",
            json!({"post": operation("change_email", "Request another e-mail address; a link is sent to it", 202, Some((
            json!({"email": email()}), &["email"]))) }),
        ),
    ]
}

/// API keys.
fn keys() -> Vec<(&'static str, Json)> {
    let key = json!({"name": name(), "role": role(), "scopes": {"type": "array", "items": {"type": "string"}},
        "expires_at": {"type": "string", "format": "date-time"}});
    let id = json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]);
    vec![
        (
            "/auth/keys",
            json!({
                "get": operation("list_keys", "The caller's API keys, without their secrets", 200, None),
                "post": operation("make_key", "Create an API key, which is shown once; needs a recent sign-in", 201, Some((key, &["name"]))),
            }),
        ),
        (
            "/auth/keys/{id}",
            json!({"parameters": id, "delete": operation("revoke_key", "Revoke an API key", 204, None)}),
        ),
    ]
}

/// Members and invitations.
fn members() -> Vec<(&'static str, Json)> {
    vec![
        ("/auth/members", json!({"get": operation("list_members", "The members of the tenant", 200, None)})),
        (
            "/auth/invitations",
            json!({"post": operation("invite", "Invite a person by e-mail address", 201, Some((
            json!({"email": email(), "role": role()}), &["email", "role"]))) }),
        ),
        (
            "/auth/invitations/read",
            json!({"post": operation("read_invitation", "Show an invitation", 200, Some((
            json!({"token": token()}), &["token"]))) }),
        ),
        (
            "/auth/join",
            json!({"post": operation("join", "Accept an invitation", 201, Some((
            json!({"token": token(), "password": text(1, 256), "name": name()}), &["token"]))) }),
        ),
    ]
}

/// An operation with a JSON body, where it takes one: properties, and which of them must be there.
pub(super) fn operation(id: &str, summary: &str, status: u16, body: Option<(Json, &[&str])>) -> Json {
    let problem = || json!({"$ref": "#/components/responses/Problem"});
    let answer = match status {
        204 => json!({"description": "Done"}),
        _ => json!({"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}}),
    };
    let mut operation = json!({
        "operationId": id, "tags": ["auth"], "summary": summary,
        "responses": {status.to_string(): answer, "4XX": problem(), "5XX": problem()},
    });
    if let Some((properties, required)) = body {
        let schema =
            json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties});
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}
