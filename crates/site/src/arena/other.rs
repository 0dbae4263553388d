//! Where the system has no files in memory to send from, nothing lies in one.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use isobar_storage::Error;

/// There is none.
#[derive(Debug)]
pub(crate) enum Arena {}

/// Some of a body that lies in the kernel's memory: of this system's there is none.
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
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match *self {}
    }

    /// Whether there is nothing in it.
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

    /// Sends `head` to a socket, or, where there is none, what the socket takes of this; how much that was.
    ///
    /// # Errors
    ///
    /// None: there is no region.
    pub fn send<S>(&self, _: S, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }
}
