//! What both servers are asked.

/// One request, and what its answer is called.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    /// `{image}` stands for what an earlier step has named so.
    pub(super) path: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: Vec<u8>,
    /// The answer's `id` is called this from here on.
    pub(super) names: Option<&'static str>,
}

impl Step {
    fn new(name: &'static str, method: &'static str, path: &'static str) -> Self {
        Self { name, method, path, headers: Vec::new(), body: Vec::new(), names: None }
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
}

/// A file that everybody may keep: its name has a hash.
pub(super) const MARK: &str = "/images/mark-0cf672fd.svg";

pub(super) fn steps() -> Vec<Step> {
    [site(), wrong_paths(), health(), tenants(), images(), sessions(), refusals()].into_iter().flatten().collect()
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
        get("a page without its extension", "/dashboard/tenants"),
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
        get("the legacy database", "/api/projects"),
    ]
}

fn tenants() -> Vec<Step> {
    let create = |name| Step::new(name, "POST", "/api/tenants");
    vec![
        get("no tenants", "/api/tenants"),
        create("a tenant").json(r#"{"slug": "iam", "name": "Inner Animal é 🦀"}"#).named("tenant"),
        create("the same tenant").json(r#"{"slug": "iam", "name": "Again"}"#),
        create("a tenant with a wrong slug").json(r#"{"slug": "No Good", "name": "x"}"#),
        create("a tenant without a name").json(r#"{"slug": "nameless"}"#),
        create("broken JSON").json(r#"{"slug": "#),
        create("no JSON").header("Content-Type", "text/plain").body("slug"),
        create("an empty body").header("Content-Type", "application/json"),
        get("the tenants", "/api/tenants"),
        get("the tenant", "/api/tenants/{tenant}"),
        Step::new("the tenant's head", "HEAD", "/api/tenants/{tenant}"),
        get("no such tenant", "/api/tenants/none"),
        Step::new("a method that tenants have not", "PUT", "/api/tenants").body("x"),
        Step::new("delete the tenant", "DELETE", "/api/tenants/{tenant}"),
        Step::new("delete it again", "DELETE", "/api/tenants/{tenant}"),
    ]
}

fn images() -> Vec<Step> {
    let picture: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let upload = |name, path| Step::new(name, "POST", path);
    let content = |name| get(name, "/api/images/{image}/content");
    vec![
        get("no images", "/api/images"),
        upload("an image", "/api/images?name=cat.png").body(picture).named("image"),
        upload("a small image", "/api/images?name=dot.gif").body("GIF89a").named("dot"),
        upload("an image without a name", "/api/images").body("x"),
        upload("an image that is none", "/api/images?name=script.html").body("<script>"),
        upload("an empty image", "/api/images?name=empty.png").named("empty"),
        Step::new("delete the empty image", "DELETE", "/api/images/{empty}"),
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
        get("no such kind of session", "/api/sessions/none/quiet/history"),
        get("a socket without an upgrade", "/api/sessions/chat/quiet/socket"),
    ]
}

fn refusals() -> Vec<Step> {
    let create = |name| Step::new(name, "POST", "/api/tenants");
    vec![
        create("from another site").header("Sec-Fetch-Site", "cross-site").json(r#"{"slug": "evil", "name": "x"}"#),
        create("more JSON than is taken").json(&format!(r#"{{"slug": "big", "name": "{}"}}"#, "x".repeat(3_000_000))),
        create("deep JSON").json(&"[".repeat(100_000)),
        get(
            "a long query",
            "/api/tenants?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        get("the summary of events", "/api/events/summary"),
        get("the home page after all that", "/"),
    ]
}
