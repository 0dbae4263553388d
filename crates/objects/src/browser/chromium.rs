//! Chromium on this machine, driven over the DevTools Protocol.
//!
//! One process for all sessions, started when the first is opened and ended with the last; each session is a browser context of
//! its own, with its own cookies and storage. Its only way out is a proxy of ours, which lets nothing through but what is public.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::engine::check_room;
use super::proxy::{Proxy, resolve};
use super::{
    BrowserEngine, BrowserError, BrowserErrorKind, DevTools, NetworkPolicy, RenderJob, Rendered, check_url, render,
};

/// Time that chromium may take to start.
const START: Duration = Duration::from_secs(30);
/// Time that it may take to answer a command that loads no page.
const ANSWER: Duration = Duration::from_secs(10);
/// Bytes of an answer: more than the largest picture has in base64.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Flags that keep chromium behind its proxy: WebRTC sends no datagram, HTTP/3 is not tried, and no name is looked up but
/// by the proxy. Chromium has renamed the first: each version ignores the name it does not know.
const ONLY_BY_PROXY: [&str; 4] = [
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
];
/// Paths at which distributions install it.
const PLACES: [&str; 5] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/usr/bin/google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/// Chromium on this machine. Cheap to clone; the process ends with the last session, and with the last clone.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use chrono::TimeDelta;
/// use isobar_objects::browser::chromium::Chromium;
/// use isobar_objects::browser::{BrowserEngine, RenderJob};
///
/// let browsers = Chromium::find().ok_or("there is no chromium on this machine")?;
/// let session = browsers.open("user-1", TimeDelta::minutes(1)).await?;
/// let picture = browsers.render(&session, &RenderJob::url("https://example.com/")).await?;
/// std::fs::write("example.png", picture.bytes)?;
/// browsers.close(&session).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Chromium {
    inner: Arc<Inner>,
}

/// State that the clones share.
#[derive(Debug)]
struct Inner {
    program: PathBuf,
    network: NetworkPolicy,
    running: Mutex<Option<Running>>,
}

/// A running chromium, with its profile, its proxy and its sessions.
#[derive(Debug)]
struct Running {
    child: Child, // killed when dropped
    _profile: Profile,
    _proxy: Proxy,
    url: String,
    /// The users of sessions, by the session's id.
    sessions: HashMap<String, String>,
}

/// A folder that goes with its owner.
#[derive(Debug)]
struct Profile(PathBuf);

impl Drop for Profile {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0)); // what chromium still writes is the system's to clean up
    }
}

impl Chromium {
    /// Finds the chromium of this system: the path in the environment variable `CHROMIUM`, or one at which distributions install it.
    #[must_use]
    pub fn find() -> Option<Self> {
        let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
        let program = named.into_iter().chain(PLACES.map(PathBuf::from)).find(|path| path.is_file())?;
        Some(Self::at(program))
    }

    /// Takes the chromium at this path. It has six sessions at once, three of them of one user, and reaches the public internet alone.
    #[must_use]
    pub fn at(program: impl Into<PathBuf>) -> Self {
        let inner = Inner { program: program.into(), network: NetworkPolicy::Public, running: Mutex::new(None) };
        Self { inner: Arc::new(inner) }
    }

    /// Sets the networks that browsers may reach. Default: [`NetworkPolicy::Public`].
    #[must_use]
    pub fn with_network_policy(self, network: NetworkPolicy) -> Self {
        Self { inner: Arc::new(Inner { program: self.inner.program.clone(), network, running: Mutex::new(None) }) }
    }

    /// Returns the path of the program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.inner.program
    }

    /// Opens a DevTools connection to the browser at this address.
    async fn connect(&self, url: &str) -> Result<Connection, BrowserError> {
        let limits = WebSocketConfig::default().max_frame_size(Some(ANSWER_BYTES)).max_message_size(Some(ANSWER_BYTES));
        let connecting = tokio::time::timeout(ANSWER, connect_async_with_config(url, Some(limits), false)).await;
        let (socket, _) = connecting.map_err(|_| silent())?.map_err(|error| gone(&error))?;
        Ok(Connection { socket, network: self.inner.network })
    }

    /// Sends one command to the browser itself, and returns its result.
    async fn once(&self, url: &str, method: &str, params: Json) -> Result<Json, BrowserError> {
        let mut connection = self.connect(url).await?;
        tokio::time::timeout(ANSWER, connection.once(method, params)).await.map_err(|_| silent())?
    }
}

#[async_trait]
impl BrowserEngine for Chromium {
    async fn open(&self, user: &str, _: TimeDelta) -> Result<String, BrowserError> {
        let mut running = self.inner.running.lock().await;
        for is_again in [false, true] {
            let has_died = |it: &mut Running| !matches!(it.child.try_wait(), Ok(None));
            if running.as_mut().is_none_or(has_died) {
                *running = None; // before another starts: it takes its sessions along
                *running = Some(start(&self.inner.program, self.inner.network).await?);
            }
            let Some(browser) = running.as_mut() else { break };
            check_room(browser.sessions.values(), user)?;
            // The connection ends and the context stays: it is disposed of by name.
            match self.once(&browser.url, "Target.createBrowserContext", json!({"disposeOnDetach": false})).await {
                Ok(result) => {
                    let id = result["browserContextId"].as_str().unwrap_or_default().to_owned();
                    browser.sessions.insert(id.clone(), user.to_owned());
                    return Ok(id);
                }
                Err(error) if is_again => return Err(error),
                Err(error) => {
                    tracing_lost(&error);
                    *running = None; // the process has died: a new one
                }
            }
        }
        Err(BrowserError::new(BrowserErrorKind::Unavailable, "chromium does not stay"))
    }

    async fn render(&self, session: &str, job: &RenderJob) -> Result<Rendered, BrowserError> {
        let url = {
            let running = self.inner.running.lock().await;
            let browser = running.as_ref().filter(|browser| browser.sessions.contains_key(session));
            browser.map(|browser| browser.url.clone()).ok_or_else(|| gone(&"the session is not there any more"))?
        };
        let mut connection = self.connect(&url).await?;
        render(&mut connection, Some(session), job).await
    }

    async fn close(&self, session: &str) -> Result<(), BrowserError> {
        let mut running = self.inner.running.lock().await;
        let Some(browser) = running.as_mut() else { return Ok(()) };
        if browser.sessions.remove(session).is_none() {
            return Ok(());
        }
        if browser.sessions.is_empty() {
            *running = None;
            return Ok(());
        }
        let context = json!({ "browserContextId": session });
        let closed = self.once(&browser.url, "Target.disposeBrowserContext", context).await.map(drop);
        if closed.as_ref().is_err_and(|error| error.kind() == BrowserErrorKind::Unavailable) {
            *running = None; // it does not answer: the next session has a new process
        }
        closed
    }
}

/// Starts chromium, and waits for the address on which it listens.
async fn start(program: &Path, network: NetworkPolicy) -> Result<Running, BrowserError> {
    let unavailable = |why: String| BrowserError::new(BrowserErrorKind::Unavailable, why);
    let name = isobar_base::random::hex_id().map_err(|error| unavailable(error.to_string()))?;
    let folder = std::env::temp_dir().join(format!("isobar-chromium-{name}"));
    std::fs::create_dir(&folder).map_err(|error| unavailable(format!("{}: {error}", folder.display())))?;
    let profile = Profile(folder);
    let proxy = Proxy::start(network).await.map_err(|error| unavailable(format!("the browser's proxy: {error}")))?;
    let mut command = Command::new(program);
    command
        .args(["--headless=new", "--remote-debugging-port=0", "--remote-debugging-address=127.0.0.1", "--no-first-run"])
        .args([
            "--disable-gpu",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-sync",
            "--mute-audio",
        ])
        .args(["--disable-dev-shm-usage", "--disable-component-update", "--disable-domain-reliability"])
        .args(ONLY_BY_PROXY)
        .arg(format!("--user-data-dir={}", profile.0.display()))
        // This machine, too, by the proxy: without the second, chromium would go there by itself.
        .args([format!("--proxy-server=http://{}", proxy.address), "--proxy-bypass-list=<-loopback>".to_owned()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if is_root() {
        command.arg("--no-sandbox"); // chromium does not start its sandbox as root
    }
    let mut child =
        command.spawn().map_err(|error| unavailable(format!("{} does not start: {error}", program.display())))?;
    let errors = child.stderr.take().ok_or_else(|| unavailable("chromium has no standard error".to_owned()))?;
    let mut lines = BufReader::new(errors).lines();
    let listening = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(url) = line.trim().strip_prefix("DevTools listening on ") {
                return Some(url.to_owned());
            }
        }
        None
    };
    let url = tokio::time::timeout(START, listening).await.ok().flatten();
    let url = url.ok_or_else(|| unavailable(format!("{} does not say where it listens", program.display())))?;
    // Read on: chromium blocks when its output is not read.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(Running { child, _profile: profile, _proxy: proxy, url, sessions: HashMap::new() })
}

/// Whether this process runs as root.
#[cfg(unix)]
fn is_root() -> bool {
    // The owner of what this process makes is its user.
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

/// A DevTools connection, and the networks that its pages may reach.
struct Connection {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    network: NetworkPolicy,
}

impl Connection {
    /// Sends one command to the browser itself, and returns its result.
    async fn once(&mut self, method: &str, params: Json) -> Result<Json, BrowserError> {
        self.send(json!({"id": 1, "method": method, "params": params}).to_string()).await?;
        loop {
            let message: Json = serde_json::from_str(&self.next().await?).unwrap_or_default();
            if message["id"] == 1 {
                return match message["error"]["message"].as_str() {
                    Some(error) => Err(gone(&error)),
                    None => Ok(message["result"].clone()),
                };
            }
        }
    }
}

#[async_trait]
impl DevTools for Connection {
    async fn send(&mut self, text: String) -> Result<(), BrowserError> {
        self.socket.send(Message::text(text)).await.map_err(|error| gone(&error))
    }

    async fn next(&mut self) -> Result<String, BrowserError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(_))) | None => return Err(gone(&"the browser has closed")),
                Some(Ok(_)) => {}
                Some(Err(Error::Capacity(_))) => {
                    return Err(BrowserError::new(BrowserErrorKind::Page, "what came of the page is too large"));
                }
                Some(Err(error)) => return Err(gone(&error)),
            }
        }
    }

    /// Refused here, so that the sender of the job learns why; the proxy would refuse it without a reason.
    async fn check(&self, url: &str) -> Result<(), BrowserError> {
        match check_url(url, self.network)? {
            Some(host) => resolve(&host, 443, self.network).await.map(drop),
            None => Ok(()),
        }
    }
}

/// The error of a chromium that does not answer in time.
fn silent() -> BrowserError {
    BrowserError::new(BrowserErrorKind::Unavailable, format!("chromium did not answer within {} s", ANSWER.as_secs()))
}

/// The error of a session or a connection that has ended.
fn gone(why: &dyn std::fmt::Display) -> BrowserError {
    BrowserError::new(BrowserErrorKind::Gone, why.to_string())
}

/// Logs that chromium was lost.
fn tracing_lost(error: &BrowserError) {
    #[cfg(feature = "tracing")]
    tracing::warn!(%error, "chromium was lost and is started again");
    #[cfg(not(feature = "tracing"))]
    let _ = error;
}
