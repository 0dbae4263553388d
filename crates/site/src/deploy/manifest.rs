//! The manifest of a deploy.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use isobar_storage::HttpMetadata;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::read_version;

/// The version that is written, and the newest that can be read.
const VERSION: u32 = 1;

/// The files of a deploy, by their path below the site without a leading slash, and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    pub(crate) created: DateTime<Utc>,
    /// The text of `_headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<String>,
    /// The text of `_redirects`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redirects: Option<String>,
    pub(crate) files: BTreeMap<String, ManifestFile>,
}

/// A file of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestFile {
    /// The hash of its bytes in hexadecimal, after which its object is named.
    pub(crate) sha256: String,
    pub(crate) size: u64,
    /// Time of the first deploy with these bytes under this name.
    pub(crate) modified: DateTime<Utc>,
    #[serde(default)]
    pub(crate) http: HttpMetadata,
}

impl Manifest {
    /// Creates a manifest without files.
    pub(crate) fn new(created: DateTime<Utc>) -> Self {
        Self { version: VERSION, created, headers: None, redirects: None, files: BTreeMap::new() }
    }

    /// Whether both serve the same files, with the same metadata, by the same rules. The time of their creation may differ.
    pub(crate) fn is_same_site(&self, other: &Self) -> bool {
        let Self { version: _, created: _, headers, redirects, files } = self;
        (headers, redirects, files) == (&other.headers, &other.redirects, &other.files)
    }

    /// Returns the size of the files in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// Serializes the manifest. Returns the bytes and their sha256. Equal manifests have equal bytes, as files are ordered.
    pub(crate) fn write(&self) -> serde_json::Result<(Vec<u8>, String)> {
        let bytes = serde_json::to_vec(self)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok((bytes, sha256))
    }

    /// Parses a stored manifest and checks its hash.
    ///
    /// # Errors
    /// A description of the damage, or of the newer version that wrote it.
    pub(crate) fn read(bytes: &[u8], sha256: &str) -> Result<Self, String> {
        if hex::encode(Sha256::digest(bytes)) != sha256 {
            return Err("damaged: the sha256 does not match".to_owned());
        }
        read_version("manifest", bytes, VERSION)
    }
}
