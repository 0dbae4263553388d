//! Runs clients that others wrote, unmodified, against the doors of `isobar serve`.

pub(crate) mod project;
mod rest;
mod s3;

use crate::Outcome;

pub(crate) fn run() -> Outcome {
    rest::run()?;
    s3::run()
}
