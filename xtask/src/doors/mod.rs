//! Runs clients that others wrote, unmodified, against the doors of `isobar serve`.

mod project;
mod rest;

use crate::Outcome;

pub(crate) fn run() -> Outcome {
    rest::run()
}
