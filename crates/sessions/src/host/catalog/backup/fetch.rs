//! Objects of a run, whose blocks are read ahead.

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::{Buf, Bytes};

use super::format::{BLOCK, Entry, Names, digest};
use super::lists::Entries;
use super::remote::{Answer, IN_FLIGHT, Remote, wait};
use crate::{Error, ErrorKind, Result};

/// Objects of a run in order, and their blocks.
pub(super) struct Fetch<'r, F> {
    remote: &'r Remote,
    names: Names,
    entries: Entries,
    /// Whether an object's blocks are wanted.
    is_wanted: F,
    /// Objects whose blocks are asked for.
    ahead: VecDeque<Entry>,
    /// Blocks that are to be asked for, and those that were.
    to_ask: VecDeque<String>,
    asked: VecDeque<(String, Answer<Option<Bytes>>)>,
    is_over: bool,
    /// Failure of the list behind the objects that were taken ahead.
    failure: Option<Error>,
}

impl<'r, F: FnMut(&Entry) -> bool> Fetch<'r, F> {
    pub(super) fn new(remote: &'r Remote, names: Names, entries: Entries, is_wanted: F) -> Self {
        let ahead = VecDeque::new();
        Self {
            remote,
            names,
            entries,
            is_wanted,
            ahead,
            to_ask: VecDeque::new(),
            asked: VecDeque::new(),
            is_over: false,
            failure: None,
        }
    }

    /// Asks for blocks while few are in flight.
    fn fill(&mut self) -> Result<()> {
        while self.asked.len() < IN_FLIGHT {
            if let Some(digest) = self.to_ask.pop_front() {
                let answer = self.remote.ask(self.names.block(&digest))?;
                self.asked.push_back((digest, answer));
            } else if !self.pull() {
                break;
            }
        }
        Ok(())
    }

    /// Takes the next object that is wanted. Returns whether there is one: a failure is kept until those before it are taken.
    fn pull(&mut self) -> bool {
        while !self.is_over {
            let entry = match self.entries.next(self.remote) {
                Ok(Some(entry)) => entry,
                ended => {
                    self.is_over = true;
                    self.failure = ended.err();
                    break;
                }
            };
            if (self.is_wanted)(&entry) {
                self.to_ask.extend(entry.blocks.iter().cloned());
                self.ahead.push_back(entry);
                return true;
            }
        }
        false
    }

    /// Returns the next object. The blocks of the one before must all have been taken.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for a list that is damaged, after which no object follows; those of the target.
    pub(super) fn next_object(&mut self) -> Result<Option<Entry>> {
        if self.ahead.is_empty() {
            self.pull();
        }
        match self.ahead.pop_front() {
            Some(entry) => Ok(Some(entry)),
            None => self.failure.take().map_or(Ok(None), Err),
        }
    }

    /// Returns the next block of the object.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] for one that is missing or damaged; those of the target.
    fn next_block(&mut self) -> Result<Bytes> {
        self.fill()?;
        let Some((expected, answer)) = self.asked.pop_front() else {
            return Err(Error::new(ErrorKind::Internal, "more blocks are taken than an object has"));
        };
        let name = self.names.block(&expected);
        let damaged = |why: &str| Error::new(ErrorKind::Decode, format!("the block {name} of the backup {why}"));
        let bytes = wait(answer)?.ok_or_else(|| damaged("is missing"))?;
        if bytes.len() > BLOCK || digest(&bytes) != expected {
            return Err(damaged("is damaged: it does not have its checksum"));
        }
        Ok(bytes)
    }
}

/// The file of the object that was taken last, to be read.
pub(super) struct ObjectFile<'f, 'r, F> {
    fetch: &'f mut Fetch<'r, F>,
    /// Blocks to be taken.
    left: usize,
    block: Bytes,
    /// Failure that has ended the reading.
    failure: Option<Error>,
}

impl<'f, 'r, F: FnMut(&Entry) -> bool> ObjectFile<'f, 'r, F> {
    pub(super) fn new(fetch: &'f mut Fetch<'r, F>, entry: &Entry) -> Self {
        Self { fetch, left: entry.blocks.len(), block: Bytes::new(), failure: None }
    }

    /// Returns the failure for which a read has failed.
    pub(super) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Takes the blocks that were not read, so that the next object can be read. Returns the first that is damaged.
    ///
    /// # Errors
    /// Those of the target.
    pub(super) fn skip(&mut self) -> Result<Option<Error>> {
        let mut first = None;
        while self.left > 0 {
            self.left -= 1;
            match self.fetch.next_block() {
                Err(error) if error.kind() == ErrorKind::Decode => first = first.or(Some(error)),
                block => drop(block?),
            }
        }
        Ok(first)
    }
}

impl<F: FnMut(&Entry) -> bool> Read for ObjectFile<'_, '_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() && self.left > 0 {
            self.left -= 1;
            self.block = self.fetch.next_block().map_err(|error| {
                let failed = io::Error::other(error.to_string());
                self.failure = Some(error);
                failed
            })?;
        }
        let read = buffer.len().min(self.block.len());
        buffer[..read].copy_from_slice(&self.block[..read]);
        self.block.advance(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::super::FolderTarget;
    use super::super::format::Run;
    use super::super::lists::Lists;
    use super::super::remote::with_target;
    use super::*;

    /// Puts three lists, of an object each, and damages the last one.
    fn put_lists(remote: &mut Remote, names: &Names) -> Result<()> {
        let mut lists = Lists::new(names, "run");
        for number in 0..3_u8 {
            let block = Bytes::from(vec![number; 100]);
            let sha256 = digest(&block);
            remote.put(names.block(&sha256), block)?;
            let id = hex::encode([number; 32]);
            let blocks = vec![sha256];
            let entry = Entry { id, name: None, bytes: 100, blocks, copied: Utc::now(), stamp: None, unread: None };
            lists.push(remote, &entry)?;
            lists.put(remote)?;
        }
        remote.settle()?;
        remote.put(names.list("run", 2), Bytes::from_static(b"damaged"))?;
        remote.settle()
    }

    #[tokio::test]
    async fn objects_before_a_damaged_list_are_read_whole_and_its_failure_follows_them() {
        let folder = tempfile::tempdir().unwrap();
        let target = FolderTarget::new(folder.path());
        let read = |remote: &mut Remote| -> Result<(Vec<Vec<u8>>, Option<Error>)> {
            let names = Names::new("Room");
            put_lists(remote, &names)?;
            let run = Run { name: "run".to_owned(), lists: 3, is_complete: false };
            let entries = Entries::of_broken(&names, &run);
            let mut fetch = Fetch::new(remote, names, entries, |_: &Entry| true);
            let mut objects = Vec::new();
            loop {
                let entry = match fetch.next_object() {
                    Ok(Some(entry)) => entry,
                    Ok(None) => return Ok((objects, None)),
                    Err(error) => return Ok((objects, Some(error))),
                };
                let mut file = ObjectFile::new(&mut fetch, &entry);
                let mut bytes = Vec::new();
                if file.read_to_end(&mut bytes).is_err() {
                    bytes.clear();
                }
                objects.push(bytes);
            }
        };
        let (objects, failure) = with_target(&target, read).await.unwrap();
        assert_eq!(objects, [vec![0; 100], vec![1; 100]]);
        assert_eq!(failure.map(|error| error.kind()), Some(ErrorKind::Decode));
    }
}
