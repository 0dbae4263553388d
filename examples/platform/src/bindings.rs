//! The names of bindings and variables in wrangler.toml, and of session objects that several modules address.

/// The bucket: the site under `static/`, media beside it.
pub const STORAGE: &str = "STORAGE";
/// The primary database.
pub const DB: &str = "DB";
/// The database name to which the vault seals: that of `DB`, as in `isobar vault`.
pub const DB_NAME: &str = "inneranimalmedia-business";
/// The legacy database.
pub const MEAUXOS_DB: &str = "MEAUXOS_DB";
/// The session objects.
pub const IAM_SESSION: &str = "IAM_SESSION";
/// The kind of the session object that lists the rooms of a tenant.
pub(crate) const DIRECTORY: &str = "directory";
/// The dataset.
pub const ANALYTICS: &str = "INNERANIMALMEDIA-ANALYTICENGINE";
/// Browsers: chromium natively, Browser Rendering on Cloudflare.
pub const BROWSER: &str = "BROWSER";
/// The secret that holds the vault's keyring.
pub const KEYRING: &str = "ISOBAR_KEYRING";
/// The secret that makes its bearer the operator, for servers whose output is not visible.
pub const SETUP_TOKEN: &str = "SETUP_TOKEN";
/// `open` permits sign-ups without an invitation after the set-up token was redeemed.
pub const SIGNUP: &str = "SIGNUP";
/// A list of OAuth and OpenID Connect providers.
pub const OAUTH_PROVIDERS: &str = "OAUTH_PROVIDERS";
/// The platform's public URL, if it differs from the host of requests.
pub const PUBLIC_URL: &str = "PUBLIC_URL";
/// The sender of e-mail: a folder or SMTP natively, `send_email` on Cloudflare.
pub const EMAIL: &str = "EMAIL";
/// The sender address of e-mail.
pub const MAIL_FROM: &str = "MAIL_FROM";
/// The native sender of e-mail: `smtps://USER:PASSWORD@HOST` or `off`. Default: messages go to the folder `mail` of the root.
pub const MAIL_URL: &str = "MAIL_URL";
/// Most rows that a tenant may have in each table.
pub const QUOTA_ROWS: &str = "QUOTA_ROWS";
/// Size limit of a tenant's media in bytes.
pub const QUOTA_MEDIA_BYTES: &str = "QUOTA_MEDIA_BYTES";
/// Most rooms of a tenant, of all kinds.
pub const QUOTA_ROOMS: &str = "QUOTA_ROOMS";
/// Most rooms that one user may be in at a time.
pub const QUOTA_ROOMS_OF_USER: &str = "QUOTA_ROOMS_OF_USER";
/// Most connections to one chat.
pub const CHAT_SOCKETS: &str = "CHAT_SOCKETS";
/// Most connections of one user to one chat.
pub const CHAT_SOCKETS_OF_USER: &str = "CHAT_SOCKETS_OF_USER";
/// Most messages that a chat keeps.
pub const CHAT_HISTORY: &str = "CHAT_HISTORY";
/// Most participants of a call.
pub const CALL_PARTICIPANTS: &str = "CALL_PARTICIPANTS";
/// A list of URLs of STUN servers for calls.
pub const STUN_URLS: &str = "STUN_URLS";
/// A list of URLs of TURN servers, which relay calls.
pub const TURN_URLS: &str = "TURN_URLS";
/// The secret that the TURN servers share with the platform.
pub const TURN_SECRET: &str = "TURN_SECRET";
