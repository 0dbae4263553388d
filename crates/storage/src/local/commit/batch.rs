//! A transaction with its frame.

use std::ops::Deref;

use bytes::Bytes;
use rusqlite::Transaction;

use crate::local::blobs::BlobPart;
use crate::local::index::{Result, TxError, packs};
use crate::local::packs::{Appender, LogPosition, NewFrame, Note, PackLocation, Packs, head_of};
use crate::{Error, Key, ObjectMeta};

/// A transaction, and the frame of the objects that are put in it.
pub(in crate::local) struct Batch<'d> {
    transaction: Transaction<'d>,
    packs: &'d Packs,
    frame: Option<NewFrame>,
    /// Whether the frame says everything that was changed.
    is_logged: bool,
    /// Packs to be removed when the transaction is durable.
    dead: Vec<u64>,
}

/// The rest of a batch, to be made durable.
pub(super) struct Written<'d> {
    pub(super) transaction: Transaction<'d>,
    pub(super) is_logged: bool,
    pub(super) dead: Vec<u64>,
}

/// Outcome of a transaction that was not made durable.
pub(super) enum Failure {
    /// A task has failed half way: nothing remains but, perhaps, a frame that the next transaction writes over.
    Task,
    /// The transaction could not be made durable: as above.
    Undone(Error),
    /// A sync has failed: what remains is unknown.
    Poisoned(Error),
}

impl<'d> Deref for Batch<'d> {
    type Target = Transaction<'d>;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl<'d> Batch<'d> {
    pub(super) fn new(transaction: Transaction<'d>, packs: &'d Packs) -> Self {
        Self { transaction, packs, frame: None, is_logged: true, dead: Vec::new() }
    }

    pub(super) fn into_written(self) -> Written<'d> {
        let Self { transaction, is_logged, dead, .. } = self;
        Written { transaction, is_logged, dead }
    }
}

impl Batch<'_> {
    /// Adds an object to the frame and returns the place of its body. The record must say everything that the caller changes: it
    /// is replayed if the index forgets the change.
    pub(in crate::local) fn log(&mut self, meta: &ObjectMeta, body: &[u8]) -> Result<PackLocation> {
        Ok(self.frame()?.push(&head_of(meta)?, body, crc32fast::hash(body))?)
    }

    /// Adds the names of a large object's blobs to the frame, as [`log`](Self::log) does a body; returns the pack of the frame.
    pub(in crate::local) fn name(&mut self, object: &ObjectMeta, segments: &[BlobPart]) -> Result<u64> {
        let note = Note::Named { object: object.clone(), segments: segments.to_vec() };
        Ok(self.frame()?.note(&note)?)
    }

    /// Adds a deletion to the frame, as [`log`](Self::log) does a body.
    pub(in crate::local) fn log_deletion(&mut self, key: &Key) -> Result<()> {
        self.frame()?.note(&Note::Deleted { key: key.clone(), before: None })?;
        Ok(())
    }

    /// Adds a deletion that was written in this pack first, and concerns nothing that came after it.
    pub(in crate::local) fn relocate_deletion(&mut self, key: &Key, from: u64) -> Result<()> {
        self.frame()?.note(&Note::Deleted { key: key.clone(), before: Some(from) })?;
        Ok(())
    }

    /// Marks the batch as having changed more than its frame says: the index is synced.
    pub(in crate::local) fn changes_more(&mut self) {
        self.is_logged = false;
    }

    fn frame(&mut self) -> Result<&mut NewFrame> {
        Ok(match &mut self.frame {
            Some(frame) => frame,
            none => {
                let tail = self.packs.place_of(packs::tail(&self.transaction)?)?;
                packs::begin(&self.transaction, tail)?;
                none.insert(NewFrame::begin(tail)?)
            }
        })
    }

    /// Reads a small body, which may be one of this very transaction.
    pub(in crate::local) fn body(&self, place: PackLocation) -> Result<Bytes> {
        if let Some(body) = self.frame.as_ref().and_then(|frame| frame.body(place)) {
            return Ok(Bytes::copy_from_slice(body));
        }
        Ok(self.packs.read_verified(place)?.ok_or_else(|| self.packs.missing(place))?)
    }

    /// Removes a pack once the index has durably forgotten it.
    pub(in crate::local) fn remove_pack(&mut self, pack: u64) {
        self.dead.push(pack);
    }

    pub(in crate::local) fn packs(&self) -> &Packs {
        self.packs
    }

    pub(in crate::local) fn frame_bytes(&self) -> usize {
        self.frame.as_ref().map_or(0, NewFrame::length)
    }

    /// A number that changes with every change of a row, and one that changes with every record of the frame.
    fn state(&self) -> (u64, usize) {
        (self.transaction.total_changes(), self.frame.as_ref().map_or(0, NewFrame::records))
    }

    /// Adds an object with its head and the CRC-32 of its body to the frame.
    pub(super) fn push(&mut self, head: &[u8], body: &[u8], crc: u32) -> Result<PackLocation> {
        Ok(self.frame()?.push(head, body, crc)?)
    }

    /// Runs a task that is not a plain put. Returns an error if it has failed half way; a task that fails before it has changed
    /// anything does not concern the others.
    pub(super) fn run(&mut self, work: impl FnOnce(&mut Self) -> bool) -> Result<(), Failure> {
        let before = self.state();
        let is_done = work(self);
        let after = self.state();
        // SQLite itself rolls a transaction back where the disk is full or broken.
        if !is_done && (self.is_autocommit() || after != before) {
            return Err(Failure::Task);
        }
        // One that has changed nothing may have seen what another process has not made durable yet.
        self.is_logged &= after.1 != before.1;
        Ok(())
    }

    /// Makes sure that no stale frame follows: one that was written by a transaction which was never committed would redo, after
    /// the next crash, what this one may undo. Where this one has no frame to take its place, an empty one does.
    pub(super) fn fence_stale_frame(&mut self) -> Result<(), Failure> {
        if self.frame.is_some() {
            return Ok(());
        }
        let tail = packs::tail(&self.transaction)?;
        if let Some((tail, _)) = self.packs.follower(tail).map_err(TxError::from)? {
            packs::begin(&self.transaction, tail)?;
            self.frame = Some(NewFrame::begin(tail).map_err(TxError::from)?);
        }
        Ok(())
    }

    /// Writes the frame, if there is one, and returns where it begins.
    pub(super) fn write(&mut self, appender: &mut Appender) -> Result<Option<LogPosition>, Failure> {
        let Some(mut frame) = self.frame.take() else { return Ok(None) };
        let (tail, bytes) = frame.sealed();
        appender.write(tail, bytes).map_err(Failure::Undone)?;
        packs::advance(&self.transaction, frame.next(), frame.weight())?;
        Ok(Some(tail))
    }
}

impl From<TxError> for Failure {
    fn from(error: TxError) -> Self {
        Self::Undone(error.into())
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        TxError::from(error).into()
    }
}
