//! Browser rendering: a session with a browser, kept alive while it is used, closed when it is idle.
//!
//! `POST /open {"keep_alive_ms": 60000}` opens it, `POST /screenshot`, `/pdf` and `/content` take
//! `{"url": "https://..."}` or `{"html": "..."}` and options of the result, `GET /session` describes it, `DELETE /session` closes it.
//! A browser that was lost - a restart, a crash - is opened again by the next request. The browser itself is a
//! [`BrowserEngine`]: chromium natively (feature `chromium`), the Browser binding inside Workers, [`MemoryBrowsers`] for tests,
//! `mock::MockBrowsers` over any of them (feature `mock`). `conformance` (its feature) is the kit for engines.

#[cfg(feature = "cloudflare-binding")]
mod binding;
#[cfg(all(feature = "chromium", not(target_arch = "wasm32")))]
pub mod chromium;
#[cfg(feature = "conformance")]
pub mod conformance;
mod devtools;
mod engine;
mod error;
mod guard;
mod job;
mod memory;
#[cfg(feature = "mock")]
pub mod mock;
#[cfg(all(feature = "chromium", not(target_arch = "wasm32")))]
mod proxy;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

#[cfg(feature = "cloudflare-binding")]
pub use binding::BrowserBinding;
pub use devtools::{DevTools, render};
pub use engine::BrowserEngine;
pub use error::{BrowserError, BrowserErrorKind};
pub use guard::{NetworkPolicy, check_url};
pub use job::{RenderFormat, RenderJob, Rendered};
pub use memory::MemoryBrowsers;

use crate::participant::Participant;
use crate::refusal::{Done, Stop};
use crate::reply::{moment, refusal, reply};
use crate::tables::Tables;
use crate::time::within;
use isobar_sessions::{AlarmInfo, Body, Error, ErrorKind, Request, Response, Result, SessionContext, SessionObject};

/// Default time that a browser may be idle, as Cloudflare's.
const IDLE_MS: i64 = 60_000;
/// Longest time that a browser may be idle: ten minutes, as Cloudflare's.
const MAX_KEEP_ALIVE_MS: i64 = 600_000;
/// Time that a page may take in all. Its parts have limits of their own, and name what was slow; together they may take longer.
const RENDER: Duration = Duration::from_secs(120);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS browser (
        one INTEGER PRIMARY KEY CHECK (one = 1), engine_id TEXT NOT NULL, user TEXT NOT NULL, opened_at INTEGER NOT NULL,
        used_at INTEGER NOT NULL, keep_alive_ms INTEGER NOT NULL, renders INTEGER NOT NULL
    )";

/// Options of a browser session: its environment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BrowserOptions {
    /// The pool of browsers; with `None` every request is answered with 501. No default: [`new`](Self::new) takes it.
    pub engine: Option<Arc<dyn BrowserEngine>>,
}

impl BrowserOptions {
    /// Creates options with the browsers of this engine.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use isobar_objects::browser::{BrowserOptions, MemoryBrowsers};
    /// let options = BrowserOptions::new(Some(Arc::new(MemoryBrowsers::default())));
    /// assert!(options.engine.is_some());
    /// ```
    #[must_use]
    pub fn new(engine: Option<Arc<dyn BrowserEngine>>) -> Self {
        Self { engine }
    }
}

/// A browser session, as a session object. Requests need a [`Participant`] who may write.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use async_trait::async_trait;
/// # use bytes::Bytes;
/// # use chrono::TimeDelta;
/// # use isobar_objects::browser::{
/// #     BrowserEngine, BrowserError, BrowserErrorKind, RenderFormat, RenderJob, Rendered,
/// # };
/// # /// An engine whose pages are blank.
/// # #[derive(Debug)]
/// # struct Blank;
/// #
/// # #[async_trait]
/// # impl BrowserEngine for Blank {
/// #     async fn open(&self, user: &str, _keep_alive: TimeDelta) -> Result<String, BrowserError> {
/// #         Ok(format!("browser of {user}"))
/// #     }
/// #
/// #     async fn render(&self, _session: &str, job: &RenderJob) -> Result<Rendered, BrowserError> {
/// #         match job.format {
/// #             RenderFormat::Content => Ok(Rendered::new("text/html; charset=utf-8", Bytes::from_static(b"<p></p>"))),
/// #             _ => Err(BrowserError::new(BrowserErrorKind::Page, "a blank page is not drawn")),
/// #         }
/// #     }
/// #
/// #     async fn close(&self, _session: &str) -> Result<(), BrowserError> {
/// #         Ok(())
/// #     }
/// # }
/// use std::sync::Arc;
///
/// use http::Request;
/// use isobar_objects::Participant;
/// use isobar_objects::browser::{BrowserOptions, BrowserSession};
/// use isobar_sessions::memory::MemoryHost;
/// use isobar_sessions::{Body, SessionNamespace};
///
/// // `Blank` implements `BrowserEngine`; natively `Chromium::find()` is one.
/// let browsers = MemoryHost::<BrowserSession>::new("Browser", || BrowserOptions::new(Some(Arc::new(Blank))))?;
/// let mut request = Request::post("/content").body(Body::from(r#"{"url": "https://example.com/"}"#))?;
/// Participant::new("user-1", "Ada").with_writes(true).insert(request.headers_mut());
///
/// let response = browsers.fetch(&browsers.id_from_name("user-1"), request).await?;
/// assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
/// assert_eq!(response.into_body().text().await?, "<p></p>");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BrowserSession {
    context: SessionContext,
    options: BrowserOptions,
    tables: Tables,
    /// Pages that are being rendered: a browser with one is not idle.
    rendering: std::cell::Cell<u32>,
}

/// The browser that a session has, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opened {
    engine_id: String,
    user: String,
    opened_at: i64,
    used_at: i64,
    keep_alive_ms: i64,
    renders: i64,
}

impl Opened {
    /// Returns the time at which it is closed unless it is used before, in Unix milliseconds.
    fn ends_at(&self) -> i64 {
        self.used_at + self.keep_alive_ms
    }

    /// Returns the session as its client sees it.
    fn shown(&self) -> Json {
        let at = |ms| DateTime::from_timestamp_millis(ms).map(moment);
        json!({"open": true, "opened_at": at(self.opened_at), "closes_at": at(self.ends_at()),
            "keep_alive_ms": self.keep_alive_ms, "renders": self.renders})
    }
}

impl SessionObject for BrowserSession {
    type Env = BrowserOptions;

    async fn start(context: SessionContext, options: BrowserOptions) -> Result<Self> {
        Ok(Self { context, options, tables: Tables::new(SCHEMA, "browser"), rendering: std::cell::Cell::new(0) })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let who = match Participant::of(&request) {
            Ok(who) => who,
            Err(refused) => return Ok(*refused),
        };
        let Some(engine) = self.options.engine.clone() else {
            return Ok(refusal(StatusCode::NOT_IMPLEMENTED, "there is no browser here"));
        };
        if !who.writes {
            return Ok(refusal(StatusCode::FORBIDDEN, "you may not use browsers"));
        }
        let format = match (request.method(), request.uri().path()) {
            (&Method::GET, "/session") => {
                let shown = self.opened()?.map_or_else(|| json!({"open": false}), |opened| opened.shown());
                return Ok(reply(StatusCode::OK, &shown));
            }
            (&Method::DELETE, "/session") => {
                return match self.close(&*engine).await {
                    Ok(()) => Ok(closed()),
                    Err(stop) => stop.answered(|error| failed(&error)),
                };
            }
            (&Method::POST, "/open") => {
                let body: Json = request.into_body().json().await.unwrap_or_default();
                let keep_alive = body["keep_alive_ms"].as_i64().unwrap_or(IDLE_MS);
                if !(1000..=MAX_KEEP_ALIVE_MS).contains(&keep_alive) {
                    return Ok(refusal(StatusCode::BAD_REQUEST, "keep_alive_ms must be 1000 to 600000"));
                }
                return match self.open(&*engine, &who, keep_alive).await {
                    Ok(opened) => Ok(reply(StatusCode::CREATED, &opened.shown())),
                    Err(stop) => stop.answered(|error| failed(&error)),
                };
            }
            (&Method::POST, "/screenshot") => RenderFormat::Screenshot,
            (&Method::POST, "/pdf") => RenderFormat::Pdf,
            (&Method::POST, "/content") => RenderFormat::Content,
            (_, path) => {
                let detail = format!("a browser has /session, /open, /screenshot, /pdf and /content, not {path}");
                return Ok(refusal(StatusCode::NOT_FOUND, &detail));
            }
        };
        let job = match request.into_body().json::<RenderJob>().await {
            Ok(job) => job.with_format(format),
            Err(error) => {
                return Ok(refusal(StatusCode::BAD_REQUEST, &format!("the body is not a render job: {error}")));
            }
        };
        if let Err(why) = job.check() {
            return Ok(refusal(StatusCode::BAD_REQUEST, why));
        }
        self.render(&*engine, &who, &job).await
    }

    async fn alarm(&self, _: AlarmInfo) -> Result<()> {
        let Some(opened) = self.opened()? else { return Ok(()) };
        let now = Utc::now().timestamp_millis();
        if self.rendering.get() > 0 {
            return self.keep(&Opened { used_at: now, ..opened });
        }
        if opened.ends_at() > now {
            return self.close_later(&opened); // it was used meanwhile
        }
        let Some(engine) = self.options.engine.clone() else { return Ok(()) };
        match self.close(&*engine).await {
            Ok(()) => Ok(()),
            // An alarm that fails comes again.
            Err(Stop::Refused(error)) => Err(Error::new(ErrorKind::Internal, format!("closing the browser: {error}"))),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

impl BrowserSession {
    async fn open(
        &self,
        engine: &dyn BrowserEngine,
        who: &Participant,
        keep_alive_ms: i64,
    ) -> Done<Opened, BrowserError> {
        let now = Utc::now().timestamp_millis();
        let opened = match self.opened()? {
            Some(opened) => Opened { used_at: now, keep_alive_ms, ..opened },
            None => {
                let made = engine.open(&who.user, TimeDelta::milliseconds(keep_alive_ms)).await;
                // Another request may have opened one meanwhile: a session has one browser.
                match (self.opened()?, made) {
                    (Some(opened), made) => {
                        if let Ok(surplus) = made {
                            drop(engine.close(&surplus).await);
                        }
                        Opened { used_at: now, keep_alive_ms, ..opened }
                    }
                    (None, Err(error)) => return Err(Stop::Refused(error)),
                    (None, Ok(engine_id)) => {
                        let user = who.user.clone();
                        Opened { engine_id, user, opened_at: now, used_at: now, keep_alive_ms, renders: 0 }
                    }
                }
            }
        };
        self.keep(&opened)?;
        Ok(opened)
    }

    async fn render(&self, engine: &dyn BrowserEngine, who: &Participant, job: &RenderJob) -> Result<Response> {
        let mut is_again = false;
        loop {
            let keep_alive = self.opened()?.map_or(IDLE_MS, |opened| opened.keep_alive_ms);
            let opened = match self.open(engine, who, keep_alive).await {
                Ok(opened) => opened,
                Err(stop) => return stop.answered(|error| failed(&error)),
            };
            self.context.durable().await?; // whatever happens now, the alarm will close it
            self.rendering.set(self.rendering.get() + 1);
            let silent = || Err(BrowserError::new(BrowserErrorKind::Unavailable, "the browser did not answer"));
            let rendered = within(RENDER, engine.render(&opened.engine_id, job)).await.unwrap_or_else(silent);
            self.rendering.set(self.rendering.get() - 1);
            match rendered {
                Ok(Rendered { content_type, bytes }) => {
                    if let Some(opened) = self.opened()? {
                        let used_at = Utc::now().timestamp_millis();
                        self.keep(&Opened { used_at, renders: opened.renders + 1, ..opened })?;
                    }
                    let mut response = Response::new(Body::from(bytes));
                    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
                    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    return Ok(response);
                }
                // Lost with a restart: the next one is a new one.
                Err(error) if error.kind() == BrowserErrorKind::Gone && !is_again => {
                    drop(engine.close(&opened.engine_id).await); // should it be there after all, it holds no place
                    self.forget(&opened)?;
                    is_again = true;
                }
                Err(error) => return Ok(failed(&error)),
            }
        }
    }

    async fn close(&self, engine: &dyn BrowserEngine) -> Done<(), BrowserError> {
        let Some(opened) = self.opened()? else { return Ok(()) };
        match engine.close(&opened.engine_id).await {
            Err(error) if error.kind() != BrowserErrorKind::Gone => Err(Stop::Refused(error)),
            _ => Ok(self.forget(&opened)?),
        }
    }

    /// Returns the browser that is stored; `None` without one.
    fn opened(&self) -> Result<Option<Opened>> {
        if !self.tables.are_there(&self.context)? {
            return Ok(None);
        }
        let sql = "SELECT engine_id, user, opened_at, used_at, keep_alive_ms, renders FROM browser";
        self.context.sql().exec(sql, ())?.next()
    }

    /// Stores the browser, and sets the alarm that closes it.
    fn keep(&self, opened: &Opened) -> Result<()> {
        self.tables.make(&self.context)?;
        let Opened { engine_id, user, opened_at, used_at, keep_alive_ms, renders } = opened;
        let sql = "INSERT OR REPLACE INTO browser (one, engine_id, user, opened_at, used_at, keep_alive_ms, renders) \
                   VALUES (1, ?, ?, ?, ?, ?, ?)";
        self.context.sql().exec(sql, (engine_id, user, *opened_at, *used_at, *keep_alive_ms, *renders))?;
        self.close_later(opened)
    }

    /// Sets the alarm to the end of the idle time.
    fn close_later(&self, opened: &Opened) -> Result<()> {
        let at = DateTime::from_timestamp_millis(opened.ends_at()).unwrap_or_else(Utc::now);
        self.context.set_alarm(at)
    }

    /// Deletes the stored browser, if it is this one, and its alarm.
    fn forget(&self, opened: &Opened) -> Result<()> {
        let sql = "DELETE FROM browser WHERE engine_id = ? RETURNING engine_id";
        let gone: Option<String> = self.context.sql().exec(sql, (&opened.engine_id,))?.next()?;
        // The alarm of a browser that came in its place stays.
        if gone.is_some() { self.context.delete_alarm() } else { Ok(()) }
    }
}

/// Returns the response to a closed session: 204.
fn closed() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Returns the response to a request whose engine has failed.
fn failed(error: &BrowserError) -> Response {
    let status = match error.kind() {
        BrowserErrorKind::Full => StatusCode::TOO_MANY_REQUESTS,
        BrowserErrorKind::Gone | BrowserErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        BrowserErrorKind::Page => StatusCode::UNPROCESSABLE_ENTITY,
        BrowserErrorKind::Forbidden => StatusCode::FORBIDDEN,
    };
    refusal(status, &error.to_string())
}
