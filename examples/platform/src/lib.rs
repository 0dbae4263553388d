//! The whole platform from one source: this library is the application and names no backend. The native binary and the Worker
//! only select the backends of its bindings.

mod api;
mod app;
pub mod bindings;
mod iam_session;
mod keyring;
#[cfg(feature = "workers")]
mod worker;

pub use api::{auth, unused_setup_token};
pub use app::app;
pub use iam_session::{IamEnv, IamSession, KEEPER};
pub use keyring::check_keyring;
