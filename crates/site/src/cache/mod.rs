//! Responses in memory.

mod compress;
mod key;
mod load;
pub(crate) mod wire;

pub(crate) use load::*;
