//! The platform's session objects: one class, and the name of each says its kind: `chat/{tenant}/{room}`, `call/...`,
//! `mcp/{tenant}/{user}`, `browser/...`, and `keeper`, which does what is done now and then.

use chrono::TimeDelta;
use isobar_http_serve::{Job, Keeper, Platform};
use isobar_sessions::kinds::browser::{BrowserOptions, BrowserSession};
use isobar_sessions::kinds::call::{CallOptions, CallRoom, Turn};
use isobar_sessions::kinds::chat::ChatRoom;
use isobar_sessions::kinds::mcp::{McpOptions, McpSession};
use isobar_sessions::{
    AlarmInfo, CloseFrame, Error, Message, Request, Response, Result, SessionContext, SessionObject, WebSocket,
};

use crate::api;
use crate::bindings::{BROWSER, STUN_URLS, TURN_SECRET, TURN_URLS};

/// The name of the object that keeps house.
pub const KEEPER: &str = "keeper";

/// What the objects are handed.
#[derive(Debug, Clone)]
pub struct IamEnv {
    mcp: std::result::Result<McpOptions, String>,
    call: CallOptions,
    browser: BrowserOptions,
    jobs: Vec<Job>,
}

impl IamEnv {
    /// What the objects of this platform are handed.
    #[must_use]
    pub fn new(platform: &Platform) -> Self {
        let texts = |name| platform.var(name).ok().and_then(|urls| serde_json::from_value::<Vec<String>>(urls).ok());
        let mut call = CallOptions::default().with_stun(texts(STUN_URLS).unwrap_or_default());
        if let (Some(urls), Ok(secret)) = (texts(TURN_URLS), platform.secret(TURN_SECRET)) {
            call = call.with_turn(Turn::new(urls, secret.expose()));
        }
        let mcp = api::mcp(platform).map(McpOptions::new).map_err(|error| error.to_string());
        let browser = BrowserOptions::new(platform.browser(BROWSER).ok());
        Self { mcp, call, browser, jobs: jobs(platform) }
    }
}

/// What is done now and then.
fn jobs(platform: &Platform) -> Vec<Job> {
    let (media, auth) = (platform.clone(), platform.clone());
    let sweep_media = Job::new("sweep uploads", TimeDelta::minutes(10), move || {
        let platform = media.clone();
        Box::pin(async move {
            let media = api::media(&platform).map_err(|error| error.to_string())?;
            media.sweep().await.map(|swept| format!("{swept:?}")).map_err(|problem| format!("{problem:?}"))
        })
    });
    let sweep_accounts = Job::new("sweep accounts", TimeDelta::hours(1), move || {
        let platform = auth.clone();
        Box::pin(async move {
            let auth = api::auth(&platform).map_err(|error| error.to_string())?;
            auth.sweep().await.map(|swept| format!("{swept} rows")).map_err(|error| error.to_string())
        })
    });
    vec![sweep_media, sweep_accounts]
}

/// One session of the platform, of whichever kind.
#[derive(Debug)]
pub enum IamSession {
    /// A chat room.
    Chat(ChatRoom),
    /// A video call.
    Call(CallRoom),
    /// A user's MCP sessions.
    Mcp(McpSession),
    /// A browser.
    Browser(BrowserSession),
    /// What is done now and then.
    Keeper(Keeper),
}

/// Hands an event on to the kind.
macro_rules! hand_on {
    ($session:expr, $kind:ident => $event:expr) => {
        match $session {
            IamSession::Chat($kind) => $event.await,
            IamSession::Call($kind) => $event.await,
            IamSession::Mcp($kind) => $event.await,
            IamSession::Browser($kind) => $event.await,
            IamSession::Keeper($kind) => $event.await,
        }
    };
}

impl SessionObject for IamSession {
    type Env = IamEnv;

    async fn start(context: SessionContext, env: IamEnv) -> Result<Self> {
        let name = name(&context)?;
        let kind = name.split('/').next().unwrap_or_default();
        Ok(match kind {
            "chat" => Self::Chat(ChatRoom::start(context, ()).await?),
            "call" => Self::Call(CallRoom::start(context, env.call).await?),
            "mcp" => Self::Mcp(McpSession::start(context, env.mcp.map_err(Error::application)?).await?),
            "browser" => Self::Browser(BrowserSession::start(context, env.browser).await?),
            KEEPER => Self::Keeper(Keeper::start(context, env.jobs).await?),
            _ => return Err(Error::application(format!("there is no kind of session {kind:?}"))),
        })
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        hand_on!(self, kind => kind.fetch(request))
    }

    async fn alarm(&self, info: AlarmInfo) -> Result<()> {
        hand_on!(self, kind => kind.alarm(info))
    }

    async fn message(&self, socket: &WebSocket, message: Message) -> Result<()> {
        hand_on!(self, kind => kind.message(socket, message))
    }

    async fn closed(&self, socket: &WebSocket, close: CloseFrame) -> Result<()> {
        hand_on!(self, kind => kind.closed(socket, close))
    }
}

/// The object's name. An alarm's event may not tell it, so it is kept.
fn name(context: &SessionContext) -> Result<String> {
    const KEY: &str = "session name";
    if let Some(name) = context.kv().get::<String>(KEY)? {
        return Ok(name);
    }
    let name = context.id().name().ok_or_else(|| Error::application("a session of the platform has a name"))?;
    context.kv().put(KEY, &name)?;
    Ok(name.to_owned())
}
