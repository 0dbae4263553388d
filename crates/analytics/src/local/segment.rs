//! The segment files: appending, syncing, expiring.
//!
//! A segment is appended to, synced once for each batch, and ended by its size or its age. After a failed write its end is cut
//! back to what is durable, and a new one is begun: a disk that has failed once may fail again in the same place. The process
//! that writes holds the file's lock, by which others know that its end still moves. Ages are measured by two clocks; when the
//! wall clock has jumped against the other one, nothing is removed by age in that round.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use isobar_base::fs::Space;
use isobar_base::sync::IgnorePoison;

use super::log::{self, SEGMENT_FOR, Segment};
use super::manifest::Manifest;
use super::{LocalOptions, files, frame, retention};
use crate::{Error, Result, ScanOptions};

/// First bytes of a segment: a mark with the version of the format.
pub(super) const MAGIC: &[u8; 8] = b"isobarA2";
/// Marks a segment of the first format, which is read and not written.
pub(super) const FIRST_MAGIC: &[u8; 8] = b"isobarA1";

/// Difference between the elapsed wall-clock and monotonic times above which the wall clock has jumped.
const CLOCK_JUMP: Duration = Duration::from_secs(10 * 60);

/// The segments of a folder, the newest of which is open.
///
/// Owned by the writer thread; only [`DurableEnd`] is shared.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    options: LocalOptions,
    current: Option<Current>,
    end: Arc<DurableEnd>,
    /// Time of the last check of ages, by both clocks.
    looked: (Instant, SystemTime),
    expired_bytes: u64,
}

/// The outcome of [`Segments::store`].
#[derive(Debug)]
pub(super) struct Stored {
    /// Number of durable points.
    pub(super) points: u64,
    /// The reason for which the others are lost, if there are any; not retryable.
    pub(super) failure: Option<Error>,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    begun: Instant,
    /// Number of durable bytes; the rest is cut off after a failure.
    durable: u64,
}

/// The segment being written and the number of its durable bytes, up to which it may be read.
///
/// Set after each sync, and read by snapshots of this process: so a reader sees no point that a power loss could take back. Another process
/// has no such mark and reads to the end of the file; the checksums show where a batch is cut off.
#[derive(Debug, Default)]
pub(super) struct DurableEnd(Mutex<Option<(PathBuf, u64)>>);

impl DurableEnd {
    fn set(&self, end: Option<(PathBuf, u64)>) {
        // The value is replaced as a whole, so a panic cannot leave it inconsistent.
        *self.0.lock().ignore_poison() = end;
    }

    fn get(&self) -> Option<(PathBuf, u64)> {
        self.0.lock().ignore_poison().clone()
    }

    /// Whether this is the segment that is being written.
    #[cfg(feature = "query")]
    pub(super) fn is_of(&self, segment: &Path) -> bool {
        self.get().is_some_and(|(path, _)| path == segment)
    }
}

impl Segments {
    pub(super) fn open(folder: &Path, options: LocalOptions, end: Arc<DurableEnd>) -> Result<Self> {
        isobar_base::fs::create_dir(folder).map_err(|error| Error::io(folder, error))?;
        restrict(folder);
        let looked = (Instant::now(), SystemTime::now());
        let folder = folder.to_owned();
        Ok(Self { folder, options, current: None, end, looked, expired_bytes: 0 })
    }

    /// Makes [encoded](frame::encode) frames durable. After a failure the file is left as it was, and the next call begins a new
    /// one.
    ///
    /// Frames are divided among segments where they do not fit into one; each part is synced before the next is written.
    pub(super) fn store(&mut self, frames: &mut [u8]) -> Stored {
        let mut points = 0;
        let mut rest = frames;
        while !rest.is_empty() {
            let (bytes, count) = frame::fitting(rest, self.room_for(rest));
            let (fitting, left) = rest.split_at_mut(bytes);
            if let Err(error) = self.write(fitting) {
                return Stored { points, failure: Some(error.not_retryable()) };
            }
            points += count;
            rest = left;
        }
        Stored { points, failure: None }
    }

    /// Returns the room in bytes of the segment to which the first of these frames goes: the current one, or else the next.
    fn room_for(&self, frames: &[u8]) -> u64 {
        let whole = self.options.segment_bytes.saturating_sub(MAGIC.len() as u64);
        let current = self.current.as_ref().map(|current| self.options.segment_bytes.saturating_sub(current.durable));
        current.filter(|room| frame::length(frames) as u64 <= *room).unwrap_or(whole)
    }

    /// Checks that the storage accepts writes: opens a segment if there is none, and syncs it.
    pub(super) fn probe(&mut self) -> Result<()> {
        self.write(&mut [])
    }

    /// Ends the current segment, so that it may be compacted; the next point begins a new one.
    #[cfg(feature = "query")]
    pub(super) fn seal(&mut self) {
        self.current = None;
        self.end.set(None);
    }

    /// Returns the number of bytes removed because of age or size since the last call.
    pub(super) fn take_expired_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.expired_bytes)
    }

    /// Removes segments that are too old. If the clock has jumped since the last check, removes nothing, as it may be wrong only
    /// temporarily.
    ///
    /// A clock that was set wrong must not remove a dataset: the wall clock is compared with the monotonic one since the last check, and a round in
    /// which they differ by more than ten minutes removes nothing.
    pub(super) fn expire(&mut self) {
        let now = (Instant::now(), SystemTime::now());
        let monotonic = now.0 - self.looked.0;
        let wall = now.1.duration_since(self.looked.1);
        self.looked = now;
        if wall.is_ok_and(|wall| wall.abs_diff(monotonic) < CLOCK_JUMP) {
            self.prune(Some(now.1));
        } else {
            #[cfg(feature = "tracing")]
            tracing::warn!(folder = %self.folder.display(), "the clock has jumped; removing no events by age until the next check");
        }
    }

    /// Appends frames that fit into one segment, and syncs them. The order: the reserve of the disk; the end of a segment that is full or a day old;
    /// room by retention; a new segment, durable with its name; the frames, with the checksums of their places in it.
    fn write(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.ensure_reserve()?;
        let is_done = |current: &Current| {
            let is_full = current.durable + bytes.len() as u64 > self.options.segment_bytes;
            current.durable > MAGIC.len() as u64 && (is_full || current.begun.elapsed() >= SEGMENT_FOR)
        };
        if self.current.as_ref().is_some_and(is_done) {
            self.current = None;
        }
        if self.current.is_none() {
            self.prune(None);
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => {
                let current = Current::create(&self.folder)?;
                self.end.set(Some((current.path.clone(), current.durable)));
                self.current.insert(current)
            }
        };
        frame::seal(bytes, Some(current.durable));
        match current.append(bytes) {
            Ok(()) => {
                self.end.set(Some((current.path.clone(), current.durable)));
                Ok(())
            }
            Err(error) => {
                // Begin a new segment, as the end of this one is unknown.
                if let Some(current) = self.current.take() {
                    current.abandon();
                }
                self.end.set(None);
                Err(error)
            }
        }
    }

    /// Fails while the free space of the disk is below the reserve.
    fn ensure_reserve(&self) -> Result<()> {
        let Ok(Some(Space { free, total })) = isobar_base::fs::space(&self.folder) else { return Ok(()) };
        let reserve = self.options.reserve_bytes.unwrap_or_else(|| LocalOptions::RESERVE_BYTES.min(total / 20));
        if free >= reserve {
            return Ok(());
        }
        let message = format!(
            "{}: {free} bytes of the disk are free, below the reserve of {reserve}; events are dropped until there is more",
            self.folder.display()
        );
        Err(Error::new(crate::ErrorKind::StorageFull, message))
    }

    /// Removes what has expired by size and, if the time is given, by age.
    fn prune(&mut self, now: Option<SystemTime>) {
        let current = self.current.as_ref().map(|current| current.path.as_path());
        self.expired_bytes += retention::prune(&self.folder, &self.options, current, now);
    }
}

impl Current {
    /// Creates the next segment. Names sort by time.
    ///
    /// A number is never used twice, also not by two processes at once or around a compaction that removes files: a reader that has listed a
    /// number must not open another segment by it. Hence the looks at the manifest before and after the file is made.
    fn create(folder: &Path) -> Result<Self> {
        // In this order: a segment that a compaction has removed since is in the manifest.
        let listed = log::list(folder)?.last().map_or(0, |segment| segment.number);
        let last = listed.max(Manifest::through(folder)?);
        // Another process on the same folder may take the number first; then try the next one.
        for number in last + 1.. {
            let path = folder.join(log::name(number));
            match new_file(&path) {
                Ok(mut file) => {
                    // Another process may have removed it before it was locked, and begun one of the same name.
                    if !lock(&file) || !files::is_at(&path, &file) {
                        continue;
                    }
                    // A compaction may have covered another segment of this number meanwhile.
                    if number <= Manifest::through(folder)? {
                        drop(fs::remove_file(&path));
                        continue;
                    }
                    let begun = file.write_all(MAGIC).and_then(|()| files::sync(&file, &path));
                    let begun = begun.map_err(|error| Error::io(&path, error));
                    if let Err(error) = begun.and_then(|()| files::sync_dir(folder)) {
                        drop(fs::remove_file(&path)); // else every attempt would leave a file
                        return Err(error);
                    }
                    return Ok(Self { file, path, begun: Instant::now(), durable: MAGIC.len() as u64 });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(&path, error)),
            }
        }
        unreachable!("there are more numbers than files")
    }

    /// Writes and syncs. After an error the end of the file is unknown: the caller [abandons](Self::abandon) it.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_data());
        written.map_err(|error| Error::io(&self.path, error))?;
        #[cfg(test)]
        files::record::step("sync", &self.path);
        self.durable += bytes.len() as u64;
        Ok(())
    }

    /// Cuts off bytes that are not durable, so that a reader does not find half a batch; if that fails, too, the checksums of the
    /// frames detect it. Removes a segment without events, as every attempt would leave one.
    fn abandon(self) {
        if self.durable <= MAGIC.len() as u64 {
            drop(fs::remove_file(&self.path));
        } else {
            drop(self.file.set_len(self.durable));
        }
    }
}

/// Locks a segment that is written to, for as long as it is open, so that other processes on the folder do not remove it. Without
/// effect where the file system has no locks: there its age tells, see [`log::Sealed`].
fn lock(_file: &File) -> bool {
    #[cfg(unix)]
    if let Err(fs::TryLockError::WouldBlock) = _file.try_lock() {
        return false;
    }
    true
}

/// Returns the segments that may have selected events, oldest first, each up to its durable end.
///
/// The end is read before and after the listing: a segment that was ended in between is complete, and has its length looked up again.
pub(super) fn to_read(folder: &Path, end: &DurableEnd, options: &ScanOptions) -> Result<Vec<Segment>> {
    let before = end.get().and_then(|(path, _)| log::number(&path)).unwrap_or(0);
    let mut segments = log::list(folder)?;
    let from = options.from.map(|from| from.timestamp_millis());
    segments.retain(|segment| from.zip(segment.newest()).is_none_or(|(from, newest)| newest >= from));
    let current = end.get();
    for segment in &mut segments {
        match &current {
            Some((path, bytes)) if *path == segment.path => {
                segment.bytes = *bytes;
                segment.is_durable = true;
            }
            // It may have been listed while it was being written to; it is complete by now.
            _ if before <= segment.number => {
                segment.bytes = fs::metadata(&segment.path).map_or(segment.bytes, |meta| meta.len());
            }
            _ => {}
        }
    }
    Ok(segments)
}

/// Restricts a dataset made by an earlier version to its user.
fn restrict(folder: &Path) {
    if let Err(_error) = isobar_base::fs::restrict(folder) {
        #[cfg(feature = "tracing")]
        tracing::warn!(folder = %folder.display(), error = %_error, "cannot restrict the permissions; other users may read these events");
    }
}

/// Creates a file that only this user can access.
fn new_file(path: &Path) -> std::io::Result<File> {
    isobar_base::fs::private_file().append(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PointRef;
    use crate::local::files::record;

    fn store(segments: &mut Segments, number: f64) -> Result<u64> {
        let mut frames = Vec::new();
        frame::encode(frame::Stamp::at(0), &PointRef::new(None, &[], &[number]), &mut frames);
        let Stored { points, failure } = segments.store(&mut frames);
        failure.map_or(Ok(points), Err)
    }

    fn open(folder: &Path, options: LocalOptions) -> Segments {
        Segments::open(folder, options.with_reserve_bytes(0), Arc::default()).unwrap()
    }

    fn files(folder: &Path) -> Vec<u64> {
        log::list(folder).unwrap().iter().map(|segment| segment.number).collect()
    }

    #[test]
    fn a_failed_write_is_counted_and_the_next_one_works() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = open(folder.path(), LocalOptions::default());
        store(&mut segments, 1.0).unwrap();
        for _ in 0..3 {
            // Simulates a failing disk: this file does not accept writes.
            let current = segments.current.as_mut().unwrap();
            current.file = File::open(&current.path).unwrap();
            store(&mut segments, 2.0).unwrap_err();
            assert_eq!(store(&mut segments, 3.0).unwrap(), 1);
        }
        assert_eq!(files(folder.path()).len(), 4);
        // A segment without events is removed.
        segments.current = None;
        segments.probe().unwrap();
        assert_eq!(files(folder.path()).len(), 5);
        let current = segments.current.as_mut().unwrap();
        current.file = File::open(&current.path).unwrap();
        store(&mut segments, 4.0).unwrap_err();
        assert_eq!(files(folder.path()).len(), 4);
    }

    #[test]
    fn stored_points_are_synced_and_the_name_of_their_segment_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = open(folder.path(), LocalOptions::default());
        record::take();
        store(&mut segments, 1.0).unwrap();
        let name = format!("sync {}", folder.path().file_name().unwrap().to_string_lossy());
        assert_eq!(record::take(), ["sync 000000000001.seg", name.as_str(), "sync 000000000001.seg"]);
        store(&mut segments, 2.0).unwrap();
        assert_eq!(record::take(), ["sync 000000000001.seg"]);
    }

    #[test]
    fn batch_larger_than_a_segment_is_divided_among_segments() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = open(folder.path(), LocalOptions::default().with_segment_bytes(100));
        let mut frames = Vec::new();
        (0..10).for_each(|number| {
            frame::encode(frame::Stamp::at(0), &PointRef::new(None, &[], &[f64::from(number)]), &mut frames);
        });
        assert_eq!(segments.store(&mut frames).points, 10);
        let sizes: Vec<_> = log::list(folder.path()).unwrap().iter().map(|segment| segment.bytes).collect();
        assert_eq!(sizes, [89, 89, 89, 35], "three frames of 27 bytes behind each mark");
    }

    #[test]
    fn segments_are_removed_by_size_and_age() {
        let folder = tempfile::tempdir().unwrap();
        let options = LocalOptions::default().with_segment_bytes(100).with_retain_bytes(Some(1000));
        let mut segments = open(folder.path(), options);
        for number in 0..100 {
            store(&mut segments, f64::from(number)).unwrap();
            let bytes: u64 = log::list(folder.path()).unwrap().iter().map(|segment| segment.bytes).sum();
            assert!(bytes <= 1000, "{bytes}");
        }
        assert!(segments.take_expired_bytes() > 1000);
        let left = files(folder.path());
        assert!(left.len() > 3 && left.contains(&left.iter().copied().max().unwrap()), "{left:?}");

        let before = files(folder.path()).len();
        let written = |segment: &Segment, at: SystemTime| {
            let file = File::options().append(true).open(&segment.path).unwrap();
            file.set_modified(at).unwrap();
        };
        let segments_there = log::list(folder.path()).unwrap();
        // The first was written while the clock was ahead; those after it must still expire.
        written(&segments_there[0], SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60));
        for segment in &segments_there[1..3] {
            written(segment, SystemTime::now() - Duration::from_secs(91 * 24 * 60 * 60));
        }
        // After the clock was set an hour ahead, the first check removes nothing.
        segments.looked.1 -= Duration::from_secs(60 * 60);
        segments.expire();
        assert_eq!(files(folder.path()).len(), before);
        segments.expire();
        assert_eq!(files(folder.path()).len(), before - 2);
    }

    #[test]
    fn events_are_refused_below_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let options = LocalOptions::default().with_reserve_bytes(u64::MAX);
        let mut segments = Segments::open(folder.path(), options, Arc::default()).unwrap();
        let error = store(&mut segments, 1.0).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::StorageFull);
        assert!(error.to_string().contains("reserve"), "{error}");
        assert!(files(folder.path()).is_empty());
    }
}
