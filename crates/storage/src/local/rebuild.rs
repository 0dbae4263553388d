//! Rebuilding the index from packs and blobs.
//!
//! The frames of all packs, in order, are a history of all objects. A rebuild reads it from the beginning into a new index beside
//! the old one, then compares each large object with its blobs, keeps blobs that nothing names in `lost`, reports what is
//! uncertain, and at last gives the old index another name and the new one its place.
//!
//! Where a pack is damaged, the frames behind the damage count only if they are linked to a known end: a client can store a body
//! that looks like frames, and must not be able to forge objects by it. For the same reason ids of frames are random.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use isobar_base::fs::{SqliteFile, beside};
use serde::Serialize;

use super::blobs::Blobs;
use super::engine::new_index::{self, NewIndex};
use super::fsck::{Finding, Problem};
use super::lock::StoreLock;
use super::packs::{Found, Frame, Packs, Record, Sizes};
use super::verify::Verify;
use super::{LocalOptions, LocalStore, QUARANTINE};
use crate::files::blocking;
use crate::{Error, ErrorKind, Result};

/// Report of [`LocalStore::rebuild`]: the results and the findings.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Rebuild {
    /// Objects in the new index.
    pub objects: u64,
    /// Bytes in their bodies.
    pub bytes: u64,
    /// Packs that were read.
    pub packs: u64,
    /// Frames that were found in them.
    pub frames: u64,
    /// The files of the index that was there before, under the names that they have now.
    pub set_aside: Vec<PathBuf>,
    /// Objects that could not be brought back, and uncertain ones.
    pub findings: Vec<Finding>,
    /// Foreign files in the store's folders of blobs and packs; they are left alone.
    pub foreign: Vec<PathBuf>,
}

impl Rebuild {
    /// Whether an object was lost or damaged.
    #[must_use]
    pub fn has_loss(&self) -> bool {
        self.findings.iter().any(|finding| finding.problem.is_loss())
    }
}

impl LocalStore {
    /// Makes the index of the store in this folder again, out of its packs and blobs, in place of the one that is there, which is
    /// kept under another name. It takes the store's lock: no handle of the store may be open, here or in another process, and none
    /// is opened meanwhile.
    ///
    /// Every put, copy, completed upload and deletion is in a frame of a pack, in order, so the new index has what the old one had,
    /// with the same versions and metadata. It does not have multipart uploads that were not completed. Of a pack that is damaged it
    /// has the frames that are whole, and of other frames the objects whose bodies are what their checksums say.
    ///
    /// Stores of isobar before index version 5 are completed when a newer one opens them. In one that never was, deletions may be
    /// missing, so that deleted objects come back: every object is reported then ([`Problem::Uncertain`]). Before version 4 it has no
    /// names of large objects either: their blobs are reported ([`Problem::Unnamed`]).
    ///
    /// No byte is removed: packs are not written to, and blobs that no object names and packs that are damaged are linked into the
    /// folder `lost`, where neither garbage collection nor compaction looks.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] where the folder has neither packs nor blobs; [`ErrorKind::Unavailable`] where the store is open;
    /// errors of the file system. The index that was there is in its place then.
    ///
    /// ```
    /// use isobar_storage::local::{LocalOptions, LocalStore};
    /// use isobar_storage::{Key, ObjectStoreExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let store = LocalStore::open(folder.path()).await?;
    /// store.write(&Key::new("a")?, "1").await?;
    /// drop(store);
    /// // The index is lost.
    /// std::fs::remove_file(folder.path().join("index.db"))?;
    /// assert!(LocalStore::open(folder.path()).await.is_err());
    ///
    /// let report = LocalStore::rebuild(folder.path(), LocalOptions::default()).await?;
    /// assert_eq!((report.objects, report.has_loss()), (1, false));
    /// let store = LocalStore::open(folder.path()).await?;
    /// assert_eq!(store.read(&Key::new("a")?).await?.expect("its frame is in a pack").1, "1");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rebuild(root: impl AsRef<Path>, options: LocalOptions) -> Result<Rebuild> {
        let root = root.as_ref().to_owned();
        blocking(move || rebuild_in(&root, options)).await.map_err(|error| error.during("rebuild"))
    }
}

fn rebuild_in(root: &Path, options: LocalOptions) -> Result<Rebuild> {
    let LocalOptions { clock, disk, pack_bytes, .. } = options;
    let packs = Packs::new(&root.join("packs"), Arc::clone(&disk), pack_bytes);
    if !super::open::has_files(root)? {
        let what = format!("{} has neither packs nor blobs to make an index of", root.display());
        return Err(Error::new(ErrorKind::InvalidArgument, what));
    }
    let blobs = Blobs::open(&root.join("blobs"), disk)?;
    let _lock = StoreLock::exclusive(root)?;
    blobs.create_folder(&root.join("packs"))?;
    let index = root.join("index.db");
    let new = root.join("index.db-new");
    if index.exists() && new_index::is_in_use(&index) {
        // A program that takes no lock, as isobar before index version 5, may have it open.
        let what = format!("{} is open elsewhere: stop the processes that use the store first", index.display());
        return Err(Error::new(ErrorKind::Unavailable, what));
    }
    let now = (clock)();
    for old in [new.clone()].into_iter().chain(SqliteFile::all_beside(&new)) {
        remove(&old)?; // of a rebuild that was killed
    }
    super::disk::private().create_new(true).open(&new).map_err(|error| Error::io(new.display(), error))?;
    let was_older = new_index::version(&index).is_some_and(|version| version < new_index::KEEPS_DELETIONS);
    let mut report = new_index::make(&new, |new| {
        let keeps_deletions = Cell::new(false);
        Work { packs: &packs, blobs: &blobs, root, now, new, keeps_deletions, was_older }.run()
    })?;
    report.set_aside = set_aside(&index, now)?;
    fs::rename(&new, &index).map_err(|error| Error::io(format_args!("cannot rename {}", new.display()), error))?;
    blobs.sync_folder(root)?;
    Ok(report)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format_args!("cannot remove {}", path.display()), error))
        }
        _ => Ok(()),
    }
}

/// Gives the files of an index other names: its log first, which is nothing without it.
fn set_aside(index: &Path, now: DateTime<Utc>) -> Result<Vec<PathBuf>> {
    let mut named = Vec::new();
    let aside = beside(index, &format!("-before-{}", now.format("%Y%m%dT%H%M%S%3fZ")));
    let logs = SqliteFile::all_beside(index).into_iter().zip(SqliteFile::all_beside(&aside));
    for (from, to) in logs.chain([(index.to_owned(), aside)]) {
        match fs::rename(&from, &to) {
            Ok(()) => named.push(to),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(format_args!("cannot rename {}", from.display()), error)),
        }
    }
    Ok(named)
}

struct Work<'w> {
    packs: &'w Packs,
    blobs: &'w Blobs,
    root: &'w Path,
    now: DateTime<Utc>,
    new: &'w NewIndex<'w>,
    /// Whether a frame was written by a version that keeps deletions.
    keeps_deletions: Cell<bool>,
    /// Whether the index that was there is of a version that did not.
    was_older: bool,
}

/// How far the frames have been followed.
#[derive(Debug, Clone, Copy)]
struct Chain {
    /// The frame before; `None` where it is not known: at the beginning, and behind damage.
    last: Option<u64>,
    position: u64,
}

impl Work<'_> {
    fn run(&self) -> Result<Rebuild> {
        let mut report = Rebuild::default();
        let (sizes, foreign) = self.packs.list()?;
        report.packs = sizes.len() as u64;
        report.foreign = foreign;
        let mut last = None;
        for (pack, size) in &sizes {
            last = self.follow(&sizes, *pack, *size, last, &mut report)?;
        }
        // What is written next goes into a pack of its own.
        let newest = sizes.keys().next_back().map_or(1, |newest| newest + 1);
        let last = match last {
            Some(last) => last,
            None => u64::from_le_bytes(isobar_base::random::bytes()?),
        };
        self.new.begin(newest, last)?;
        self.check_large(&mut report)?;
        self.keep_unnamed(&mut report)?;
        self.report_uncertain(&sizes, &mut report)?;
        (report.objects, report.bytes) = self.new.count()?;
        Ok(report)
    }

    /// Does what the frames of a pack say; the id of its last frame, or else of the one before.
    fn follow(
        &self,
        sizes: &Sizes,
        pack: u64,
        size: u64,
        last: Option<u64>,
        report: &mut Rebuild,
    ) -> Result<Option<u64>> {
        // A frame that begins a pack is ours, whatever came before: no body is there.
        let begins = |pack| Ok::<_, Error>(self.packs.frame(pack, 0)?.map(|frame| frame.previous()));
        let before = begins(pack)?;
        if before.is_some() && self.was_overtaken(pack, before, last)? {
            self.doubt(pack, 0, "its first frame was never committed, or is another store's", report)?;
            self.new.begin(pack, before.unwrap_or_default())?;
            return Ok(last);
        }
        self.new.begin(pack, before.or(last).unwrap_or_default())?;
        let mut chain = Chain { last: before, position: 0 };
        while chain.position < size {
            match self.packs.at(pack, chain.position)? {
                Found::Whole(frame) if chain.last.is_none_or(|last| last == frame.previous()) => {
                    chain = self.take(&frame, frame.records()?, report)?;
                }
                Found::Whole(frame) => {
                    self.doubt(pack, chain.position, "the frame does not follow the one before", report)?;
                    chain.position = frame.next().position;
                }
                Found::Damaged(frame) if chain.last.is_none_or(|last| last == frame.previous()) => {
                    chain = self.salvage(&frame, report)?;
                }
                Found::Damaged(_) | Found::Nothing => {
                    let anchor = if sizes.contains_key(&(pack + 1)) { begins(pack + 1)? } else { None };
                    let Some(next) = self.find_on(pack, chain, size, anchor, report)? else { break };
                    chain = next;
                }
            }
        }
        Ok(chain.last.or(last))
    }

    /// Whether the frame that begins a pack was left by a transaction that was never committed, and others have followed instead.
    fn was_overtaken(&self, pack: u64, after: Option<u64>, last: Option<u64>) -> Result<bool> {
        if after == last || pack == 0 {
            return Ok(false);
        }
        let ids = self.packs.ids(pack - 1)?;
        Ok(after.is_some_and(|after| ids.contains(&after)))
    }

    /// Does what a frame says.
    fn take(&self, frame: &Frame, records: Vec<Record>, report: &mut Rebuild) -> Result<Chain> {
        report.frames += 1;
        self.keeps_deletions.set(self.keeps_deletions.get() || frame.keeps_deletions());
        // Counted before it is done: a frame may put the same key twice.
        let weight = records.iter().map(Record::weight).sum();
        self.new.advance(frame.next(), weight)?;
        for record in records {
            self.new.apply(frame.pack(), record, self.now)?;
        }
        Ok(Chain { last: Some(frame.id()), position: frame.next().position })
    }

    /// Takes out of a damaged frame the objects whose bodies are what their checksums say.
    fn salvage(&self, frame: &Frame, report: &mut Rebuild) -> Result<Chain> {
        let mut sound = Vec::new();
        let mut lost = Vec::new();
        let mut uncertain = Vec::new();
        for record in frame.readable() {
            match &record {
                Record::Packed(meta, place) => match Verify::whole(meta, frame.body(*place).unwrap_or_default()) {
                    Ok(()) => sound.push(record),
                    Err(_) => lost.push(meta.key.to_string()),
                },
                Record::Named(_, segments) if segments.iter().all(|segment| self.blobs.is_whole(segment)) => {
                    sound.push(record);
                }
                Record::Named(meta, _) => lost.push(meta.key.to_string()),
                // Nothing says that the key is the one that was deleted: an object that comes back is better than one that goes.
                Record::Deleted { key, .. } => uncertain.push(key.to_string()),
            }
        }
        if !uncertain.is_empty() {
            let problem = Problem::Uncertain { pack: frame.pack(), keys: uncertain };
            report.findings.push(Finding { problem, repaired: None });
        }
        let what = format!("the frame is damaged: {} of its records were taken", sound.len());
        self.doubt(frame.pack(), frame.position(), &what, report)?;
        for key in lost {
            let what = format!("its body in pack {} is not what was stored", frame.pack());
            report.findings.push(Finding { problem: Problem::Body { key, what }, repaired: None });
        }
        let chain = self.take(frame, sound, report)?;
        // If its length is damaged, what follows it is not where it says; if its id is, nothing follows that.
        let follows = |next: &Frame| next.previous() == frame.id();
        let is_followed = match self.packs.at(frame.pack(), chain.position)? {
            Found::Whole(next) => follows(&next),
            // It may be the last of its pack.
            _ => self.packs.frame(frame.pack() + 1, 0)?.as_ref().is_some_and(follows),
        };
        Ok(if is_followed { chain } else { Chain { last: None, position: frame.position() + 1 } })
    }

    /// Looks for the frames behind damage: those that lead, one from another, to the next pack, or to the end of the last one. Bytes
    /// in a body that look like a frame do not.
    fn find_on(
        &self,
        pack: u64,
        chain: Chain,
        size: u64,
        anchor: Option<u64>,
        report: &mut Rebuild,
    ) -> Result<Option<Chain>> {
        if self.packs.is_empty_from(pack, chain.position)? {
            return Ok(None); // it was made longer than it was needed
        }
        let mut wanted = anchor;
        let mut frames = Vec::new();
        let mut outermost: Vec<Frame> = Vec::new();
        for frame in self.packs.frames_within(pack, chain.position, size)? {
            // Within a whole frame there are bodies alone, whatever they look like.
            if outermost.last().is_none_or(|outer| outer.next().position <= frame.position()) {
                outermost.push(frame);
            }
        }
        for frame in outermost.into_iter().rev() {
            if wanted.is_none_or(|id| id == frame.id()) {
                wanted = Some(frame.previous());
                frames.push(frame);
            }
        }
        let Some(first) = frames.last() else {
            self.doubt(pack, chain.position, "there is no frame from here on", report)?;
            return Ok(None);
        };
        let what = format!("there is no frame here; the next begins at {}", first.position());
        self.doubt(pack, chain.position, &what, report)?;
        let mut chain = Chain { last: None, position: size };
        for frame in frames.iter().rev() {
            chain = self.take(frame, frame.records()?, report)?;
        }
        Ok(Some(chain))
    }

    /// Reports a part of a pack, and keeps the pack.
    fn doubt(&self, pack: u64, position: u64, what: &str, report: &mut Rebuild) -> Result<()> {
        let folder = self.root.join(QUARANTINE);
        self.blobs.create_folder(&folder)?;
        self.packs.keep_in(pack, &folder)?;
        let problem = Problem::Frame { pack, position, what: what.to_owned() };
        report.findings.push(Finding { problem, repaired: None });
        Ok(())
    }

    /// Reports large objects whose blobs are not there. Where all are gone it was deleted, and the deletion has gone, too.
    fn check_large(&self, report: &mut Rebuild) -> Result<()> {
        for (key, segments) in self.new.large()? {
            let missing = segments.iter().filter(|segment| !self.blobs.is_whole(segment)).count();
            if missing == 0 {
                continue;
            }
            let is_gone = segments.iter().all(|segment| !self.blobs.exists(&segment.blob));
            let what = format!("{missing} of its {} blobs are missing or of another length", segments.len());
            let repaired = is_gone.then(|| "not taken: it was deleted, or all of it is lost".to_owned());
            if is_gone {
                self.new.forget(&key, self.now)?;
            }
            report.findings.push(Finding { problem: Problem::Body { key: key.to_string(), what }, repaired });
        }
        Ok(())
    }

    /// Keeps the blobs that no frame has named: parts of uploads that were not completed, what a crash has left, and large objects of
    /// stores before version 4.
    fn keep_unnamed(&self, report: &mut Rebuild) -> Result<()> {
        let known = self.new.known_blobs()?;
        let folder = self.root.join(QUARANTINE);
        let (found, foreign) = self.blobs.list()?;
        report.foreign.extend(foreign);
        for found in found.into_iter().filter(|found| !known.contains(&found.blob)) {
            self.blobs.create_folder(&folder)?;
            self.blobs.keep_in(&found.blob, &folder)?;
            let problem = Problem::Unnamed { blob: found.blob, size: found.size };
            report.findings.push(Finding { problem, repaired: Some(format!("kept in {}", folder.display())) });
        }
        if folder.is_dir() { self.blobs.sync_folder(&folder) } else { Ok(()) }
    }

    /// Reports every object where deletions may be missing: version 3 wrote none into packs, version 4 dropped some. Such packs were
    /// completed if a newer version has opened the store since.
    fn report_uncertain(&self, sizes: &Sizes, report: &mut Rebuild) -> Result<()> {
        if self.keeps_deletions.get() && !self.was_older {
            return Ok(());
        }
        for pack in sizes.keys() {
            let keys = self.new.keys_of(*pack)?;
            if !keys.is_empty() {
                report.findings.push(Finding { problem: Problem::Uncertain { pack: *pack, keys }, repaired: None });
            }
        }
        Ok(())
    }
}
