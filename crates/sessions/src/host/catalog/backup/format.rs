//! Names and contents of what a backup stores.
//!
//! ```text
//! CLASS/blocks/AB/ABCD...              up to 4 MiB of an object's database; the name is their SHA-256
//! CLASS/runs/RUN/000000.objects        objects in the order of their ids, a line of JSON each, with the blocks of their files
//! CLASS/runs/RUN/manifest.json         put last: without it the run was broken off
//! ```
//!
//! RUN is a number, which grows, a time and random digits. The last line of each list, and of the manifest, is the SHA-256 of what is
//! before it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, ErrorKind, Result};

pub(super) const FORMAT: &str = "isobar-sessions-backup";
pub(super) const VERSION: u32 = 1;
/// Name of the manifest in the folder of a run.
const MANIFEST: &str = "manifest.json";
/// Largest block of a file, in bytes.
pub(super) const BLOCK: usize = 4 << 20;

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// 64 hexadecimal digits.
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Size of its database in bytes.
    pub(super) bytes: u64,
    /// SHA-256 of each block of its database, in order. None of an object that could never be read.
    pub(super) blocks: Vec<String>,
    /// Time at which the database was copied.
    pub(super) copied: DateTime<Utc>,
    /// Mark of the files that were copied: while they have it they are unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stamp: Option<String>,
    /// Reason for which the object could not be read by this run: the blocks are those of an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unread: Option<String>,
}

impl Entry {
    /// Whether the files with this mark are those that were copied. Files that are too fresh have none.
    pub(super) fn is_of(&self, stamp: Option<&str>) -> bool {
        self.unread.is_none() && stamp.is_some() && self.stamp.as_deref() == stamp
    }
}

/// The end of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: String,
    pub(super) version: u32,
    pub(super) class: String,
    pub(super) begun: DateTime<Utc>,
    pub(super) ended: DateTime<Utc>,
    /// Objects with blocks.
    pub(super) objects: u64,
    /// Bytes of their databases.
    pub(super) bytes: u64,
    /// Objects that could not be read by this run.
    pub(super) unread: u64,
    /// SHA-256 of each list, in order.
    pub(super) lists: Vec<String>,
}

/// The last line of a list or manifest.
#[derive(Serialize, Deserialize)]
struct Seal {
    sha256: String,
}

/// Names below the folder of a class.
#[derive(Debug, Clone)]
pub(super) struct Names {
    folder: String,
}

impl Names {
    pub(super) fn new(class: &str) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_plain = !class.is_empty() && class.bytes().all(is_plain) && !class.starts_with("hex-");
        let folder = if is_plain { class.to_owned() } else { format!("hex-{}", hex::encode(class)) };
        Self { folder }
    }

    pub(super) fn block(&self, digest: &str) -> String {
        format!("{}{digest}", self.blocks(&digest[..2]))
    }

    /// The beginning of the names of blocks whose digests begin with these two digits.
    pub(super) fn blocks(&self, begin: &str) -> String {
        format!("{}/blocks/{begin}/", self.folder)
    }

    pub(super) fn runs(&self) -> String {
        format!("{}/runs/", self.folder)
    }

    pub(super) fn list(&self, run: &str, number: usize) -> String {
        format!("{}{run}/{number:06}.objects", self.runs())
    }

    pub(super) fn manifest(&self, run: &str) -> String {
        format!("{}{run}/{MANIFEST}", self.runs())
    }
}

/// A run, as the names of what it has stored tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) name: String,
    /// Number of lists, without a gap.
    pub(super) lists: usize,
    pub(super) is_complete: bool,
}

impl Run {
    /// The number with which its name begins.
    pub(super) fn number(&self) -> u64 {
        self.name.split('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

/// A name for the run of this number. Names sort by their numbers, whatever the clock does.
pub(super) fn run_name(number: u64, time: DateTime<Utc>) -> Result<String> {
    let random = isobar_base::random::hex_id()?;
    Ok(format!("{number:010}-{}-{}", time.format("%Y%m%dT%H%M%SZ"), &random[..8]))
}

/// Sorts the names below the folder of runs by their runs, the oldest first.
pub(super) fn runs(names: &[String], prefix: &str) -> Vec<Run> {
    let mut sorted: Vec<_> = names.iter().filter_map(|name| name.strip_prefix(prefix)?.split_once('/')).collect();
    sorted.sort_unstable();
    let mut runs: Vec<Run> = Vec::new();
    for (run, file) in sorted {
        if runs.last().is_none_or(|last| last.name != run) {
            runs.push(Run { name: run.to_owned(), lists: 0, is_complete: false });
        }
        let Some(last) = runs.last_mut() else { continue };
        if file == MANIFEST {
            last.is_complete = true;
        } else if file.strip_suffix(".objects").and_then(|number| number.parse().ok()) == Some(last.lists) {
            last.lists += 1;
        }
    }
    runs
}

/// SHA-256 in hexadecimal digits.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether a text is a digest, and may be a part of a name.
pub(super) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Appends a line of JSON.
pub(super) fn push_line(lines: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *lines, value)?;
    lines.push(b'\n');
    Ok(())
}

/// Appends the line by which damage is found.
pub(super) fn seal(mut lines: Vec<u8>) -> Result<Bytes> {
    let sha256 = digest(&lines);
    push_line(&mut lines, &Seal { sha256 })?;
    Ok(lines.into())
}

/// Returns the values of the lines before the last one, which is compared with them.
pub(super) fn unseal<T: DeserializeOwned>(bytes: &[u8], name: &str) -> Result<Vec<T>> {
    let damaged =
        || Error::new(ErrorKind::Decode, format!("{name} of the backup is damaged: it does not have its checksum"));
    let text = bytes.strip_suffix(b"\n").ok_or_else(damaged)?;
    let end = text.iter().rposition(|byte| *byte == b'\n').ok_or_else(damaged)? + 1;
    let seal: Seal = serde_json::from_slice(&text[end..]).map_err(|_| damaged())?;
    if seal.sha256 != digest(&bytes[..end]) {
        return Err(damaged());
    }
    let lines = bytes[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let values = lines.map(|line| {
        serde_json::from_slice(line)
            .map_err(|error| Error::new(ErrorKind::Decode, format!("{name} of the backup cannot be read: {error}")))
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_lines_come_back_and_damage_is_found() {
        let mut lines = Vec::new();
        for number in [1, 2, 3] {
            push_line(&mut lines, &number).unwrap();
        }
        let sealed = seal(lines).unwrap();
        assert_eq!(unseal::<u32>(&sealed, "a").unwrap(), [1, 2, 3]);
        for end in 0..sealed.len() {
            assert_eq!(unseal::<u32>(&sealed[..end], "a").unwrap_err().kind(), ErrorKind::Decode, "{end}");
        }
        for at in 0..sealed.len() {
            let mut damaged = sealed.to_vec();
            damaged[at] ^= 1;
            assert_eq!(unseal::<u32>(&damaged, "a").unwrap_err().kind(), ErrorKind::Decode, "{at}");
        }
        let others = seal(b"\"x\"\n".to_vec()).unwrap();
        assert!(unseal::<u32>(&others, "a").unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn runs_are_sorted_by_number_and_complete_with_their_manifest() {
        let time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let earlier = run_name(9, time).unwrap();
        let later = run_name(10, time - chrono::TimeDelta::days(1)).unwrap();
        let names = Names::new("Room");
        let stored = [
            names.list(&later, 0),
            names.list(&later, 2),
            names.manifest(&earlier),
            names.list(&earlier, 0),
            names.list(&earlier, 1),
            names.block(&"ab".repeat(32)),
        ];
        let found = runs(&stored, &names.runs());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].number(), found[0].lists, found[0].is_complete), (9, 2, true));
        assert_eq!((found[1].number(), found[1].lists, found[1].is_complete), (10, 1, false));
    }

    #[test]
    fn folders_of_classes_differ_and_need_no_other_letters() {
        let folders = ["Room", "my_room-2", "a::B", "hex-613a3a42", "../up", ""].map(|class| Names::new(class).folder);
        assert_eq!(folders[..3], ["Room", "my_room-2", "hex-613a3a42"]);
        let all: std::collections::BTreeSet<_> = folders.iter().collect();
        assert_eq!(all.len(), folders.len());
        assert!(
            folders
                .iter()
                .flat_map(|folder| folder.chars())
                .all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
        );
    }
}
