//! The format of an export: a tar archive.
//!
//! ```text
//! isobar-sessions.json   {"format": "isobar-sessions", "version": 1, "class": "Room", "exported": "2026-11-29T12:00:00Z"}
//! ID.db                  an object's SQLite database, as it is, with its write-ahead log copied into it
//! ID.json                {"id": ID, "name": "lobby", "bytes": 12288, "sha256": "..."} of the entry before
//! ...
//! end.json               {"objects": 17, "damaged": [ID, ...]}: without it the archive is not whole
//! ```
//!
//! ID has 64 hexadecimal digits; `name` is null for an object that was not made from one.

use std::io::{self, Read};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(super) const FORMAT: &str = "isobar-sessions";
pub(super) const VERSION: u32 = 1;
pub(super) const HEAD: &str = "isobar-sessions.json";
pub(super) const END: &str = "end.json";

/// The first entry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) format: String,
    pub(super) version: u32,
    pub(super) class: String,
    pub(super) exported: DateTime<Utc>,
}

/// The entry after an object's database.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Label {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// The last entry.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) objects: u64,
    pub(super) damaged: Vec<String>,
}

/// Computes the checksum of what is read.
pub(super) struct Hashed<R> {
    from: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, hash: Sha256::new(), bytes: 0 }
    }

    /// Bytes that were read, and their SHA-256 in hexadecimal digits.
    pub(super) fn finish(self) -> (u64, String) {
        (self.bytes, hex::encode(self.hash.finalize()))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
