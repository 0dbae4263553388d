//! What a deploy consists of.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use isobar_storage::HttpMetadata;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::read_version;

/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;

/// A deploy's files, by their path below the site without the first slash; and its rules.
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
    /// Of its bytes, in hexadecimal; its object is called so.
    pub(crate) sha256: String,
    pub(crate) size: u64,
    /// When a deploy first had these bytes under this name.
    pub(crate) modified: DateTime<Utc>,
    #[serde(default)]
    pub(crate) http: HttpMetadata,
}

impl Manifest {
    pub(crate) fn new(created: DateTime<Utc>) -> Self {
        Self { version: VERSION, created, headers: None, redirects: None, files: BTreeMap::new() }
    }

    /// Whether both serve the same, whenever they were made.
    pub(crate) fn is_same_site(&self, other: &Self) -> bool {
        let Self { version: _, created: _, headers, redirects, files } = self;
        (headers, redirects, files) == (&other.headers, &other.redirects, &other.files)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }

    /// As it is stored, and the sha256 of that.
    pub(crate) fn write(&self) -> serde_json::Result<(Vec<u8>, String)> {
        let bytes = serde_json::to_vec(self)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok((bytes, sha256))
    }

    /// What is stored, where it is what was once written.
    pub(crate) fn read(bytes: &[u8], sha256: &str) -> Result<Self, String> {
        if hex::encode(Sha256::digest(bytes)) != sha256 {
            return Err("it is not what was deployed: its sha256 is another".to_owned());
        }
        read_version("manifest", bytes, VERSION)
    }
}
