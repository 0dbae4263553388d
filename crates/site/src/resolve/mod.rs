//! From a path to its file, redirect or listing.

pub(crate) mod find;
pub(crate) mod listing;
