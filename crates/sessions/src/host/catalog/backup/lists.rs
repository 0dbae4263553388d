//! The lists of a run: read one at a time, and written one after the other.

use std::vec::IntoIter;

use super::format::{self, Entry, FORMAT, Manifest, Names, Run, VERSION, digest, is_digest, push_line, seal, unseal};
use super::remote::Remote;
use crate::{Error, ErrorKind, Result};

/// Size from which a list is put and another one begun, in bytes: what the objects of a run take of memory.
const LIST: usize = 1 << 20;
/// Bytes of blocks from which a list is put: what a run that is broken off would have to put again.
const UNLISTED: u64 = 1 << 30;

/// Returns the runs that are stored, the oldest first.
pub(super) fn runs(remote: &Remote, names: &Names) -> Result<Vec<Run>> {
    Ok(format::runs(&remote.list(names.runs())?, &names.runs()))
}

/// Reads the manifest of a complete run.
///
/// # Errors
/// [`ErrorKind::Decode`] where it is missing, damaged or of another version, [`ErrorKind::InvalidId`] where it is of another class.
pub(super) fn manifest(remote: &Remote, names: &Names, run: &str, class: &str) -> Result<Manifest> {
    find_manifest(remote, names, run, class)?.ok_or_else(|| missing(&names.manifest(run)))
}

/// As [`manifest`]; `None` where it is missing.
pub(super) fn find_manifest(remote: &Remote, names: &Names, run: &str, class: &str) -> Result<Option<Manifest>> {
    let name = names.manifest(run);
    let Some(bytes) = remote.get(name.clone())? else { return Ok(None) };
    let wrong = |why: &str| Error::new(ErrorKind::Decode, format!("{name} is not the manifest of a backup: {why}"));
    let lines: Vec<Manifest> = unseal(&bytes, &name)?;
    let [manifest] = <[Manifest; 1]>::try_from(lines).map_err(|_| wrong("it has not one line"))?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        return Err(wrong(&format!(
            "it is {} of version {}, and this program reads {FORMAT} of version {VERSION}",
            manifest.format, manifest.version
        )));
    }
    if manifest.class != class {
        let message = format!("the backup has objects of the class {}, not {class}", manifest.class);
        return Err(Error::new(ErrorKind::InvalidId, message));
    }
    Ok(Some(manifest))
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("{name} of the backup is missing"))
}

/// The objects of a run in the order of their ids, with one list in memory.
pub(super) struct Entries {
    names: Names,
    run: String,
    /// Digests of the lists, where the manifest is known.
    digests: Option<Vec<String>>,
    lists: usize,
    next: usize,
    current: IntoIter<Entry>,
    /// Object that was read last: each has to be greater.
    last: String,
}

impl Entries {
    /// The objects of a complete run.
    pub(super) fn of(names: &Names, run: &str, manifest: &Manifest) -> Self {
        Self::new(names, run, manifest.lists.len(), Some(manifest.lists.clone()))
    }

    /// The objects that a run has listed before it was broken off.
    pub(super) fn of_broken(names: &Names, run: &Run) -> Self {
        Self::new(names, &run.name, run.lists, None)
    }

    fn new(names: &Names, run: &str, lists: usize, digests: Option<Vec<String>>) -> Self {
        let current = Vec::new().into_iter();
        Self { names: names.clone(), run: run.to_owned(), digests, lists, next: 0, current, last: String::new() }
    }

    /// Reads the next object; `None` after the last one.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for a list that is missing or damaged, and those of the target.
    pub(super) fn next(&mut self, remote: &Remote) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.current.next() {
                self.check(&entry)?;
                self.last.clone_from(&entry.id);
                return Ok(Some(entry));
            }
            if self.next == self.lists {
                return Ok(None);
            }
            let name = self.names.list(&self.run, self.next);
            let bytes = remote.get(name.clone())?.ok_or_else(|| missing(&name))?;
            if self.digests.as_ref().is_some_and(|digests| digests[self.next] != digest(&bytes)) {
                let message = format!("{name} of the backup is damaged: it is not the one of its manifest");
                return Err(Error::new(ErrorKind::Decode, message));
            }
            self.current = unseal(&bytes, &name)?.into_iter();
            self.next += 1;
        }
    }

    /// Refuses what no run has written: names are made from these texts.
    fn check(&self, entry: &Entry) -> Result<()> {
        if is_digest(&entry.id) && entry.id > self.last && entry.blocks.iter().all(|block| is_digest(block)) {
            return Ok(());
        }
        let message = format!("a list of the run {} has an invalid object {:?}", self.run, entry.id);
        Err(Error::new(ErrorKind::Decode, message))
    }
}

/// Objects of earlier runs, to be looked up in the order of their ids.
pub(super) struct Earlier {
    entries: Entries,
    next: Option<Entry>,
    is_over: bool,
    /// An object was passed over, as it is gone, or a list could not be read.
    pub(super) is_other: bool,
}

impl Earlier {
    pub(super) fn new(entries: Entries) -> Self {
        Self { entries, next: None, is_over: false, is_other: false }
    }

    /// Returns the object of this id; no smaller one is asked for later. Lists that are damaged are as if they were not there: what they
    /// have is read anew.
    ///
    /// # Errors
    /// Those of the target.
    pub(super) fn find(&mut self, remote: &Remote, id: &str) -> Result<Option<Entry>> {
        loop {
            if let Some(next) = self.next.take_if(|next| next.id.as_str() <= id) {
                if next.id == id {
                    return Ok(Some(next));
                }
                self.is_other = true;
                continue;
            }
            if self.next.is_some() || self.is_over {
                return Ok(None);
            }
            self.advance(remote)?;
        }
    }

    /// Whether there are objects that were not asked for.
    pub(super) fn has_more(&mut self, remote: &Remote) -> Result<bool> {
        if self.next.is_none() && !self.is_over {
            self.advance(remote)?;
        }
        Ok(self.next.is_some())
    }

    fn advance(&mut self, remote: &Remote) -> Result<()> {
        self.next = match self.entries.next(remote) {
            Ok(next) => next,
            Err(error) if error.kind() == ErrorKind::Decode => {
                #[cfg(feature = "tracing")]
                tracing::warn!(%error, "an earlier run of the backup is damaged; its objects are read anew");
                self.is_other = true;
                None
            }
            Err(error) => return Err(error),
        };
        self.is_over = self.next.is_none();
        Ok(())
    }
}

/// Lists that are written.
pub(super) struct Lists {
    names: Names,
    run: String,
    lines: Vec<u8>,
    /// Bytes of blocks that were put for objects that are in no list yet.
    pub(super) unlisted: u64,
    /// Digests of the lists that were put.
    pub(super) digests: Vec<String>,
}

impl Lists {
    pub(super) fn new(names: &Names, run: &str) -> Self {
        Self { names: names.clone(), run: run.to_owned(), lines: Vec::new(), unlisted: 0, digests: Vec::new() }
    }

    /// Adds an object, whose blocks were put.
    pub(super) fn push(&mut self, remote: &mut Remote, entry: &Entry) -> Result<()> {
        push_line(&mut self.lines, entry)?;
        if self.lines.len() < LIST && self.unlisted < UNLISTED {
            return Ok(());
        }
        self.put(remote)
    }

    /// Puts the list, once the blocks of its objects are durable.
    pub(super) fn put(&mut self, remote: &mut Remote) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        remote.settle()?;
        let bytes = seal(std::mem::take(&mut self.lines))?;
        let name = self.names.list(&self.run, self.digests.len());
        self.digests.push(digest(&bytes));
        self.unlisted = 0;
        remote.put(name, bytes)
    }
}
