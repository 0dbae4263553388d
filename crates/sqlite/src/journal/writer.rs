//! The writer: batches of frames, the log that takes them, and what happens when it cannot.
//!
//! The way of a commit: [`Journal::capture`] reads its frames from the write-ahead log and puts them into the
//! batch; [`Journal::sync`] seals the batch with its number and checksum, writes it behind the last one and syncs
//! the log. The number of the last durable batch is what callers wait for.
//!
//! Where the log has no room, a batch is not written at all: the write-ahead logs themselves are synced (`settle`),
//! which is slower and needs no log. So a full disk, or one without room for the log, costs speed and loses
//! nothing.
//!
//! Invariants: a batch is written only when everything before it in this log is durable; a log is emptied only when
//! the write-ahead logs of its members are; a failed sync is final, as the system may have dropped what it could
//! not write.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::{Disk, DiskFile};
use super::follower::{Follower, NewFrames};
use super::format::{Batch, FRAME_HEADER, SECTOR, frame_offset};
use super::half::{self, Half, Members};
use super::turnover::{Outcome, Spare};

/// Bytes of a new log.
const FIRST_BYTES: u64 = 1 << 20;
/// Times that a log grows when it was full soon.
const GROWTH: u64 = 4;
const SOON: Duration = Duration::from_secs(10);

/// Options of a journal.
///
/// ```
/// use isobar_sqlite::journal::JournalOptions;
///
/// let options = JournalOptions::default().with_bytes(4 << 20)?;
/// assert_eq!(options.bytes(), 4 << 20);
/// assert!(JournalOptions::default().with_bytes(1000).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Memory: recovery holds both logs, twice this size for each journal. Disk: the same while a journal is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { bytes: 16 << 20 }
    }
}

impl JournalOptions {
    /// Sizes that a log may have in bytes: 64 KiB to 256 MiB. A smaller one has no room for the frames of a few commits; recovery holds
    /// both logs of each journal in memory.
    pub const BYTES: RangeInclusive<u64> = 64 << 10..=256 << 20;

    /// Sets the largest size of each of the two logs in bytes, within [`BYTES`](Self::BYTES); it is rounded up to a multiple of 512.
    /// They begin with 1 MiB, or with this where it is less, and grow while they are full within 10 s. Default: 16 MiB.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for another size.
    pub fn with_bytes(mut self, bytes: u64) -> io::Result<Self> {
        if !Self::BYTES.contains(&bytes) {
            let (least, most) = Self::BYTES.into_inner();
            let message = format!("a journal's logs cannot have {bytes} bytes: use {least} to {most}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.bytes = bytes.next_multiple_of(SECTOR as u64);
        Ok(self)
    }

    /// Returns the largest size of each log in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A journal that takes the commits of the databases of one thread. See the [module](super).
///
/// It belongs to one thread. Its methods block: `sync` for one sync of the log, `settle` for one of each database
/// that has frames in it, `capture` for reading the frames, which are in the page cache.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    number: usize,
    options: JournalOptions,
    disk: Arc<dyn Disk>,
    /// Random: batches of another run are none of this one's.
    run: u64,
    batch: Batch,
    /// Number of the batch that is being filled.
    next: u64,
    /// Number of the last batch that is durable.
    durable: u64,
    current: Option<Half>,
    members: Members,
    /// Members of the log that is being emptied.
    leaving: Arc<Members>,
    spare: Spare,
    /// Changes whenever another log, or an empty one, takes over.
    serial: u64,
    began: Instant,
    /// Frames have been passed by that the log has no room for: the write-ahead logs are to be synced instead.
    must_settle: bool,
    failed: Option<String>,
    /// Why the last batch went past the log.
    trouble: Option<String>,
    frames: Vec<u8>,
    base: Vec<u8>,
    log_bytes: u64,
}

impl Journal {
    /// Creates a journal with logs in this folder, which is created with the first of them; journals in one folder have different
    /// numbers.
    #[must_use]
    pub fn new(folder: PathBuf, number: usize, options: JournalOptions, disk: Arc<dyn Disk>) -> Self {
        Self {
            folder,
            number,
            options,
            disk,
            run: 0,
            batch: Batch::default(),
            next: 1,
            durable: 0,
            current: None,
            members: Members::default(),
            leaving: Arc::default(),
            spare: Spare::Done(Outcome::Unmade),
            serial: 1,
            began: Instant::now(),
            must_settle: false,
            failed: None,
            trouble: None,
            frames: Vec::new(),
            base: Vec::new(),
            log_bytes: 0,
        }
    }

    /// Follows the write-ahead log of a database that has just been opened. Its name is its path as [`recover`](super::recover) is to
    /// find it below a folder of databases: relative, with `/`.
    ///
    /// The follower belongs to this journal and to one connection; a connection that is opened anew gets another one.
    #[must_use]
    pub fn follow(&self, name: &str, database: &Path) -> Follower {
        Follower::new(name, database)
    }

    /// Whether the logs may have frames of this database. Those that a follower has not captured must not be checkpointed then,
    /// before [`settle`](Self::settle).
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.members.contains(name) || self.leaving.contains(name)
    }

    /// Takes the frames that a commit has added to a write-ahead log with now `frames` frames in all. They are durable with the next
    /// [`sync`](Self::sync).
    ///
    /// Call it after each COMMIT of the connection, before the next: frames that were captured late are captured all
    /// the same, together with those of later commits, unless the log has begun anew meanwhile.
    ///
    /// # Errors
    /// The write-ahead log cannot be read: the database must be closed, and not checkpointed. The journal has failed before.
    pub fn capture(&mut self, follower: &mut Follower, frames: u32) -> io::Result<()> {
        self.check()?;
        let taken = self.take_frames(follower, frames);
        if taken.is_err() {
            follower.forget();
            follower.is_behind = true;
        }
        taken
    }

    fn take_frames(&mut self, follower: &mut Follower, frames: u32) -> io::Result<()> {
        let file = follower.file(&*self.disk)?;
        let news = follower.news(&*file, frames)?;
        let room = news.bytes() + news.bytes() / 8 + (SECTOR + follower.name.len()) as u64;
        if !self.make_room(room)? {
            self.enter(follower, &file);
            follower.pass(frames, self.next);
            self.must_settle = true;
            return Ok(());
        }
        let handle = self.enter(follower, &file);
        if let Some(header) = &news.header {
            self.batch.header(handle, header);
        }
        self.append(follower, &*file, handle, &news)?;
        follower.advance(frames, self.next);
        Ok(())
    }

    /// Appends frames to the batch, as differences where the log has their pages already.
    fn append(
        &mut self,
        follower: &mut Follower,
        file: &dyn DiskFile,
        handle: u32,
        news: &NewFrames,
    ) -> io::Result<()> {
        let size = news.page_size + FRAME_HEADER;
        self.frames.resize(size * news.count as usize, 0);
        file.read_at(&mut self.frames, frame_offset(news.first, news.page_size))?;
        self.base.resize(news.page_size, 0);
        for (number, frame) in (news.first..).zip(self.frames.chunks_exact(size)) {
            if !follower.owns(frame) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a frame of the write-ahead log is of another one",
                ));
            }
            let page = [frame[0], frame[1], frame[2], frame[3]];
            let base = follower.bases.insert(page, number);
            if let Some(base) = base {
                file.read_at(&mut self.base, frame_offset(base, news.page_size) + FRAME_HEADER as u64)?;
            }
            self.batch.frame(handle, number, frame, base.map(|base| (base, &self.base[..])));
        }
        Ok(())
    }

    /// Enters the database into the current log. Returns its handle there.
    fn enter(&mut self, follower: &mut Follower, file: &Arc<dyn DiskFile>) -> u32 {
        if let Some((serial, handle)) = follower.place
            && serial == self.serial
        {
            return handle;
        }
        follower.bases.clear();
        let (handle, is_new) = self.members.enter(&follower.name, file);
        if is_new {
            self.batch.name(handle, &follower.name);
        }
        follower.place = Some((self.serial, handle));
        handle
    }

    /// Makes room for as many bytes in the batch and in the log. Returns whether there is some.
    fn make_room(&mut self, bytes: u64) -> io::Result<bool> {
        if self.must_settle {
            return Ok(false);
        }
        if self.current.is_none() {
            match self.create() {
                Ok(half) => {
                    let other = half::path(&self.folder, self.number, 'b');
                    self.spare = Spare::make(&self.disk, other, half.size);
                    self.current = Some(half);
                }
                Err(error) => {
                    self.trouble = Some(format!("the journal in {} cannot be made: {error}", self.folder.display()));
                    return Ok(false);
                }
            }
        }
        let needed = self.batch.size() + bytes;
        let half = self.current.as_ref().expect("a log has just been made if there was none");
        if bytes > half.size / 2 {
            return Ok(false);
        }
        if half.has_room(needed) {
            return Ok(true);
        }
        if !self.batch.is_empty() {
            self.write()?;
        }
        self.turn_over()?;
        Ok(self.current.as_ref().is_some_and(|half| half.has_room(self.batch.size() + bytes)))
    }

    fn create(&mut self) -> io::Result<Half> {
        self.run = u64::from_le_bytes(isobar_base::random::bytes().map_err(io::Error::other)?);
        isobar_base::fs::create_dir(&self.folder)?;
        self.began = Instant::now();
        let size = FIRST_BYTES.min(self.options.bytes);
        Half::create(&*self.disk, half::path(&self.folder, self.number, 'a'), size)
    }

    /// Lets the other log take over. Where there is none, this one is emptied at once.
    fn turn_over(&mut self) -> io::Result<()> {
        match self.take_spare()? {
            Some(half) => {
                let Some(full) = self.current.replace(half) else { return Ok(()) };
                let is_soon = self.began.elapsed() < SOON;
                let size = if is_soon { (full.size * GROWTH).min(self.options.bytes) } else { full.size };
                self.began = Instant::now();
                self.serial += 1;
                self.leaving = Arc::new(std::mem::take(&mut self.members));
                self.spare = Spare::empty(full, Arc::clone(&self.leaving), size);
                Ok(())
            }
            None => {
                self.settle()?;
                let half = self.current.as_ref().map(|half| (half.path.clone(), half.size));
                if let Some((path, size)) = half {
                    let letter = if path == half::path(&self.folder, self.number, 'a') { 'b' } else { 'a' };
                    self.spare = Spare::make(&self.disk, half::path(&self.folder, self.number, letter), size);
                }
                Ok(())
            }
        }
    }

    /// Waits for the other log. `None` if there is none.
    fn take_spare(&mut self) -> io::Result<Option<Half>> {
        let outcome = self.spare.take();
        self.leaving = Arc::default();
        match outcome {
            Outcome::Ready(half) => Ok(Some(half)),
            Outcome::Unmade => Ok(None),
            Outcome::Lost(error) => {
                Err(self.fail("the write-ahead logs behind a full journal cannot be synced", error))
            }
        }
    }

    /// Makes all that was captured durable, by one sync of the log.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use isobar_sqlite::WalPages;
    /// use isobar_sqlite::journal::{Journal, JournalOptions, SystemDisk};
    /// use rusqlite::Connection;
    ///
    /// # let root = tempfile::tempdir()?;
    /// # let root = root.path();
    /// let mut journal = Journal::new(root.join("journal"), 0, JournalOptions::default(), Arc::new(SystemDisk));
    /// let mut connection = Connection::open(root.join("a.db"))?;
    /// connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")?;
    /// let wal = WalPages::count(&mut connection)?;
    /// let mut follower = journal.follow("a.db", &root.join("a.db"));
    /// connection.execute_batch("CREATE TABLE t (a)")?;
    /// journal.capture(&mut follower, wal.take_committed().unwrap_or_default())?;
    /// assert!(!journal.is_durable(&follower), "it may not be acknowledged yet");
    /// journal.sync()?;
    /// assert!(journal.is_durable(&follower) && journal.durable() == follower.batch());
    /// # journal.finish()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The captured frames cannot be made durable, or are uncertain: the journal takes nothing more, and its databases must not be
    /// checkpointed. [`recover`](super::recover) restores what is certain.
    pub fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        if self.must_settle {
            return self.settle();
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        self.write()
    }

    /// Writes the batch and syncs the log. A write that fails leaves nothing that counts, so the write-ahead logs are
    /// synced instead ([`abandon`](Self::abandon)); a sync that fails leaves the batch uncertain, and the journal has
    /// failed.
    fn write(&mut self) -> io::Result<()> {
        let half = self.current.as_mut().expect("what is in a batch was put there when there was a log");
        let bytes = self.batch.seal(self.run, self.next);
        let length = bytes.len() as u64;
        if let Err(error) = half.file.write_at(bytes, half.end) {
            let trouble = format!("the journal {} cannot be written: {error}", half.path.display());
            return self.abandon(trouble);
        }
        if let Err(error) = half.file.sync() {
            let what = format!("the journal {} cannot be synced", half.path.display());
            return Err(self.fail(&what, error));
        }
        half.end += length;
        self.log_bytes += length;
        self.trouble = None;
        self.advance();
        Ok(())
    }

    /// Counts the batch as durable.
    fn advance(&mut self) {
        self.batch.clear();
        self.durable = self.next;
        self.next += 1;
    }

    /// Makes all that was captured durable by syncing the write-ahead logs, and empties the journal.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub fn settle(&mut self) -> io::Result<()> {
        self.check()?;
        // The older log first: what it says is not to be put back without what the newer one says.
        let spare = self.take_spare()?;
        if let Some(spare) = spare {
            self.spare = Spare::Done(Outcome::Ready(spare));
        }
        if let Err(error) = self.members.sync() {
            return Err(self.fail("a write-ahead log cannot be synced", error));
        }
        let emptied = self.current.as_mut().map_or(Ok(()), Half::empty);
        if let Err(error) = emptied {
            return Err(self.fail("the journal cannot be emptied", error));
        }
        self.settled();
        Ok(())
    }

    /// Begins anew with empty logs: no follower has a place in them any more, as the serial number is another one.
    fn settled(&mut self) {
        self.members = Members::default();
        self.serial += 1;
        self.must_settle = false;
        self.advance();
    }

    /// As [`settle`](Self::settle), where the log cannot be written: it is removed. The next commit tries another.
    fn abandon(&mut self, trouble: String) -> io::Result<()> {
        let spare = self.take_spare()?;
        let removed = self.members.sync().and_then(|()| {
            let logs = spare.into_iter().chain(self.current.take());
            logs.into_iter().try_for_each(|log| {
                self.disk.remove(&log.path)?;
                self.disk.sync_folder(&self.folder) // before the newer one goes
            })
        });
        if let Err(error) = removed {
            return Err(self.fail(&trouble, error));
        }
        self.settled();
        self.trouble = Some(trouble);
        Ok(())
    }

    /// Returns why the last batch went past the log, by syncing write-ahead logs, though that was not meant: the disk is full, say.
    /// The captured frames are durable all the same.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether a sync has failed: the journal takes nothing more.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Returns the number of the last batch that is durable; 0 before the first.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether all that was captured of a database is durable.
    #[must_use]
    pub fn is_durable(&self, follower: &Follower) -> bool {
        follower.batch <= self.durable && !follower.is_behind
    }

    /// Returns the number of bytes written to logs so far.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Ends the following of a database whose connection is about to be closed: makes it durable and runs `checkpoint`, which copies the
    /// whole write-ahead log into the database, syncs that, and returns whether it has. Returns whether the connection may be
    /// closed as usual; otherwise that must not run a checkpoint (`SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE`).
    ///
    /// # Errors
    /// As [`sync`](Self::sync); the connection must not run a checkpoint then.
    pub fn close(&mut self, follower: &mut Follower, checkpoint: impl FnOnce() -> bool) -> io::Result<bool> {
        if follower.is_behind {
            return Ok(false);
        }
        if follower.place.is_none() {
            return Ok(!self.has_failed() || !self.mentions(&follower.name));
        }
        self.check()?;
        if !self.is_durable(follower) {
            self.sync()?;
        }
        if !checkpoint() {
            return Ok(false);
        }
        if let Some((serial, handle)) = follower.place.take()
            && serial == self.serial
        {
            self.members.leave(handle);
        }
        follower.forget();
        Ok(true)
    }

    /// Ends the journal in order: what was captured is durable in the databases' own files, and the logs are removed.
    ///
    /// # Errors
    /// As [`sync`](Self::sync); the logs stay where they are.
    pub fn finish(mut self) -> io::Result<()> {
        self.settle()?;
        let spare = self.take_spare()?;
        for half in spare.into_iter().chain(self.current.take()) {
            self.disk.remove(&half.path)?; // both are empty: neither says anything
        }
        if self.folder.is_dir() {
            self.disk.sync_folder(&self.folder)?;
            drop(std::fs::remove_dir(&self.folder)); // other journals may have logs in it
        }
        Ok(())
    }

    /// Refuses everything once a sync has failed.
    fn check(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |why| Err(io::Error::other(why.clone())))
    }

    /// Fails the journal for good, and keeps what its logs have: a write-ahead log could not be synced, `what` says which. Returns the
    /// error with that text.
    pub fn fail(&mut self, what: &str, error: io::Error) -> io::Error {
        let message = format!("{what}: {error}");
        self.failed.get_or_insert_with(|| message.clone());
        io::Error::new(error.kind(), message)
    }
}
