//! The requests that are sent to both servers.

/// One request, with names for parts of its response.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    /// Path; `{image}` stands for a value that an earlier step has named `image`.
    pub(super) path: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: Vec<u8>,
    /// Name for a field of the response.
    pub(super) names: Option<&'static str>,
    pub(super) field: &'static str,
    /// Whether to send no session cookie.
    pub(super) anonymous: bool,
    /// Whether to send the API key of an earlier step.
    pub(super) with_key: bool,
}

impl Step {
    fn new(name: &'static str, method: &'static str, path: &'static str) -> Self {
        Self {
            name,
            method,
            path,
            headers: Vec::new(),
            body: Vec::new(),
            names: None,
            field: "id",
            anonymous: false,
            with_key: false,
        }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn json(self, json: &str) -> Self {
        self.header("Content-Type", "application/json").body(json)
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn named(mut self, name: &'static str) -> Self {
        self.names = Some(name);
        self
    }

    /// Names a header or a field of the response.
    fn named_by(mut self, name: &'static str, field: &'static str) -> Self {
        self.names = Some(name);
        self.field = field;
        self
    }

    fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    fn with_key(mut self) -> Self {
        self.anonymous = true;
        self.with_key = true;
        self
    }
}

/// A file that may be cached forever: its name has a hash.
pub(super) const MARK: &str = "/images/mark-0cf672fd.svg";

pub(super) fn steps() -> Vec<Step> {
    [
        site(),
        wrong_paths(),
        health(),
        accounts(),
        invitations(),
        documents(),
        resources(),
        lists(),
        keys(),
        images(),
        sessions(),
        mcp(),
        refusals(),
        leaving(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn get(name: &'static str, path: &'static str) -> Step {
    Step::new(name, "GET", path)
}

fn site() -> Vec<Step> {
    let css = |name| get(name, "/css/site.css");
    let mark = |name| get(name, MARK);
    vec![
        get("the home page", "/"),
        Step::new("the home page's head", "HEAD", "/"),
        get("the home page by its name", "/index.html"),
        get("a text", "/robots.txt"),
        css("a style sheet"),
        css("a style sheet once more"),
        get("a picture", "/images/mark-0cf672fd.svg"),
        mark("a picture that never changes"),
        mark("a part of it").header("Range", "bytes=5-14"),
        mark("a part of it from its end").header("Range", "bytes=-5"),
        mark("a part of it that is none").header("Range", "bytes=999999-"),
        mark("a part of what it was").header("Range", "bytes=5-14").header("If-Range", "\"another\""),
        mark("it if it is another").header("If-Match", "\"another\""),
        mark("it if it is new").header("If-None-Match", "*"),
        mark("it if it has changed").header("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),
        mark("it, compressed").header("Accept-Encoding", "gzip, br"),
        get("a folder", "/dashboard/"),
        get("a folder without its slash", "/dashboard"),
        get("a page without its extension", "/dashboard/resources"),
        get("a page with a query", "/dashboard/chat?room=a"),
        css("an etag that it has not").header("If-None-Match", "\"nothing\""),
        css("any etag").header("If-None-Match", "*"),
        css("an etag that must match").header("If-Match", "\"nothing\""),
        css("since the future").header("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"),
        css("unmodified since long ago").header("If-Unmodified-Since", "Thu, 01 Jan 2015 00:00:00 GMT"),
        css("a date that is none").header("If-Modified-Since", "yesterday"),
        css("the first bytes").header("Range", "bytes=0-9"),
        css("the last bytes").header("Range", "bytes=-5"),
        css("from a byte on").header("Range", "bytes=100-"),
        css("several ranges").header("Range", "bytes=0-1,10-11"),
        css("no such range").header("Range", "bytes=999999-"),
        css("a range that is none").header("Range", "bytes=z"),
        css("a range if it is the same").header("Range", "bytes=0-9").header("If-Range", "\"nothing\""),
        css("a style sheet, compressed").header("Accept-Encoding", "gzip, br"),
        Step::new("a page by POST", "POST", "/index.html").body("x"),
        Step::new("a page by OPTIONS", "OPTIONS", "/index.html"),
        Step::new("a page by DELETE", "DELETE", "/index.html"),
        get("what is not there", "/nowhere"),
        get("what is not there, with an extension", "/nowhere.css"),
        Step::new("the head of what is not there", "HEAD", "/nowhere"),
    ]
}

fn wrong_paths() -> Vec<Step> {
    vec![
        get("up and out, encoded", "/%2e%2e/media/x"),
        get("a backslash", "/css%5Csite.css"),
        get("a NUL", "/css%00"),
        get("a slash, encoded", "/css%2Fsite.css"),
        get("bytes that are no text", "/%ff%fe"),
        get("a space", "/no%20where"),
        get("another script", "/%C3%A9"),
    ]
}

fn health() -> Vec<Step> {
    vec![
        get("health", "/healthz"),
        get("readiness", "/readyz"),
        get("no such API", "/api/nothing"),
        get("the API's root", "/api"),
        get("the legacy database, unknown", "/api/projects"),
    ]
}

const SIGN_UP: &str = r#"{"email": "Ada@example.com", "password": "correct horse battery", "name": "Ada",
    "tenant": {"slug": "iam", "name": "Inner Animal é 🦀"}, "token": "for-development-only"}"#;
const COMMON: &str = r#"{"current": "correct horse battery", "new": "password123"}"#;
const LOG_IN: &str = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;

fn post(name: &'static str, path: &'static str, json: &str) -> Step {
    Step::new(name, "POST", path).json(json)
}

fn accounts() -> Vec<Step> {
    let sign_up = "/api/auth/signup";
    let log_in = "/api/auth/login";
    vec![
        get("who is nobody", "/api/auth/me"),
        get("tickets of nobody", "/api/support_tickets"),
        post("a sign-up without a link", sign_up, &SIGN_UP.replace(r#", "token": "for-development-only""#, "")),
        post("a sign-up by a wrong link", sign_up, &SIGN_UP.replace("for-development-only", "x")),
        post("a sign-up of nothing", sign_up, "{}"),
        post("a wrong sign-up", sign_up, &SIGN_UP.replace("Ada@example.com", "ada").replace("iam", "I am")),
        post("the first owner", sign_up, SIGN_UP),
        post("another first owner", sign_up, &SIGN_UP.replace("Ada@", "bob@").replace("iam", "bob")).anonymous(),
        get("who it is", "/api/auth/me"),
        get("the legacy database", "/api/projects"),
        post("a wrong password", log_in, &LOG_IN.replace("horse", "cow")).anonymous(),
        post("an unknown address", log_in, &LOG_IN.replace("ada@", "bob@")).anonymous(),
        post("a login", log_in, LOG_IN).anonymous(),
        post("a login without a password", log_in, r#"{"email": "ada@example.com"}"#).anonymous(),
        post(
            "a new password that is short",
            "/api/auth/password",
            r#"{"current": "correct horse battery", "new": "x"}"#,
        ),
        post("a new password that is tried first", "/api/auth/password", COMMON),
        post("a wrong password once more", "/api/auth/reauthenticate", r#"{"password": "x"}"#),
        post("the password once more", "/api/auth/reauthenticate", r#"{"password": "correct horse battery"}"#),
        post("a forgotten password without e-mail", "/api/auth/forgot", r#"{"email": "ada@example.com"}"#).anonymous(),
        post("a reset by no link", "/api/auth/reset", r#"{"token": "x", "password": "another horse battery"}"#)
            .anonymous(),
        post("a tenant that is not mine", "/api/auth/tenant", r#"{"tenant": "other"}"#),
        post("what another site sends", "/api/support_tickets", r#"{"subject": "x"}"#)
            .header("Sec-Fetch-Site", "cross-site"),
        post("what an older browser sends from elsewhere", "/api/support_tickets", r#"{"subject": "x"}"#)
            .header("Origin", "https://evil.example"),
    ]
}

/// A second user joins the team.
fn invitations() -> Vec<Step> {
    let invite = |name, json: &str| post(name, "/api/auth/invitations", json);
    let join = |name, json: &str| post(name, "/api/auth/join", json).anonymous();
    vec![
        invite("an invitation", r#"{"email": "bob@example.com", "role": "member"}"#).named_by("invitation", "token"),
        invite("a wrong invitation", r#"{"email": "bob", "role": "member"}"#),
        post("what it is to", "/api/auth/invitations/read", r#"{"token": "{invitation}"}"#).anonymous(),
        join("a wrong one is taken", r#"{"token": "x", "password": "correct horse battery", "name": "Bob"}"#),
        join("it is taken", r#"{"token": "{invitation}", "password": "correct horse battery", "name": "Bob"}"#),
        join("it is taken again", r#"{"token": "{invitation}", "password": "correct horse battery", "name": "Bob"}"#),
        post("back as who one was", "/api/auth/login", LOG_IN).anonymous(),
        get("who is in the team", "/api/auth/members"),
        get("where one may sign in", "/api/auth/oauth"),
        post("at no such provider", "/api/auth/oauth/none", r#"{"intent": "login"}"#),
    ]
}

fn documents() -> Vec<Step> {
    vec![get("the API's document", "/api/openapi.json"), get("the API to read", "/api/docs")]
}

fn resources() -> Vec<Step> {
    let tickets = "/api/support_tickets";
    let ticket = "/api/support_tickets/{ticket}";
    let patch =
        |name, etag: &'static str, json: &str| Step::new(name, "PATCH", ticket).header("If-Match", etag).json(json);
    let bulk = |name, json: &str| post(name, "/api/support_tickets/bulk", json);
    vec![
        get("no tickets", tickets),
        post("a ticket", tickets, r#"{"subject": "Über 🦀 <b>", "body": "It burns", "priority": 5}"#).named("ticket"),
        post("a wrong ticket", tickets, r#"{"priority": 9, "status": "lost", "colour": 1, "tenant_id": "x"}"#),
        post("broken JSON", tickets, r#"{"subject": "#),
        post("a list for a ticket", tickets, "[]"),
        Step::new("no JSON", "POST", tickets).header("Content-Type", "text/plain").body("subject"),
        Step::new("an empty body", "POST", tickets).header("Content-Type", "application/json"),
        get("the ticket", ticket),
        get("the ticket that is known", ticket).header("If-None-Match", "\"1\""),
        Step::new("the ticket's head", "HEAD", ticket),
        Step::new("a change of no revision", "PATCH", ticket).json(r#"{"status": "closed"}"#),
        patch("a change", "\"1\"", r#"{"status": "closed", "priority": 1}"#),
        patch("a change of what was", "\"1\"", r#"{"status": "open"}"#),
        patch("a wrong change", "*", r#"{"subject": null}"#),
        post("a ticket once", tickets, r#"{"subject": "once"}"#).header("Idempotency-Key", "one"),
        post("the ticket once more", tickets, r#"{"subject": "once"}"#).header("Idempotency-Key", "one"),
        post("another ticket of that key", tickets, r#"{"subject": "other"}"#).header("Idempotency-Key", "one"),
        bulk(
            "many",
            r#"{"operations": [{"op": "create", "value": {"subject": "x"}},
            {"op": "update", "id": "{ticket}", "revision": 2, "value": {"priority": 2}}]}"#,
        ),
        bulk(
            "many, one of them wrong",
            r#"{"operations": [{"op": "create", "value": {"subject": "y"}},
            {"op": "update", "id": "{ticket}", "revision": 2, "value": {"priority": 2}}]}"#,
        ),
        bulk("many that are none", r#"{"operations": []}"#),
        get("no such ticket", "/api/support_tickets/none"),
        Step::new("a method that tickets have not", "PUT", tickets).body("x"),
        post("a worker", "/api/workers", r#"{"name": "edge"}"#).named("worker"),
        post("a worker of that name", "/api/workers", r#"{"name": "edge"}"#),
        post("a deployment", "/api/deployments", r#"{"worker_id": "{worker}", "version": "1"}"#),
        post("a deployment of nothing", "/api/deployments", r#"{"worker_id": "none", "version": "1"}"#),
        post("a credential", "/api/credentials", r#"{"name": "SMTP", "secret": "s3cret"}"#).named("credential"),
        get("the credential", "/api/credentials/{credential}"),
        post("a setting", "/api/configurations", r#"{"key": "a", "value": {"b": [1, 2.5, null, true, "é"]}}"#),
        post("an integer that JSON keeps", "/api/customer_feedback", r#"{"text": "x", "rating": 5.0}"#),
        Step::new("delete the ticket", "DELETE", ticket).header("If-Match", "\"2\""),
        Step::new("delete the ticket as it is", "DELETE", ticket).header("If-Match", "\"3\""),
        Step::new("delete it again", "DELETE", ticket),
        Step::new("delete the tenant", "DELETE", "/api/tenants/x"),
        get("the memberships", "/api/memberships"),
        Step::new("a tenant without an owner", "PATCH", "/api/memberships/none").header("If-Match", "*").json("{}"),
    ]
}

fn lists() -> Vec<Step> {
    let list = |name, path| get(name, path);
    let prompt = |name, json: &str| post(name, "/api/prompts", json);
    vec![
        prompt("a prompt", r#"{"title": "Pandas", "body": "What pandas eat", "tags": ["a"]}"#),
        prompt("another prompt", r#"{"title": "Bears", "body": "Where bears sleep"}"#),
        prompt("a third prompt", r#"{"title": "Crabs", "body": "How crabs walk, pandas do not"}"#),
        list("all by title", "/api/prompts?sort=title"),
        list("one by title", "/api/prompts?sort=-title&limit=1&fields=title,tags"),
        list("by words", "/api/prompts?q=pandas&sort=title"),
        list("by a begun word", "/api/prompts?q=pan+wal"),
        list("by words of FTS5", "/api/prompts?q=NOT+(pandas"),
        list("by a title", "/api/prompts?title=Bears"),
        list("by the start of a title", "/api/prompts?title[prefix]=B"),
        list("by some titles", "/api/prompts?title[in]=Bears,Crabs&sort=title"),
        list("what is not there", "/api/prompts?title=none"),
        list("wrong parameters", "/api/prompts?limit=0&sort=colour&fields=x&cursor=y&colour=z"),
        list("by priority", "/api/support_tickets?priority[gte]=2&sort=-priority"),
        list("by what is null", "/api/customer_feedback?rating[null]=false"),
        list("an injection", "/api/prompts?title=%27%20OR%201%3D1%20--"),
    ]
}

fn keys() -> Vec<Step> {
    let mut key = post("a key", "/api/auth/keys", r#"{"name": "CI", "scopes": ["prompts:read"]}"#).named("key");
    key.field = "key";
    vec![
        key,
        post("a wrong key", "/api/auth/keys", r#"{"name": "", "scopes": ["prompts"], "expires_at": "soon"}"#),
        get("prompts by the key", "/api/prompts?sort=title&fields=title").with_key(),
        get("tickets by the key", "/api/support_tickets").with_key(),
        Step::new("a prompt by the key", "POST", "/api/prompts").json("{}").with_key(),
        get("keys by the key", "/api/auth/keys").with_key(),
        get("a key that is none", "/api/prompts").header("Authorization", "Bearer iso_x_y").anonymous(),
    ]
}

fn leaving() -> Vec<Step> {
    vec![
        Step::new("out", "POST", "/api/auth/logout"),
        get("who it was", "/api/auth/me"),
        post("in again", "/api/auth/login", LOG_IN),
    ]
}

fn images() -> Vec<Step> {
    let head = *b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x06\0\0\0";
    let picture: Vec<u8> = head.into_iter().chain((0..300_000_u32).map(|at| (at % 251) as u8)).collect();
    let film: Vec<u8> =
        b"\0\0\0\x18ftypmp42".iter().copied().chain((0..6_000_000_u32).map(|at| (at % 241) as u8)).collect();
    let (first, second) = film.split_at(5_500_000);
    let tus = |name, method, path| Step::new(name, method, path).header("Tus-Resumable", "1.0.0");
    let append = |name, offset| {
        tus(name, "PATCH", "{film}")
            .header("Content-Type", "application/offset+octet-stream")
            .header("Upload-Offset", offset)
    };
    let length: &'static str = "6000012";
    let upload = |name, path| Step::new(name, "POST", path);
    let content = |name| get(name, "/api/images/{image}/content");
    vec![
        get("no images", "/api/images"),
        upload("an image", "/api/images?name=cat.png").body(picture.clone()).named("image"),
        upload("a small image", "/api/images?name=dot.gif").body("GIF89a\x02\0\x03\0\0\0\0;").named("dot"),
        upload("an image without a name", "/api/images").body("x"),
        upload("an image that is none", "/api/images?name=script.html").body("<script>"),
        upload("an empty image", "/api/images?name=empty.png"),
        upload("an image that is another", "/api/images?name=lie.png").body("<html>"),
        Step::new("an image by PUT", "PUT", "/api/images?name=dot.png").body(picture),
        upload("images by a form", "/api/images")
            .header("Content-Type", "multipart/form-data; boundary=x")
            .body("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"form.gif\"\r\n\r\nGIF89a\x02\0\x03\0\0\0\0;\r\n--x--\r\n"),
        Step::new("what tus offers", "OPTIONS", "/api/uploads"),
        tus("an upload", "POST", "/api/uploads")
            .header("Upload-Length", length)
            .header("Upload-Metadata", "filename ZmlsbS5tcDQ=")
            .named_by("film", "location"),
        append("the first part of it", "0").body(first),
        tus("how far it has come", "HEAD", "{film}"),
        append("what is not next", "7").body("x"),
        append("the second part of it", "5500000").body(second),
        tus("that it is whole", "HEAD", "{film}"),
        get("the film's row", "/api/images?kind=video"),
        post("a link to the image", "/api/images/{image}/link", r#"{"seconds": 60}"#).named_by("link", "url"),
        get("the image by its link", "{link}").anonymous(),
        get("the image without it", "/api/images/{image}/content").anonymous(),
        Step::new("an end to its links", "DELETE", "/api/images/{image}/link"),
        get("the image by a link that was revoked", "{link}").anonymous(),
        Step::new("the image for everybody", "PATCH", "/api/images/{image}").header("If-Match", "*").json(r#"{"visibility": "public"}"#),
        get("the image as everybody sees it", "/api/images/{image}/content").anonymous().header("Range", "bytes=0-9"),
        get("the image", "/api/images/{image}"),
        content("its content"),
        Step::new("its content's head", "HEAD", "/api/images/{image}/content"),
        content("a part of its content").header("Range", "bytes=1000-1999"),
        content("two parts of its content").header("Range", "bytes=0-9,1000-1009"),
        content("no such part of its content").header("Range", "bytes=300000-"),
        get("the small image's content", "/api/images/{dot}/content"),
        get("no such image", "/api/images/none"),
        get("no such image's content", "/api/images/none/content"),
        Step::new("delete the small image", "DELETE", "/api/images/{dot}"),
        get("its content after that", "/api/images/{dot}/content"),
        get("the images", "/api/images"),
    ]
}

fn sessions() -> Vec<Step> {
    vec![
        get("a history", "/api/sessions/chat/quiet/history"),
        get("a part of a history", "/api/sessions/chat/quiet/history?before=5"),
        get("what a room has not", "/api/sessions/chat/quiet/nothing"),
        post(
            "something said without a socket",
            "/api/sessions/chat/quiet/messages",
            r#"{"text": "psst", "nonce": "1"}"#,
        ),
        post("it once more", "/api/sessions/chat/quiet/messages", r#"{"text": "psst", "nonce": "1"}"#),
        post("nothing said", "/api/sessions/chat/quiet/messages", r#"{"text": " "}"#),
        get("who is in a call", "/api/sessions/call/quiet/roster"),
        get("what helps in a call", "/api/sessions/call/quiet/ice"),
        get("no such kind of session", "/api/sessions/none/quiet/history"),
        get("a socket without an upgrade", "/api/sessions/chat/quiet/socket"),
    ]
}

/// MCP in both protocol revisions: listings, calls, and errors.
fn mcp() -> Vec<Step> {
    let ask = |name, json: &str| post(name, "/api/mcp", json).header("Accept", "application/json, text/event-stream");
    let session = |name, json: &str| ask(name, json).header("Mcp-Session-Id", "{mcp}");
    let modern = |name, method: &'static str, named: Option<&'static str>, params: &str| {
        let meta = r#""_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}"#;
        let step =
            ask(name, &format!(r#"{{"jsonrpc": "2.0", "id": 1, "method": "{method}", "params": {{{params}{meta}}}}}"#));
        let step = step.header("MCP-Protocol-Version", "2026-07-28").header("Mcp-Method", method);
        named.into_iter().fold(step, |step, named| step.header("Mcp-Name", named))
    };
    let list = r#""name": "list_records", "arguments": {"resource": "prompts", "fields": "title", "sort": "title"},"#;
    vec![
        get("MCP without a session", "/api/mcp"),
        ask("MCP without JSON", "{"),
        ask("an unknown session's tools", r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}"#)
            .header("Mcp-Session-Id", "none"),
        ask(
            "an older client",
            r#"{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
            "capabilities": {}, "clientInfo": {"name": "steps", "version": "1"}}}"#,
        )
        .named_by("mcp", "mcp-session-id"),
        session("it is ready", r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#),
        session("its ping", r#"{"jsonrpc": "2.0", "id": 2, "method": "ping"}"#),
        session("its tools", r#"{"jsonrpc": "2.0", "id": 3, "method": "tools/list"}"#),
        session("its resources", r#"{"jsonrpc": "2.0", "id": 4, "method": "resources/list"}"#),
        session(
            "its call",
            r#"{"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "list_records",
            "arguments": {"resource": "prompts", "q": "pandas", "fields": "title", "sort": "title"}}}"#,
        ),
        session(
            "what it cannot call",
            r#"{"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": {"name": "none"}}"#,
        ),
        session("no such method", r#"{"jsonrpc": "2.0", "id": 7, "method": "none"}"#),
        Step::new("its end", "DELETE", "/api/mcp").header("Mcp-Session-Id", "{mcp}"),
        session("after its end", r#"{"jsonrpc": "2.0", "id": 8, "method": "ping"}"#),
        modern("a newer client", "server/discover", None, ""),
        modern("a newer client's tools", "tools/list", None, ""),
        modern("a newer client's call", "tools/call", Some("list_records"), list),
        modern("a newer client's call by another name", "tools/call", Some("other"), list),
        modern("a newer client's ping", "ping", None, ""),
        modern(
            "what wants to be confirmed",
            "tools/call",
            Some("delete_record"),
            r#""name": "delete_record", "arguments": {"resource": "support_tickets", "id": "x"},"#,
        ),
    ]
}

fn refusals() -> Vec<Step> {
    let create = |name| Step::new(name, "POST", "/api/support_tickets");
    vec![
        create("from another site").header("Sec-Fetch-Site", "cross-site").json(r#"{"subject": "x"}"#),
        create("more JSON than is taken").json(&format!(r#"{{"subject": "{}"}}"#, "x".repeat(3_000_000))),
        create("deep JSON").json(&"[".repeat(100_000)),
        get(
            "a long query",
            "/api/support_tickets?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        post("an event", "/api/analytics/track", r#"{"name": "compared", "properties": {"round": 1}}"#),
        post(
            "a wrong event",
            "/api/analytics/track",
            r#"{"name": "Compared", "properties": {"email": "x", "list": []}}"#,
        ),
        get("what events come to", "/api/stats"),
        get("what events come to, wrongly asked", "/api/stats?hours=0"),
        get("the home page after all that", "/"),
    ]
}
