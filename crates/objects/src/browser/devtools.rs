//! The Chrome DevTools Protocol, as far as rendering takes it: the same natively and inside Workers.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::{BrowserError, BrowserErrorKind, RenderFormat, RenderJob, Rendered};
use crate::time::within;

/// Time that a page may take to load.
const LOAD: Duration = Duration::from_secs(20);
/// Time that a command may take.
const COMMAND: Duration = Duration::from_secs(30);
/// Bytes of a picture, a document or a page.
const RENDERED_BYTES: usize = 32 * 1024 * 1024;

/// A connection to a browser by the Chrome DevTools Protocol: JSON texts both ways, commands out, responses and events in.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::collections::VecDeque;
///
/// use async_trait::async_trait;
/// use isobar_objects::browser::{BrowserError, BrowserErrorKind, DevTools, RenderFormat, RenderJob, render};
/// use serde_json::{Value, json};
///
/// /// A browser that answers every command with the same page.
/// #[derive(Default)]
/// struct Canned(VecDeque<String>);
///
/// #[async_trait]
/// impl DevTools for Canned {
///     async fn send(&mut self, text: String) -> Result<(), BrowserError> {
///         let command: Value = serde_json::from_str(&text).unwrap_or_default();
///         let result = json!({"result": {"value": "<p>hello</p>"}});
///         self.0.push_back(json!({"id": command["id"], "result": result}).to_string());
///         if command["method"] == "Page.navigate" {
///             self.0.push_back(json!({"method": "Page.loadEventFired"}).to_string());
///         }
///         Ok(())
///     }
///
///     async fn next(&mut self) -> Result<String, BrowserError> {
///         self.0.pop_front().ok_or_else(|| BrowserError::new(BrowserErrorKind::Gone, "nothing was asked"))
///     }
///
///     async fn check(&self, _: &str) -> Result<(), BrowserError> {
///         Ok(())
///     }
/// }
///
/// let job = RenderJob::url("https://example.com/").with_format(RenderFormat::Content);
/// let rendered = render(&mut Canned::default(), None, &job).await?;
/// assert_eq!(rendered.bytes, "<p>hello</p>");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait DevTools: Send {
    /// Sends a command.
    ///
    /// # Errors
    /// [`BrowserErrorKind::Gone`] when the browser is not there any more.
    async fn send(&mut self, text: String) -> Result<(), BrowserError>;

    /// Returns the next response or event. Dropping the future loses none.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    async fn next(&mut self) -> Result<String, BrowserError>;

    /// Judges a URL that the browser is about to request, for a page or within one.
    ///
    /// # Errors
    /// [`BrowserErrorKind::Forbidden`], which fails the request, and the page if it needs it.
    async fn check(&self, url: &str) -> Result<(), BrowserError>;
}

/// Renders a page in a tab of its own, in the browser context of this id or the default one. Loading may take 20 s, a command 30 s.
///
/// # Errors
/// As [`BrowserEngine::render`](super::BrowserEngine::render).
pub async fn render(
    connection: &mut dyn DevTools,
    context: Option<&str>,
    job: &RenderJob,
) -> Result<Rendered, BrowserError> {
    if let Some(url) = &job.url {
        connection.check(url).await?;
    }
    let mut tab =
        Tab { connection, session: None, last: 0, events: VecDeque::new(), paused: VecDeque::new(), refused: None };
    let mut target = json!({"url": "about:blank"});
    context.into_iter().for_each(|context| target["browserContextId"] = context.into());
    let target = tab.command("Target.createTarget", target).await?["targetId"].clone();
    let attached = tab.command("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await?;
    tab.session = attached["sessionId"].as_str().map(str::to_owned);
    let rendered = tab.render(job).await;
    // What the page still waits for goes with it.
    tab.session = None;
    tab.paused.clear();
    // The tab goes whatever has come of it; a browser that is gone has none.
    drop(tab.command("Target.closeTarget", json!({ "targetId": target })).await);
    rendered
}

/// A tab that renders one job, over a connection that may have others.
struct Tab<'c> {
    connection: &'c mut dyn DevTools,
    session: Option<String>,
    last: u64,
    events: VecDeque<Json>,
    /// The page's requests that are not judged yet.
    paused: VecDeque<Json>,
    /// The first URL that was refused to the page.
    refused: Option<BrowserError>,
}

impl Tab<'_> {
    async fn render(&mut self, job: &RenderJob) -> Result<Rendered, BrowserError> {
        let size = json!({"width": job.width, "height": job.height, "deviceScaleFactor": 1, "mobile": false});
        self.command("Emulation.setDeviceMetricsOverride", size).await?;
        self.command("Fetch.enable", json!({"patterns": [{"urlPattern": "*"}]})).await?;
        self.command("Page.enable", json!({})).await?;
        match (&job.url, &job.html) {
            (Some(url), _) => {
                let navigated = self.command("Page.navigate", json!({ "url": url })).await?;
                if let Some(why) = navigated["errorText"].as_str() {
                    let failed = || BrowserError::new(BrowserErrorKind::Page, format!("{url}: {why}"));
                    return Err(self.refused.take().unwrap_or_else(failed));
                }
                self.loaded().await?;
            }
            (None, html) => {
                let tree = self.command("Page.getFrameTree", json!({})).await?;
                let frame = tree["frameTree"]["frame"]["id"].clone();
                let html = html.as_deref().unwrap_or_default();
                self.command("Page.setDocumentContent", json!({"frameId": frame, "html": html})).await?;
                // What the document asks for is there, or has failed, when its load event has been.
                let script =
                    "document.readyState === 'complete' || new Promise(done => addEventListener('load', done))";
                let loaded = json!({"expression": script, "awaitPromise": true});
                self.command("Runtime.evaluate", loaded).await?;
            }
        }
        if job.wait_ms > 0 {
            self.wait(Duration::from_millis(job.wait_ms.into())).await?;
        }
        match job.format {
            RenderFormat::Screenshot => {
                let options = json!({"format": "png", "captureBeyondViewport": job.full_page});
                self.encoded("Page.captureScreenshot", options, "image/png").await
            }
            RenderFormat::Pdf => {
                let options = json!({"printBackground": true, "preferCSSPageSize": true});
                self.encoded("Page.printToPDF", options, "application/pdf").await
            }
            RenderFormat::Content => {
                let script = "(document.doctype ? new XMLSerializer().serializeToString(document.doctype) : '') + document.documentElement.outerHTML";
                let options = json!({"expression": script, "returnByValue": true});
                let evaluated = self.command("Runtime.evaluate", options).await?;
                let html = evaluated["result"]["value"].as_str().unwrap_or_default().to_owned();
                fits(Bytes::from(html), "text/html; charset=utf-8")
            }
        }
    }

    /// Runs a command that returns base64, and decodes it.
    async fn encoded(
        &mut self,
        method: &str,
        options: Json,
        content_type: &'static str,
    ) -> Result<Rendered, BrowserError> {
        let result = self.command(method, options).await?;
        let bytes = result["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
        let bytes = bytes.ok_or_else(|| unavailable("the browser returned no data"))?;
        fits(bytes.into(), content_type)
    }

    /// Waits for the page's load event.
    async fn loaded(&mut self) -> Result<(), BrowserError> {
        if self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            return Ok(());
        }
        let loaded = async {
            while self.receive().await?["method"] != "Page.loadEventFired" {}
            Ok(())
        };
        let why = || format!("the page did not load within {} s", LOAD.as_secs());
        within(LOAD, loaded).await.unwrap_or_else(|| Err(BrowserError::new(BrowserErrorKind::Page, why())))
    }

    /// Lets time pass, and lets the page ask for what it wants meanwhile.
    async fn wait(&mut self, duration: Duration) -> Result<(), BrowserError> {
        let listening = async {
            loop {
                if let Err(error) = self.receive().await {
                    return error;
                }
            }
        };
        within(duration, listening).await.map_or(Ok(()), Err)
    }

    /// Sends a command and waits for its answer; events that come meanwhile are kept.
    async fn command(&mut self, method: &str, params: Json) -> Result<Json, BrowserError> {
        let answered = within(COMMAND, async {
            let id = self.post(method, params).await?;
            loop {
                let message = self.receive().await?;
                if message["id"] == id {
                    return Ok(message);
                }
                if message["method"].is_string() {
                    self.events.push_back(message);
                    self.events.truncate(1000);
                }
            }
        });
        let message =
            answered.await.unwrap_or_else(|| Err(unavailable(&format!("the browser did not answer {method}"))))?;
        match message["error"]["message"].as_str() {
            Some(error) => Err(gone_or(error, method)),
            None => Ok(message["result"].clone()),
        }
    }

    /// Sends a command without waiting. Returns its id.
    async fn post(&mut self, method: &str, params: Json) -> Result<u64, BrowserError> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        self.session.iter().for_each(|session| message["sessionId"] = session.as_str().into());
        self.connection.send(message.to_string()).await?;
        Ok(self.last)
    }

    /// The next message. What the page waits for is done here, whatever else is waited for.
    async fn receive(&mut self) -> Result<Json, BrowserError> {
        loop {
            self.judge().await?;
            let text = self.connection.next().await?;
            let message: Json = serde_json::from_str(&text).map_err(|_| unavailable("the browser sent no JSON"))?;
            match message["method"].as_str() {
                Some("Fetch.requestPaused") if self.session.is_none() => {}
                Some("Fetch.requestPaused") => self.paused.push_back(message),
                // No user answers it: a dialog that stays holds its page.
                Some("Page.javascriptDialogOpening") => {
                    self.post("Page.handleJavaScriptDialog", json!({"accept": false})).await?;
                }
                _ => return Ok(message),
            }
        }
    }

    /// Lets the page's requests go on, or refuses them. The caller may give up meanwhile: a request that is not
    /// judged yet stays, for the next who waits.
    async fn judge(&mut self) -> Result<(), BrowserError> {
        while let Some(paused) = self.paused.front() {
            let request = paused["params"]["requestId"].clone();
            let url = paused["params"]["request"]["url"].as_str();
            let (method, params) = match self.connection.check(url.unwrap_or_default()).await {
                Ok(()) => ("Fetch.continueRequest", json!({ "requestId": request })),
                Err(error) => {
                    self.refused.get_or_insert(error);
                    ("Fetch.failRequest", json!({"requestId": request, "errorReason": "AccessDenied"}))
                }
            };
            self.post(method, params).await?;
            self.paused.pop_front();
        }
        Ok(())
    }
}

/// Checks that a result is within the limit of 32 MiB.
fn fits(bytes: Bytes, content_type: &'static str) -> Result<Rendered, BrowserError> {
    if bytes.len() > RENDERED_BYTES {
        return Err(BrowserError::new(BrowserErrorKind::Page, "the result is larger than the limit of 32 MiB"));
    }
    Ok(Rendered { content_type, bytes })
}

/// The error of a browser that breaks the protocol or does not answer.
fn unavailable(why: &str) -> BrowserError {
    BrowserError::new(BrowserErrorKind::Unavailable, why)
}

/// The error of a refused command: `Gone` where its target has gone, else `Page`.
fn gone_or(error: &str, method: &str) -> BrowserError {
    let is_gone = ["Failed to find browser context", "No target with given id", "Session with given id not found"];
    let kind = match is_gone.iter().any(|text| error.contains(text)) {
        true => BrowserErrorKind::Gone,
        false => BrowserErrorKind::Page,
    };
    BrowserError::new(kind, format!("{method}: {error}"))
}
