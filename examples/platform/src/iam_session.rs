//! The platform's session objects: one class, in which the name determines the kind: `chat/{tenant}/{room}`, `call/...`,
//! `mcp/{tenant}/{user}`, `browser/...`, `directory/{tenant}`, which lists the rooms of a tenant, and `keeper`, which runs
//! scheduled tasks.

use std::cell::Cell;

use chrono::TimeDelta;
use isobar_http_serve::{BindingError, Platform, ScheduledTask, Scheduler};
use isobar_objects::browser::{BrowserOptions, BrowserSession};
use isobar_objects::call::{CallOptions, CallRoom, Turn};
use isobar_objects::chat::{ChatOptions, ChatRoom};
use isobar_objects::directory::{Directory, DirectoryOptions};
use isobar_objects::mcp::{McpOptions, McpSession};
use isobar_sessions::{
    AlarmInfo, CloseFrame, Error, Message, Request, Response, Result, SessionContext, SessionObject, WebSocket,
};

use crate::api;
use crate::bindings::{
    BROWSER, CALL_PARTICIPANTS, CHAT_HISTORY, CHAT_SOCKETS, CHAT_SOCKETS_OF_USER, DIRECTORY, IAM_SESSION, QUOTA_ROOMS,
    QUOTA_ROOMS_OF_USER, STUN_URLS, TURN_SECRET, TURN_URLS,
};

/// The name of the object that runs scheduled tasks.
pub const KEEPER: &str = "keeper";

/// Environment of the objects.
#[derive(Debug, Clone)]
pub struct IamEnv {
    rooms: std::result::Result<RoomOptions, String>,
    mcp: std::result::Result<McpOptions, String>,
    browser: BrowserOptions,
    tasks: Vec<ScheduledTask>,
}

impl IamEnv {
    /// Creates the environment of this platform's objects.
    #[must_use]
    pub fn new(platform: &Platform) -> Self {
        let rooms = RoomOptions::new(platform).map_err(|error| error.to_string());
        let mcp = api::mcp(platform).map(McpOptions::new).map_err(|error| error.to_string());
        let browser = BrowserOptions::new(platform.browser(BROWSER).ok());
        Self { rooms, mcp, browser, tasks: tasks(platform) }
    }
}

/// Options of rooms, and of the directory that counts them, by the vars of wrangler.toml.
#[derive(Debug, Clone)]
pub(crate) struct RoomOptions {
    chat: ChatOptions,
    call: CallOptions,
    directory: DirectoryOptions,
}

impl RoomOptions {
    /// Reads the vars.
    ///
    /// # Errors
    /// When a limit is not a number.
    pub(crate) fn new(platform: &Platform) -> std::result::Result<Self, BindingError> {
        let limit = |name: &str, default: u32| -> std::result::Result<u32, BindingError> {
            let number = api::number(platform, name)?;
            Ok(number.map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX)))
        };
        let count = |name: &str, default: usize| -> std::result::Result<usize, BindingError> {
            let number = api::number(platform, name)?;
            Ok(number.map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX)))
        };
        let chat = ChatOptions::default();
        let call = CallOptions::default();
        let directory = DirectoryOptions::default();
        let sockets = count(CHAT_SOCKETS, chat.sockets)?;
        let sockets_of_user = count(CHAT_SOCKETS_OF_USER, chat.sockets_of_user)?;
        let history = limit(CHAT_HISTORY, chat.history)?;
        let age = chat.history_age;
        let chat = chat.with_sockets(sockets, sockets_of_user).with_history(history, age);
        let texts = |name| platform.var(name).ok().and_then(|urls| serde_json::from_value::<Vec<String>>(urls).ok());
        let participants = count(CALL_PARTICIPANTS, call.limit)?;
        let mut call = call.with_limit(participants).with_stun(texts(STUN_URLS).unwrap_or_default());
        if let (Some(urls), Ok(secret)) = (texts(TURN_URLS), platform.secret(TURN_SECRET)) {
            call = call.with_turn(Turn::new(urls, secret.expose()));
        }
        let rooms = limit(QUOTA_ROOMS, directory.rooms)?;
        let rooms_of_user = limit(QUOTA_ROOMS_OF_USER, directory.rooms_of_user)?;
        Ok(Self { chat, call, directory: directory.with_rooms(rooms, rooms_of_user) })
    }
}

/// Returns the scheduled tasks.
fn tasks(platform: &Platform) -> Vec<ScheduledTask> {
    let media = platform.clone();
    let auth = platform.clone();
    let sweep_media = ScheduledTask::new("sweep uploads", TimeDelta::minutes(10), move || {
        let platform = media.clone();
        Box::pin(async move {
            let media = api::media(&platform).map_err(|error| error.to_string())?;
            media.sweep().await.map(|report| format!("{report:?}")).map_err(|problem| format!("{problem:?}"))
        })
    });
    let sweep_accounts = ScheduledTask::new("sweep accounts", TimeDelta::hours(1), move || {
        let platform = auth.clone();
        Box::pin(async move {
            let auth = api::auth(&platform).map_err(|error| error.to_string())?;
            auth.sweep().await.map(|swept| format!("{swept} rows")).map_err(|error| error.to_string())
        })
    });
    let accounts = platform.clone();
    let close_ended = ScheduledTask::new("close connections of ended access", TimeDelta::minutes(1), move || {
        let platform = accounts.clone();
        Box::pin(async move {
            // Natively the objects have no access to their namespace, so the server delivers revocations.
            if platform.sessions(IAM_SESSION).is_err() {
                return Ok("left to the server".to_owned());
            }
            let auth = api::auth(&platform).map_err(|error| error.to_string())?;
            auth.deliver_revocations()
                .await
                .map(|rows| format!("{rows} rows"))
                .map_err(|problem| format!("{problem:?}"))
        })
    });
    vec![sweep_media, sweep_accounts, close_ended]
}

/// A session object of the platform, of any kind.
#[derive(Debug)]
pub struct IamSession {
    kind: Kind,
    context: SessionContext,
    is_named: Cell<bool>,
}

#[derive(Debug)]
enum Kind {
    Chat(ChatRoom),
    Call(CallRoom),
    Mcp(McpSession),
    Browser(BrowserSession),
    Directory(Directory),
    Scheduler(Scheduler),
}

/// Dispatches an event to the kind.
macro_rules! hand_on {
    ($session:expr, $kind:ident => $event:expr) => {{
        let result = match &$session.kind {
            Kind::Chat($kind) => $event.await,
            Kind::Call($kind) => $event.await,
            Kind::Mcp($kind) => $event.await,
            Kind::Browser($kind) => $event.await,
            Kind::Directory($kind) => $event.await,
            Kind::Scheduler($kind) => $event.await,
        };
        $session.keep_name()?;
        result
    }};
}

impl SessionObject for IamSession {
    type Env = IamEnv;

    async fn start(context: SessionContext, env: IamEnv) -> Result<Self> {
        let name = name(&context)?;
        let kind = name.split('/').next().unwrap_or_default();
        let own = context.clone();
        let kind = match kind {
            "chat" => Kind::Chat(ChatRoom::start(own, rooms(env.rooms)?.chat).await?),
            "call" => Kind::Call(CallRoom::start(own, rooms(env.rooms)?.call).await?),
            "mcp" => Kind::Mcp(McpSession::start(own, env.mcp.map_err(Error::application)?).await?),
            "browser" => Kind::Browser(BrowserSession::start(own, env.browser).await?),
            DIRECTORY => Kind::Directory(Directory::start(own, rooms(env.rooms)?.directory).await?),
            KEEPER => Kind::Scheduler(Scheduler::start(own, env.tasks).await?),
            _ => return Err(Error::application(format!("there is no kind of session {kind:?}"))),
        };
        Ok(Self { kind, context, is_named: Cell::new(false) })
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

/// The options of rooms, or the error that the vars have.
fn rooms(options: std::result::Result<RoomOptions, String>) -> Result<RoomOptions> {
    options.map_err(Error::application)
}

const NAME: &str = "session name";

impl IamSession {
    /// Stores the name of an object with an alarm, as the alarm's event may not have it. An object that was only read stores
    /// nothing.
    fn keep_name(&self) -> Result<()> {
        if self.is_named.get() || matches!(self.kind, Kind::Chat(_)) || self.context.alarm()?.is_none() {
            return Ok(());
        }
        if self.context.kv().get::<String>(NAME)?.is_none()
            && let Some(name) = self.context.id().name()
        {
            self.context.kv().put(NAME, &name)?;
        }
        self.is_named.set(true);
        Ok(())
    }
}

/// Returns the object's name, from its id or as it was stored.
fn name(context: &SessionContext) -> Result<String> {
    if let Some(name) = context.id().name() {
        return Ok(name.to_owned());
    }
    let name = context.kv().get::<String>(NAME)?;
    name.ok_or_else(|| Error::application("a session of the platform has a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vars_set_the_limits_of_rooms() {
        let platform = |name: &str, value: serde_json::Value| Platform::builder().with_var(name, value).build();
        let default = RoomOptions::new(&Platform::builder().build()).expect("every limit has a default");
        assert_eq!((default.directory.rooms, default.directory.rooms_of_user), (1000, 64));
        let options = |name: &str| RoomOptions::new(&platform(name, 7.into())).expect("a limit is a number");
        assert_eq!(options(QUOTA_ROOMS).directory.rooms, 7);
        assert_eq!(options(QUOTA_ROOMS_OF_USER).directory.rooms_of_user, 7);
        assert_eq!(options(CHAT_SOCKETS).chat.sockets, 7);
        assert_eq!(options(CHAT_SOCKETS_OF_USER).chat.sockets_of_user, 7);
        assert_eq!(options(CHAT_HISTORY).chat.history, 7);
        assert_eq!(options(CALL_PARTICIPANTS).call.limit, 7);
        let error = RoomOptions::new(&platform(QUOTA_ROOMS, "many".into())).expect_err("a text is not a limit");
        assert!(error.to_string().contains(QUOTA_ROOMS), "{error}");
    }
}
