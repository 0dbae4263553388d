//! The parts of HTTP that a site needs, as functions without I/O.

pub(crate) mod digest;
pub(crate) mod encoding;
pub(crate) mod precondition;
pub(crate) mod range;
