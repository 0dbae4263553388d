//! The engine: the index's connections, and what is done in its transactions besides the callers' own work.

mod busy_handler;
mod changes;
mod check;
mod compact;
mod gc;
mod history;
mod index;
pub(super) mod new_index;
mod recover;
pub(super) mod upgrade;

pub(super) use self::gc::{LastCheck, collect};
pub(super) use self::index::{Index, NewBody};
