//! Session objects to use as they are: chat rooms, call rooms, MCP sessions, browsers. Each behind a feature of its name.
//!
//! A kind is an ordinary [`SessionObject`](crate::SessionObject); an application exports it as a class of its own, or hands
//! the events of one class on to several. Who calls is told by a [`Participant`], which whoever forwards requests puts into
//! them, after taking out what the client has sent under that name.

#[cfg(feature = "browser")]
pub mod browser;
#[cfg(feature = "call")]
pub mod call;
#[cfg(feature = "chat")]
pub mod chat;
#[cfg(feature = "mcp")]
pub mod mcp;
/// The code of a socket that is closed because what its participant may do has to be asked for again.
#[cfg(any(feature = "call", feature = "chat"))]
const ASK_AGAIN: u16 = 4003;
#[cfg(any(feature = "call", feature = "chat"))]
const ASK_AGAIN_WHY: &str = "what you may do is asked for again: come back";

#[cfg(any(feature = "call", feature = "chat"))]
pub mod directory;
#[cfg(any(feature = "call", feature = "chat"))]
mod limits;
mod participant;
mod reply;
#[cfg(any(feature = "browser", feature = "call", feature = "chat", feature = "mcp"))]
mod tables;
#[cfg(any(feature = "browser", feature = "chat", feature = "mcp"))]
mod time;

#[cfg(any(feature = "call", feature = "chat"))]
pub use limits::Rate;
pub use participant::Participant;
#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
use participant::Revocations;

/// Bytes that nobody can guess.
#[cfg(any(feature = "call", feature = "mcp"))]
fn random<const N: usize>() -> crate::Result<[u8; N]> {
    let mut bytes = [0; N];
    let failed = |error| crate::Error::new(crate::ErrorKind::Internal, format!("no randomness: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
