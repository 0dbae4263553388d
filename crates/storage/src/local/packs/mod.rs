//! The packs: files that small bodies are appended to, and the log that is replayed after a crash.
//!
//! Every transaction that puts small objects appends one [frame](frame) to the newest pack and syncs it, before it commits: the
//! frame has the bodies, and enough of the objects to put them again. So the index need not be synced for them. What it has
//! lost when the power goes, `recover` takes out of the frames behind the one that it remembers.
//!
//! A writer holds the index's write lock while it appends, so that there is one log for all processes. Its end stands in the index:
//! a frame that was written and not committed is written over by the next, unless the store is opened first.

mod appender;
mod frame;
mod position;
mod preallocated;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::disk::{Disk, sync_folder};
use crate::files::read_at;
use crate::{Error, ErrorKind, Result};

pub(super) use self::appender::Appender;
use self::frame::Header;
pub(super) use self::frame::{Found, Frame, NewFrame, Note, Record, head_of};
pub(super) use self::position::{HEAD_WEIGHT, LogPosition, PackLocation, Sizes};

/// Number of shorter packs in a new store: each is twice as long as the one before, until they have their full length.
const FIRST_PACKS: u32 = 3;
/// Bytes that are looked at at once.
const LOOK_BYTES: usize = 256 * 1024;

/// The folder of packs.
#[derive(Debug, Clone)]
pub(super) struct Packs {
    root: Arc<Path>,
    disk: Arc<dyn Disk>,
    bytes: u64,
}

impl Packs {
    /// A folder of packs that will have this many bytes each.
    pub(super) fn new(root: &Path, disk: Arc<dyn Disk>, bytes: u64) -> Self {
        Self { root: root.into(), disk, bytes }
    }

    /// Returns the bytes of a full pack.
    ///
    /// By default 4, 8 and 16 MiB for the first three, so that a store of a few objects is small, and 32 MiB from then on.
    fn capacity(&self, pack: u64) -> u64 {
        self.bytes >> u64::from(FIRST_PACKS).saturating_sub(pack - 1)
    }

    /// Where the frame behind this one goes: into the next pack where this one is full, unless a frame follows in this one, of a
    /// process that thinks otherwise and was killed before its commit: two must not follow the same one.
    pub(super) fn place_of(&self, tail: LogPosition) -> Result<LogPosition> {
        let is_free =
            || Ok::<_, Error>(self.frame(tail.pack, tail.position)?.is_none_or(|frame| frame.previous() != tail.last));
        Ok(if tail.position >= self.capacity(tail.pack) && is_free()? { tail.next_pack() } else { tail })
    }

    /// A body as it is on the disk; `None` where its pack is not there (any more).
    pub(super) fn read(&self, place: PackLocation) -> Result<Option<Bytes>> {
        let path = self.path(place.pack);
        let Some(file) = open(&path)? else { return Ok(None) };
        // Small, unless the row is damaged.
        let mut body = Vec::with_capacity(place.size.min(super::SMALL_BYTES) as usize);
        match read_at(&file, place.position, place.size, &mut body) {
            Ok(read) if read == place.size => Ok(Some(body.into())),
            Ok(_) => Err(Error::new(ErrorKind::Corrupt, format!("{} ends before a body does", path.display()))),
            Err(error) => Err(Error::io(format_args!("cannot read {}", path.display()), error)),
        }
    }

    /// The same body, compared with its CRC where one is known.
    pub(super) fn read_verified(&self, place: PackLocation) -> Result<Option<Bytes>> {
        let body = self.read(place)?;
        match (&body, place.crc) {
            (Some(bytes), Some(crc)) if crc32fast::hash(bytes) != crc => {
                let path = self.path(place.pack);
                let position = place.position;
                let message = format!("{}: the body at {position} is not what was stored", path.display());
                Err(Error::new(ErrorKind::Corrupt, message))
            }
            _ => Ok(body),
        }
    }

    /// Returns the error for a body whose pack is not there.
    pub(super) fn missing(&self, place: PackLocation) -> Error {
        let what = format!("{} is in the index but not on disk", self.path(place.pack).display());
        Error::new(ErrorKind::Corrupt, what)
    }

    /// The frame that follows, and where it begins; `None` where there is none, or not all of it.
    pub(super) fn follower(&self, tail: LogPosition) -> Result<Option<(LogPosition, Frame)>> {
        // Its writer may have had another length for a full pack.
        for tail in [tail, tail.next_pack()] {
            let frame = self.frame(tail.pack, tail.position)?;
            if let Some(frame) = frame.filter(|frame| frame.previous() == tail.last) {
                return Ok(Some((tail, frame)));
            }
        }
        Ok(None)
    }

    /// The frame that begins here; `None` where none does.
    pub(super) fn frame(&self, pack: u64, position: u64) -> Result<Option<Frame>> {
        let path = self.path(pack);
        let Some(mut file) = open(&path)? else { return Ok(None) };
        Frame::read(&mut file, pack, position)
            .map_err(|error| Error::io(format_args!("cannot read {}", path.display()), error))
    }

    /// Returns the content at a position.
    pub(super) fn at(&self, pack: u64, position: u64) -> Result<Found> {
        let path = self.path(pack);
        let Some(mut file) = open(&path)? else { return Ok(Found::Nothing) };
        Found::read(&mut file, pack, position)
            .map_err(|error| Error::io(format_args!("cannot read {}", path.display()), error))
    }

    /// The whole frames that begin somewhere between these positions, whatever is in front of them: a body may have bytes that
    /// look like one.
    pub(super) fn frames_within(&self, pack: u64, from: u64, to: u64) -> Result<Vec<Frame>> {
        let path = self.path(pack);
        let Some(file) = open(&path)? else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        let mut frames = Vec::new();
        read_at(&file, from, to.saturating_sub(from), &mut bytes)
            .map_err(|error| Error::io(format_args!("cannot read {}", path.display()), error))?;
        for beginning in frame::beginnings(&bytes) {
            frames.extend(self.frame(pack, from + beginning as u64)?);
        }
        Ok(frames)
    }

    /// Hands out the frames of a pack, and whether each is whole: one behind the other, and behind damage those that are found to be
    /// whole, bytes in a body that look like one among them.
    pub(super) fn visit<E: From<Error>>(
        &self,
        pack: u64,
        size: u64,
        visit: &mut impl FnMut(&Frame, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut position = 0;
        while position < size {
            match self.at(pack, position)? {
                Found::Whole(frame) => {
                    visit(&frame, true)?;
                    position = frame.next().position;
                }
                Found::Nothing if self.is_empty_from(pack, position)? => break,
                damaged => {
                    if let Found::Damaged(frame) = damaged {
                        visit(&frame, false)?;
                    }
                    for frame in self.frames_within(pack, position + 1, size)? {
                        visit(&frame, true)?;
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns where frames begin whose header or metadata are damaged, up to this position, where the last frame ends. Frames of
    /// which a body alone is damaged are not among them.
    pub(super) fn damaged_headers(&self, pack: u64, end: u64) -> Result<Vec<u64>> {
        let mut position = 0;
        let mut damaged = Vec::new();
        while position < end {
            let damage = match self.at(pack, position)? {
                Found::Whole(frame) => {
                    position = frame.next().position;
                    continue;
                }
                damage => damage,
            };
            if let Found::Damaged(frame) = damage
                && self.is_followed(&frame, end)?
            {
                if !frame.has_damaged_body() {
                    damaged.push(position);
                }
                position = frame.next().position;
                continue;
            }
            let next = self.frames_within(pack, position + 1, end)?.first().map_or(end, Frame::position);
            // A pack that has gone, or was written to after that: its objects are reported, one by one.
            let is_lost = position == 0 && self.has_only_zeros(pack, next)?;
            if !is_lost {
                // One that compaction has removed meanwhile has nothing that is damaged.
                if self.size(pack)?.is_none() {
                    return Ok(Vec::new());
                }
                damaged.push(position);
            }
            position = next;
        }
        Ok(damaged)
    }

    /// Whether a pack has nothing but zeros up to this position, or is not there.
    fn has_only_zeros(&self, pack: u64, end: u64) -> Result<bool> {
        let Some(file) = open(&self.path(pack))? else { return Ok(true) };
        let mut bytes = Vec::new();
        read_at(&file, 0, end, &mut bytes).map_err(|error| self.cannot_read(pack, error))?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// Whether another frame begins where this one ends, or the last one ends there.
    fn is_followed(&self, frame: &Frame, end: u64) -> Result<bool> {
        let next = frame.next().position;
        Ok(next == end || next < end && !matches!(self.at(frame.pack(), next)?, Found::Nothing))
    }

    /// Whether the frames of a pack say that this is where the last one ends. `None` where they cannot say: the pack is shorter, or
    /// damaged. Headers alone are read unless they contradict: one that contradicts may be damaged.
    pub(super) fn ends_at(&self, tail: LogPosition) -> Result<Option<bool>> {
        let mut position = 0;
        let mut id = None;
        let mut headers = self.headers(tail.pack)?.into_iter().flatten();
        while position < tail.position {
            let Some(header) = headers.next() else { break };
            let Header { id: next, end } = header.map_err(|error| self.cannot_read(tail.pack, error))?;
            position = end;
            id = Some(next);
        }
        // A pack that was begun and has no frame says nothing.
        if position == tail.position && id.is_none_or(|id| id == tail.last) {
            return Ok(Some(true));
        }
        self.whole_frames_end_at(tail)
    }

    /// The same by whole frames: the first that is damaged ends the comparison, unless one behind it ends where the index says.
    fn whole_frames_end_at(&self, tail: LogPosition) -> Result<Option<bool>> {
        let mut position = 0;
        let mut last = None;
        while position < tail.position {
            let Found::Whole(frame) = self.at(tail.pack, position)? else {
                #[cfg(feature = "tracing")]
                tracing::warn!(pack = tail.pack, position, "a frame is damaged; objects in it may be, too (fsck)");
                let behind = self.frames_within(tail.pack, position, tail.position)?;
                return Ok(behind.iter().any(|frame| frame.next() == tail).then_some(true));
            };
            position = frame.next().position;
            last = Some(frame.id());
        }
        Ok(Some(position == tail.position && last.is_none_or(|id| id == tail.last)))
    }

    /// Returns the ids of the frames of a pack, those behind damage among them.
    pub(super) fn ids(&self, pack: u64) -> Result<Vec<u64>> {
        let mut ids = Vec::new();
        let Some(size) = self.size(pack)? else { return Ok(ids) };
        self.visit(pack, size, &mut |frame, _| -> Result<()> {
            ids.push(frame.id());
            Ok(())
        })?;
        Ok(ids)
    }

    /// Returns the bytes of a pack; `None` where it is not there.
    fn size(&self, pack: u64) -> Result<Option<u64>> {
        let Some(file) = open(&self.path(pack))? else { return Ok(None) };
        Ok(Some(file.metadata().map_err(|error| self.cannot_read(pack, error))?.len()))
    }

    /// Whether whole frames lie behind this position, where the next frame would be written over them: what is between is damaged.
    pub(super) fn has_frames_behind(&self, tail: LogPosition) -> Result<bool> {
        let Some(file) = open(&self.path(tail.pack))? else { return Ok(false) };
        let mut next = Vec::new();
        read_at(&file, tail.position, LOOK_BYTES as u64, &mut next)
            .map_err(|error| self.cannot_read(tail.pack, error))?;
        // Nothing begins with zeros: neither a frame nor, but for its header, a damaged one.
        if next.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        let size = file.metadata().map_err(|error| self.cannot_read(tail.pack, error))?.len();
        Ok(!self.frames_within(tail.pack, tail.position, size)?.is_empty())
    }

    /// Keeps a pack that is damaged, under a second name in the folder of lost things beside that of the packs.
    pub(super) fn keep_damaged(&self, pack: u64, folder: &str) -> Result<()> {
        let parent = self.root.parent().unwrap_or(&self.root);
        let folder = parent.join(folder);
        match self.disk.create_folder(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io(format_args!("cannot create {}", folder.display()), error));
            }
            _ => sync_folder(&*self.disk, parent)?,
        }
        self.keep_in(pack, &folder)?;
        sync_folder(&*self.disk, &folder)
    }

    fn headers(&self, pack: u64) -> Result<Option<impl Iterator<Item = io::Result<Header>>>> {
        Ok(open(&self.path(pack))?.map(frame::headers))
    }

    fn cannot_read(&self, pack: u64, error: io::Error) -> Error {
        Error::io(format_args!("cannot read {}", self.path(pack).display()), error)
    }

    /// Returns every pack with its bytes on the disk (a preallocated one has more of them than frames), and the foreign files.
    pub(super) fn list(&self) -> Result<(Sizes, Vec<PathBuf>)> {
        let failed = |error| Error::io(format_args!("cannot list {}", self.root.display()), error);
        let mut packs = Sizes::new();
        let mut foreign = Vec::new();
        for file in fs::read_dir(&self.root).map_err(failed)? {
            let file = file.map_err(failed)?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            match pack_of(&name) {
                // One that has gone since it was listed is not there.
                Some(pack) => match file.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    meta => drop(packs.insert(pack, meta.map_err(failed)?.len())),
                },
                None if preallocated::is_preallocated(&name) => {}
                None => foreign.push(file.path()),
            }
        }
        Ok((packs, foreign))
    }

    /// Removes preallocated packs of killed processes, made before this moment. Removing one that is still wanted does no harm.
    pub(super) fn remove_preallocated(&self, before: DateTime<Utc>) -> Result<()> {
        let failed = |error| Error::io(format_args!("cannot list {}", self.root.display()), error);
        for file in fs::read_dir(&self.root).map_err(failed)? {
            let file = file.map_err(failed)?;
            let made = file.metadata().and_then(|meta| meta.modified()).map(DateTime::<Utc>::from);
            if preallocated::is_preallocated(&file.file_name().to_string_lossy())
                && made.is_ok_and(|made| made < before)
            {
                self.remove_file(&file.path())?;
            }
        }
        Ok(())
    }

    /// Whether a pack has nothing but zeros from here on.
    pub(super) fn is_empty_from(&self, pack: u64, position: u64) -> Result<bool> {
        let path = self.path(pack);
        let Some(file) = open(&path)? else { return Ok(true) };
        let mut position = position;
        let mut bytes = Vec::with_capacity(LOOK_BYTES);
        loop {
            bytes.clear();
            let read = read_at(&file, position, LOOK_BYTES as u64, &mut bytes);
            let read = read.map_err(|error| self.cannot_read(pack, error))?;
            if read == 0 || bytes.iter().any(|byte| *byte != 0) {
                return Ok(read == 0);
            }
            position += read;
        }
    }

    /// Gives a pack a name in another folder, so that it outlives its own.
    pub(super) fn keep_in(&self, pack: u64, folder: &Path) -> Result<()> {
        let from = self.path(pack);
        match self.disk.link(&from, &folder.join(name_of(pack))) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io(format_args!("cannot keep {} in {}", from.display(), folder.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a pack; one that is not there is not an error. The index must have forgotten it durably before, and `sync_names` has to follow.
    pub(super) fn remove(&self, pack: u64) -> Result<()> {
        self.remove_file(&self.path(pack))
    }

    /// Makes durable which packs there are.
    pub(super) fn sync_names(&self) -> Result<()> {
        sync_folder(&*self.disk, &self.root)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format_args!("cannot remove {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn path(&self, pack: u64) -> PathBuf {
        self.root.join(name_of(pack))
    }
}

/// So that they are listed in their order.
fn name_of(pack: u64) -> String {
    format!("{pack:012}.pack")
}

fn pack_of(name: &str) -> Option<u64> {
    let pack = name.strip_suffix(".pack")?.parse().ok()?;
    (name_of(pack) == name).then_some(pack)
}

fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format_args!("cannot open {}", path.display()), error)),
        Ok(file) => Ok(Some(file)),
    }
}
