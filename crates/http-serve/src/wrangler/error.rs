//! Errors of opening a platform.
//!
//! Each names the binding, as the configuration does, and has the backend's error as its source. An
//! application ends with it.

use isobar_cloudflare::wrangler;

use crate::platform::BindingError;

/// An error of opening a platform.
///
/// ```
/// # #[cfg(feature = "memory")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use isobar_cloudflare::wrangler::{Config, Format};
/// use isobar_http_serve::{PlatformError, WranglerPlatform};
///
/// let config = "name = \"chat\"\ndurable_objects.bindings = [{ name = \"ROOMS\", class_name = \"Room\" }]";
/// let configured = WranglerPlatform::new(Config::parse(config, Format::Toml, None)?);
/// let error = configured.memory().await.unwrap_err();
/// assert!(matches!(&error, PlatformError::UnknownClass { class, .. } if class == "Room"));
/// # Ok(()) }
/// # #[cfg(not(feature = "memory"))] fn main() {}
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] wrangler::Error),
    /// The folder that everything is kept in cannot be made.
    #[error(transparent)]
    Root(isobar_storage::Error),
    /// A bucket cannot be opened.
    #[error("the bucket of binding \"{0}\": {1}")]
    Bucket(String, #[source] isobar_storage::Error),
    /// A database cannot be opened.
    #[error("the database of binding \"{0}\": {1}")]
    Database(String, #[source] isobar_db::Error),
    /// A session namespace cannot be opened.
    #[error("the session namespace of binding \"{0}\": {1}")]
    Sessions(String, #[source] isobar_sessions::Error),
    /// A dataset cannot be opened.
    #[error("the dataset of binding \"{0}\": {1}")]
    Dataset(String, #[source] isobar_analytics::Error),
    /// A session binding names a class that the application has not registered.
    #[error(
        "the binding \"{binding}\" names the class {class}, which the application has not registered; registered: {known}"
    )]
    UnknownClass {
        /// The binding.
        binding: String,
        /// Its class.
        class: String,
        /// The registered classes.
        known: String,
    },
    /// The cron triggers cannot be started: an expression is invalid, or their folder cannot be used.
    #[error("the cron triggers: {0}")]
    Triggers(#[source] isobar_sessions::Error),
    /// The application of the cron triggers cannot be made.
    #[error("the application of the cron triggers: {0}")]
    TriggeredApp(#[source] BindingError),
    /// The configuration has cron triggers, and the application no handler for them.
    #[error("triggers.crons has times, and the application no handler for them: set one with App::scheduled")]
    NoHandler,
    /// A name that cannot be a folder's.
    #[error("the binding \"{0}\" is kept under the name {1:?}, which cannot be a file's name")]
    Name(String, String),
}
