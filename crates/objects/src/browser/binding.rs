//! Cloudflare's Browser Rendering, by its binding: the protocol of `@cloudflare/puppeteer`, DevTools over a WebSocket.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use isobar_cloudflare::binding::{JsError, Object, send};

use super::{
    BrowserEngine, BrowserError, BrowserErrorKind, DevTools, NetworkPolicy, RenderJob, Rendered, check_url, render,
};
use crate::time::within;
use isobar_sessions::cloudflare::connect_socket;
use isobar_sessions::{ClientSocket, Message};

/// Time that the binding may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The binding takes any host.
const BASE: &str = "https://browser/v1/devtools/browser";

/// The browsers of a Browser Rendering binding. How many there may be is Cloudflare's limit for the account; one user may have
/// them all.
#[derive(Debug, Clone)]
pub struct BrowserBinding(Object);

impl BrowserBinding {
    /// Takes the browsers of a binding, such as `env.BROWSER`.
    ///
    /// # Errors
    /// The object has no `fetch`.
    pub fn new(binding: Object) -> Result<Self, JsError> {
        binding.method("fetch")?;
        Ok(Self(binding))
    }

    /// Sends a request to the binding, and returns its response.
    ///
    /// # Errors
    /// `Gone` for 404 and 410, `Full` for 429, `Unavailable` for every other failure, and after 30 s.
    async fn ask(&self, method: &str, url: &str, upgrades: bool) -> Result<Object, BrowserError> {
        let mut init = Object::empty().with("method", method);
        if upgrades {
            init = init.with("headers", Object::empty().with("Upgrade", "websocket"));
        }
        let arguments = [url.into(), init.into()];
        let answer = within(ANSWER, self.0.ask("fetch", &arguments)).await;
        let answer = answer.ok_or_else(|| unavailable(&"the Browser binding did not answer"))?;
        let answer = Object::from(answer.map_err(|error| unavailable(&error))?);
        let status = answer.number("status").unwrap_or_default() as u16;
        match status {
            101 | 200..=299 => Ok(answer),
            404 | 410 => Err(BrowserError::new(BrowserErrorKind::Gone, "the browser is not there any more")),
            429 => {
                Err(BrowserError::new(BrowserErrorKind::Full, "there are too many browsers open; wait, or close one"))
            }
            _ => Err(unavailable(&format!("the Browser binding answered {status}"))),
        }
    }
}

#[async_trait]
impl BrowserEngine for BrowserBinding {
    async fn open(&self, _: &str, keep_alive: TimeDelta) -> Result<String, BrowserError> {
        send(async {
            // The alarm closes it; the binding is to wait a little longer.
            let keep_alive = (keep_alive.num_milliseconds() + 10_000).clamp(10_000, 600_000);
            let answer = self.ask("POST", &format!("{BASE}?keep_alive={keep_alive}"), false).await?;
            let json = answer.ask("json", &[]).await.map_err(|error| unavailable(&error))?;
            Object::from(json).text("sessionId").ok_or_else(|| unavailable(&"the Browser binding named no session"))
        })
        .await
    }

    async fn render(&self, session: &str, job: &RenderJob) -> Result<Rendered, BrowserError> {
        send(async {
            let answer = self.ask("GET", &format!("{BASE}/{session}"), true).await?;
            let socket = answer.object("webSocket");
            let socket =
                connect_socket(socket).ok_or_else(|| unavailable(&"the Browser binding opened no WebSocket"))?;
            render(&mut Connection(socket), None, job).await
        })
        .await
    }

    async fn close(&self, session: &str) -> Result<(), BrowserError> {
        send(async { self.ask("DELETE", &format!("{BASE}/{session}"), false).await.map(drop) }).await
    }
}

/// A DevTools connection over the socket that the binding has opened.
struct Connection(ClientSocket);

#[async_trait]
impl DevTools for Connection {
    async fn send(&mut self, text: String) -> Result<(), BrowserError> {
        self.0.send(text.as_str()).map_err(|error| gone(&error))
    }

    async fn next(&mut self) -> Result<String, BrowserError> {
        loop {
            match self.0.receive().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Binary(_))) => {}
                Some(Err(_)) | None => return Err(gone(&"the browser has closed")),
            }
        }
    }

    /// Checks the URL alone: its host is resolved by Cloudflare, whose browsers are in none of the application's networks.
    async fn check(&self, url: &str) -> Result<(), BrowserError> {
        check_url(url, NetworkPolicy::Public).map(drop)
    }
}

fn unavailable(why: &dyn std::fmt::Display) -> BrowserError {
    BrowserError::new(BrowserErrorKind::Unavailable, why.to_string())
}

fn gone(why: &dyn std::fmt::Display) -> BrowserError {
    BrowserError::new(BrowserErrorKind::Gone, why.to_string())
}
