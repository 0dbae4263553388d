//! The arena of systems without files in memory to send from: there is none.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use isobar_storage::Error;

/// An arena, which this system does not have.
#[derive(Debug)]
pub(crate) enum Arena {}

/// A range of a body in the kernel's memory, which this system does not have.
#[derive(Debug, Clone)]
pub enum Region {}

impl Arena {
    pub(crate) fn new() -> Option<Self> {
        None
    }

    pub(super) fn put(&self, _: &[u8]) -> io::Result<Region> {
        match *self {}
    }
}

impl Region {
    /// Returns its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match *self {}
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match *self {}
    }

    pub(super) fn weight(&self) -> usize {
        match *self {}
    }

    pub(super) fn advance(&mut self, _: usize) {
        match *self {}
    }

    pub(super) fn slice(&self, _: Range<usize>) -> Self {
        match *self {}
    }

    pub(crate) fn take(&mut self, _: usize) -> Result<Bytes, Error> {
        match *self {}
    }

    pub(super) fn read(&self, _: Range<usize>) -> Result<Bytes, Error> {
        match *self {}
    }

    /// Sends `head` to a socket, or, where it is empty, as much of this region as the socket accepts. Returns the number of bytes
    /// that were sent.
    ///
    /// # Errors
    ///
    /// None, as there is no region on this system.
    pub fn send<S>(&self, _: S, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }
}
