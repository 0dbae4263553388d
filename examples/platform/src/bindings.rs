//! The names of wrangler.toml, once.

/// The bucket: the site under `static/`, media beside it.
pub const STORAGE: &str = "STORAGE";
/// The primary database.
pub const DB: &str = "DB";
/// What the vault seals for: the name of `DB`'s database, as `isobar vault` has it.
pub const DB_NAME: &str = "inneranimalmedia-business";
/// The legacy database.
pub const MEAUXOS_DB: &str = "MEAUXOS_DB";
/// The session objects.
pub const IAM_SESSION: &str = "IAM_SESSION";
/// The dataset.
pub const ANALYTICS: &str = "INNERANIMALMEDIA-ANALYTICENGINE";
/// Browsers: chromium natively, Browser Rendering on Cloudflare.
pub const BROWSER: &str = "BROWSER";
/// The secret that holds the vault's keyring.
pub const KEYRING: &str = "ISOBAR_KEYRING";
/// The secret that makes the operator, where nobody sees what the server prints at its start.
pub const SETUP_TOKEN: &str = "SETUP_TOKEN";
/// `open` lets everybody sign up, once the set-up token was redeemed.
pub const SIGNUP: &str = "SIGNUP";
/// Where people may sign in besides: a list.
pub const OAUTH_PROVIDERS: &str = "OAUTH_PROVIDERS";
/// The URL under which browsers see the platform, where it is not the host of their requests.
pub const PUBLIC_URL: &str = "PUBLIC_URL";
/// The sender of e-mail: a folder or SMTP natively, `send_email` on Cloudflare.
pub const EMAIL: &str = "EMAIL";
/// The address that e-mail is sent from.
pub const MAIL_FROM: &str = "MAIL_FROM";
/// How e-mail is sent natively: `smtps://USER:PASSWORD@HOST`, `off`, or into the folder `mail` of the root when not given.
pub const MAIL_URL: &str = "MAIL_URL";
/// Rows of each table that a tenant may have: a number.
pub const QUOTA_ROWS: &str = "QUOTA_ROWS";
/// Bytes of media that a tenant may have: a number.
pub const QUOTA_MEDIA_BYTES: &str = "QUOTA_MEDIA_BYTES";
/// Rooms of a tenant, of all kinds: a number.
pub const QUOTA_ROOMS: &str = "QUOTA_ROOMS";
/// Rooms that one user may be in at a time: a number.
pub const QUOTA_ROOMS_OF_USER: &str = "QUOTA_ROOMS_OF_USER";
/// Connections to one chat: a number.
pub const CHAT_SOCKETS: &str = "CHAT_SOCKETS";
/// Connections of one user to one chat: a number.
pub const CHAT_SOCKETS_OF_USER: &str = "CHAT_SOCKETS_OF_USER";
/// Messages that a chat keeps: a number.
pub const CHAT_HISTORY: &str = "CHAT_HISTORY";
/// Participants of a call: a number.
pub const CALL_PARTICIPANTS: &str = "CALL_PARTICIPANTS";
/// Servers that tell browsers in a call how others see them: a list of URLs.
pub const STUN_URLS: &str = "STUN_URLS";
/// Servers that pass on what browsers in a call cannot send each other: a list of URLs.
pub const TURN_URLS: &str = "TURN_URLS";
/// What the TURN servers share with the platform.
pub const TURN_SECRET: &str = "TURN_SECRET";
