//! Session objects to use as they are: chat rooms, call rooms, MCP sessions, browsers. Each behind a feature of its name.
//!
//! A kind is an ordinary [`SessionObject`](crate::SessionObject); an application exports it as a class of its own, or hands
//! the events of one class on to several. The caller is a [`Participant`], which the forwarder of requests puts into
//! them, after taking out what the client has sent under that name.

#[cfg(feature = "browser")]
pub mod browser;
#[cfg(feature = "call")]
pub mod call;
#[cfg(feature = "chat")]
pub mod chat;
#[cfg(feature = "mcp")]
pub mod mcp;
/// Code of a socket that is closed because its participant has to be judged again.
#[cfg(any(feature = "call", feature = "chat"))]
const ASK_AGAIN: u16 = 4003;
#[cfg(any(feature = "call", feature = "chat"))]
const ASK_AGAIN_WHY: &str = "your access has changed: connect again";

#[cfg(any(feature = "call", feature = "chat"))]
pub mod directory;
#[cfg(any(feature = "call", feature = "chat"))]
mod limits;
#[cfg(any(feature = "call", feature = "chat"))]
mod occupancy;
mod participant;
mod reply;
#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
mod revocations;
#[cfg(any(feature = "browser", feature = "call", feature = "chat", feature = "mcp"))]
mod tables;
#[cfg(any(feature = "browser", feature = "chat", feature = "mcp"))]
mod time;

#[cfg(any(feature = "call", feature = "chat"))]
pub use limits::Rate;
pub use participant::Participant;
#[cfg(any(feature = "call", feature = "chat", feature = "mcp"))]
use revocations::Revocations;

/// Random bytes that cannot be guessed.
#[cfg(any(feature = "call", feature = "mcp"))]
fn random<const N: usize>() -> crate::Result<[u8; N]> {
    let mut bytes = [0; N];
    let failed = |error| crate::Error::new(crate::ErrorKind::Internal, format!("no randomness: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
