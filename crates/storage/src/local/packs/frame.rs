//! A frame: the records of one transaction, as one piece of a pack.
//!
//! ```text
//! "isobarF1"  crc32 of all that follows  bytes of records | 1 << 31  id of the frame before  id  record ...
//! record:     bytes of the head  head (the object's metadata, JSON)  body
//! note:       bytes of the note | 1 << 31  note (JSON): the blobs of a large object, or a key that was deleted
//!             (by compaction, up to the pack that the deletion was in)
//! ```
//!
//! The frames of all packs, in order, say everything that has become of the objects: the index can be made again out of them. The
//! bit of a frame's length says that deletions are kept as long as an older pack needs them; frames of index versions 3 and 4 do
//! not have it.
//!
//! Numbers are little-endian; ids are random, so that no client can make a body that passes for the next frame.

use std::io::{self, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use super::position::{HEAD_WEIGHT, LogPosition, PackLocation};
use crate::local::blobs::BlobPart;
use crate::local::verify::Verify;
use crate::{Error, ErrorKind, Key, ObjectMeta, Result};

const MAGIC: &[u8; 8] = b"isobarF1";
const HEADER_BYTES: usize = 32;
/// Bytes of a frame at most: a header that says more is not one.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Marks a note by the length before it; no head is as long.
const NOTE: u32 = 1 << 31;

/// Marks, in the length of a frame, that every deletion which a pack needs is in a pack.
const KEEPS_DELETIONS: u32 = 1 << 31;

/// A record of a frame.
#[derive(Debug, PartialEq)]
pub(in crate::local) enum Record {
    /// A small object, and the place of its body.
    Packed(ObjectMeta, PackLocation),
    /// A large object, and the blobs that have its body.
    Named(ObjectMeta, Vec<BlobPart>),
    /// A deletion of whatever had this key; `before` is the pack that a relocated one was written in first: what younger packs
    /// have of the key came later.
    Deleted { key: Key, before: Option<u64> },
}

impl Record {
    /// Returns the bytes that it counts in its pack while the object is stored by it.
    pub(in crate::local) fn weight(&self) -> u64 {
        match self {
            Self::Packed(_, place) => place.weight(),
            Self::Named(..) => HEAD_WEIGHT,
            Self::Deleted { .. } => 0,
        }
    }
}

/// A record without a body, as it is written. Read by newer programs, too: a field that it gets must have a default.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(
    clippy::large_enum_variant,
    reason = "a note lives as long as one record is written or read, and most name objects"
)]
pub(in crate::local) enum Note {
    /// A large object, and the blobs that have its body.
    Named {
        /// Its metadata.
        object: ObjectMeta,
        /// Its blobs, in order.
        segments: Vec<BlobPart>,
    },
    /// A deletion.
    Deleted {
        /// The key that was deleted.
        key: Key,
        /// The pack that it was written in first, of a deletion that compaction has relocated: it concerns records in packs
        /// before that one alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
    },
}

impl Note {
    /// Weight in the pack: that of a large object counts as long as the object is there, that of a deletion never.
    fn weight(&self) -> u64 {
        match self {
            Self::Named { .. } => HEAD_WEIGHT,
            Self::Deleted { .. } => 0,
        }
    }
}

/// Returns the head of an object's record: its metadata. Heads are read as long as the pack lasts, by newer programs too, so that a
/// new field must have a default.
pub(in crate::local) fn head_of(meta: &ObjectMeta) -> Result<Vec<u8>> {
    json(meta)
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("metadata cannot be written: {error}")).with_source(error)
    })
}

/// A frame that is being written.
#[derive(Debug)]
pub(in crate::local) struct NewFrame {
    tail: LogPosition,
    id: u64,
    bytes: Vec<u8>,
    records: usize,
    weight: u64,
    keeps_deletions: bool,
}

impl NewFrame {
    pub(in crate::local) fn begin(tail: LogPosition) -> Result<Self> {
        let id = u64::from_le_bytes(isobar_base::random::bytes()?);
        Ok(Self { tail, id, bytes: vec![0; HEADER_BYTES], records: 0, weight: 0, keeps_deletions: true })
    }

    /// Makes it a frame of an upgrade that is not complete: it does not say that the packs have every deletion.
    pub(in crate::local) fn of_upgrade(mut self) -> Self {
        self.keeps_deletions = false;
        self
    }

    /// Adds an object with its [head](head_of) and the CRC-32 of its body; where the body will lie.
    pub(in crate::local) fn push(&mut self, head: &[u8], body: &[u8], crc: u32) -> Result<PackLocation> {
        self.make_room(head.len() + body.len())?;
        self.bytes.extend_from_slice(&(head.len() as u32).to_le_bytes()); // at most MAX_BYTES
        self.bytes.extend_from_slice(head);
        let position = self.tail.position + self.bytes.len() as u64;
        self.bytes.extend_from_slice(body);
        let place = PackLocation { pack: self.tail.pack, position, size: body.len() as u64, crc: Some(crc) };
        self.records += 1;
        self.weight += place.weight();
        Ok(place)
    }

    /// Adds a record without a body; the pack that it is in.
    pub(in crate::local) fn note(&mut self, note: &Note) -> Result<u64> {
        let text = json(note)?;
        self.make_room(text.len())?;
        self.bytes.extend_from_slice(&(text.len() as u32 | NOTE).to_le_bytes()); // at most MAX_BYTES
        self.bytes.extend_from_slice(&text);
        self.records += 1;
        self.weight += note.weight();
        Ok(self.tail.pack)
    }

    fn make_room(&self, bytes: usize) -> Result<()> {
        match self.bytes.len() + bytes > MAX_BYTES {
            true => Err(Error::new(ErrorKind::Internal, "a transaction of too many bytes")),
            false => Ok(()),
        }
    }

    /// A body that is in it.
    pub(in crate::local) fn body(&self, place: PackLocation) -> Option<&[u8]> {
        slice(&self.bytes, self.tail.position, place).filter(|_| place.pack == self.tail.pack)
    }

    pub(in crate::local) fn records(&self) -> usize {
        self.records
    }

    pub(in crate::local) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the weight of all its records.
    pub(in crate::local) fn weight(&self) -> u64 {
        self.weight
    }

    /// Where it goes, and its bytes.
    pub(in crate::local) fn sealed(&mut self) -> (LogPosition, &[u8]) {
        let mut records = (self.bytes.len() - HEADER_BYTES) as u32; // at most MAX_BYTES
        if self.keeps_deletions {
            records |= KEEPS_DELETIONS;
        }
        let header = &mut self.bytes[..HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[12..16].copy_from_slice(&records.to_le_bytes());
        header[16..24].copy_from_slice(&self.tail.last.to_le_bytes());
        header[24..32].copy_from_slice(&self.id.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[12..]);
        self.bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        (self.tail, &self.bytes)
    }

    /// Where the next one goes.
    pub(in crate::local) fn next(&self) -> LogPosition {
        let LogPosition { pack, position, .. } = self.tail;
        LogPosition { pack, position: position + self.bytes.len() as u64, last: self.id }
    }
}

/// A frame as it lies in a pack, whole.
#[derive(Debug)]
pub(in crate::local) struct Frame {
    pack: u64,
    position: u64,
    header: [u8; HEADER_BYTES],
    records: Vec<u8>,
}

impl Frame {
    /// The frame at a position; `None` where there is none, or not all of it.
    pub(super) fn read(file: &mut (impl Read + Seek), pack: u64, position: u64) -> io::Result<Option<Self>> {
        Ok(match Found::read(file, pack, position)? {
            Found::Whole(frame) => Some(frame),
            Found::Damaged(_) | Found::Nothing => None,
        })
    }

    /// All of it.
    pub(in crate::local) fn bytes(&self) -> Vec<u8> {
        [&self.header[..], &self.records].concat()
    }

    pub(in crate::local) fn pack(&self) -> u64 {
        self.pack
    }

    pub(in crate::local) fn position(&self) -> u64 {
        self.position
    }

    /// Its own id.
    pub(in crate::local) fn id(&self) -> u64 {
        number(&self.header[24..32])
    }

    /// Whether its writer kept every deletion that an older pack needs.
    pub(in crate::local) fn keeps_deletions(&self) -> bool {
        number(&self.header[12..16]) & u64::from(KEEPS_DELETIONS) != 0
    }

    /// Id of the frame that it follows.
    pub(in crate::local) fn previous(&self) -> u64 {
        number(&self.header[16..24])
    }

    /// Where the next one goes.
    pub(in crate::local) fn next(&self) -> LogPosition {
        let end = self.position + (HEADER_BYTES + self.records.len()) as u64;
        LogPosition { pack: self.pack, position: end, last: self.id() }
    }

    /// Returns the records in it.
    pub(in crate::local) fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut from = 0;
        while from < self.records.len() {
            let (record, to) = self.record(from)?;
            records.push(record);
            from = to;
        }
        Ok(records)
    }

    /// The records of a damaged frame whose metadata can be read, up to the first where it cannot; the bodies may be damaged.
    pub(in crate::local) fn readable(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut from = 0;
        while let Some((record, to)) = (from < self.records.len()).then(|| self.record(from).ok()).flatten() {
            records.push(record);
            from = to;
        }
        records
    }

    /// Whether the metadata of every record can be read, and the body of one is not what its metadata say.
    pub(super) fn has_damaged_body(&self) -> bool {
        let is_damaged = |record: &Record| match record {
            Record::Packed(meta, place) => Verify::whole(meta, self.body(*place).unwrap_or_default()).is_err(),
            Record::Named(..) | Record::Deleted { .. } => false,
        };
        self.records().is_ok_and(|records| records.iter().any(is_damaged))
    }

    /// The record at an offset, and the offset of the next.
    fn record(&self, from: usize) -> Result<(Record, usize)> {
        let head_from = from + 4;
        let length = number(self.records.get(from..head_from).ok_or_else(|| self.broken("a record is cut"))?);
        let is_note = length & u64::from(NOTE) != 0;
        let body_from = head_from + (length & !u64::from(NOTE)) as usize;
        let head = self.records.get(head_from..body_from).ok_or_else(|| self.broken("a head is cut"))?;
        if is_note {
            let note = serde_json::from_slice(head).map_err(|error| self.broken(&error.to_string()))?;
            let record = match note {
                Note::Named { object, segments } => Record::Named(object, segments),
                Note::Deleted { key, before } => Record::Deleted { key, before },
            };
            return Ok((record, body_from));
        }
        let meta: ObjectMeta = serde_json::from_slice(head).map_err(|error| self.broken(&error.to_string()))?;
        let position = self.position + (HEADER_BYTES + body_from) as u64;
        let mut place = PackLocation { pack: self.pack, position, size: meta.size, crc: None };
        place.crc = Some(crc32fast::hash(self.body(place).ok_or_else(|| self.broken("a body is cut"))?));
        let to = body_from + meta.size as usize;
        Ok((Record::Packed(meta, place), to))
    }

    /// A body that is in it.
    pub(in crate::local) fn body(&self, place: PackLocation) -> Option<&[u8]> {
        slice(&self.records, self.position + HEADER_BYTES as u64, place)
    }

    fn broken(&self, what: &str) -> Error {
        let message = format!("the frame at {} of pack {}: {what}", self.position, self.pack);
        Error::new(ErrorKind::Corrupt, message)
    }
}

/// The content at a position of a pack.
#[derive(Debug)]
pub(in crate::local) enum Found {
    Whole(Frame),
    /// A header, and the bytes that it announces as far as they are there; they are not what was written.
    Damaged(Frame),
    Nothing,
}

impl Found {
    pub(super) fn read(file: &mut (impl Read + Seek), pack: u64, position: u64) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        file.seek(SeekFrom::Start(position))?;
        if !fill(file, &mut header)? || !header.starts_with(MAGIC) {
            return Ok(Self::Nothing);
        }
        let length = length(&header) as usize;
        if length > MAX_BYTES {
            return Ok(Self::Nothing);
        }
        let mut records = Vec::new();
        file.take(length as u64).read_to_end(&mut records)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header[12..]);
        crc.update(&records);
        let is_whole = records.len() == length && u64::from(crc.finalize()) == number(&header[8..12]);
        let frame = Frame { pack, position, header, records };
        Ok(if is_whole { Self::Whole(frame) } else { Self::Damaged(frame) })
    }
}

/// The header of a frame alone: what it says has not been compared with the frame's CRC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) id: u64,
    /// Where the frame ends.
    pub(super) end: u64,
}

impl Header {
    fn read(file: &mut impl Read, position: u64) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_BYTES];
        if !fill(file, &mut header)? || !header.starts_with(MAGIC) {
            return Ok(None);
        }
        let end = position + HEADER_BYTES as u64 + length(&header);
        Ok(Some(Self { id: number(&header[24..32]), end }))
    }
}

/// The headers of a pack's frames, from its beginning on, until there is none.
pub(super) fn headers(file: impl Read + Seek) -> impl Iterator<Item = io::Result<Header>> {
    let mut file = io::BufReader::with_capacity(64 * 1024, file);
    let mut position = 0;
    std::iter::from_fn(move || {
        let header = Header::read(&mut file, position).transpose()?;
        let skipped = header.and_then(|header| {
            // A length is of 32 bits.
            file.seek_relative((header.end - position) as i64 - HEADER_BYTES as i64)?;
            position = header.end;
            Ok(header)
        });
        Some(skipped)
    })
}

/// Where frames may begin in these bytes.
pub(super) fn beginnings(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC).map(|(at, _)| at)
}

/// A body out of bytes that begin at this position.
fn slice(bytes: &[u8], position: u64, place: PackLocation) -> Option<&[u8]> {
    let from = usize::try_from(place.position.checked_sub(position)?).ok()?;
    bytes.get(from..from.checked_add(usize::try_from(place.size).ok()?)?)
}

/// Returns the bytes of records that a header announces.
fn length(header: &[u8; HEADER_BYTES]) -> u64 {
    number(&header[12..16]) & !u64::from(KEEPS_DELETIONS)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Whether there was enough to fill it.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        filled => filled.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use chrono::DateTime;

    use super::*;
    use crate::Key;

    fn meta(key: &str, body: &[u8]) -> ObjectMeta {
        let key = Key::new(key).expect("a key");
        ObjectMeta::new(key, "version".to_owned(), body.len() as u64, "etag".to_owned(), DateTime::UNIX_EPOCH)
    }

    /// A pack with a frame of two objects behind 100 bytes of something.
    fn pack() -> (Vec<u8>, Vec<PackLocation>) {
        let mut frame = NewFrame::begin(LogPosition { pack: 3, position: 100, last: 77 }).expect("randomness");
        let places = [("a", &b"first"[..]), ("b", b"")].map(|(key, body)| {
            let head = head_of(&meta(key, body)).expect("it can be written");
            frame.push(&head, body, crc32fast::hash(body))
        });
        let places: Vec<PackLocation> = places.into_iter().map(|place| place.expect("there is room")).collect();
        assert_eq!(frame.body(places[0]), Some(&b"first"[..]));
        assert_eq!(frame.body(PackLocation { pack: 2, ..places[0] }), None);
        let mut pack = vec![7; 100];
        pack.extend_from_slice(frame.sealed().1);
        assert_eq!((frame.next().position, frame.records()), (pack.len() as u64, 2));
        (pack, places)
    }

    fn read(pack: &[u8], position: u64) -> Option<Frame> {
        Frame::read(&mut Cursor::new(pack), 3, position).expect("memory can be read")
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (mut pack, places) = pack();
        pack.extend_from_slice(b"what comes behind");
        let frame = read(&pack, 100).expect("it is there");
        let records = frame.records().expect("it is whole");
        let expected = [Record::Packed(meta("a", b"first"), places[0]), Record::Packed(meta("b", b""), places[1])];
        assert_eq!(records, expected);
        assert_eq!(frame.body(places[0]), Some(&b"first"[..]));
        assert_eq!((frame.previous(), frame.next().position), (77, pack.len() as u64 - 17));
    }

    #[test]
    fn notes_are_read_again_beside_bodies_and_weigh_as_long_as_their_object_is_there() {
        let mut frame = NewFrame::begin(LogPosition { pack: 3, position: 0, last: 77 }).expect("randomness");
        let segments = vec![BlobPart { blob: "ab".repeat(16), size: 9 }];
        let object = meta("large", b"9 bytes ..");
        let key = Key::new("gone").expect("a key");
        frame.note(&Note::Named { object: object.clone(), segments: segments.clone() }).expect("there is room");
        let place = frame.push(&head_of(&meta("a", b"x")).expect("it can be written"), b"x", 7).expect("there is room");
        frame.note(&Note::Deleted { key: key.clone(), before: None }).expect("there is room");
        assert_eq!((frame.records(), frame.weight()), (3, place.weight() + HEAD_WEIGHT));
        let pack = frame.sealed().1.to_vec();
        let records = read(&pack, 0).expect("it is there").records().expect("it is whole");
        let crc = Some(crc32fast::hash(b"x"));
        let packed = Record::Packed(meta("a", b"x"), PackLocation { crc, ..place });
        assert_eq!(records, [Record::Named(object, segments), packed, Record::Deleted { key, before: None }]);
    }

    #[test]
    fn a_damaged_body_does_not_hide_damaged_metadata() {
        let (mut pack, places) = pack();
        let found = |pack: &[u8]| Found::read(&mut Cursor::new(pack), 3, 100).expect("memory can be read");
        pack[places[0].position as usize] ^= 1;
        assert!(matches!(found(&pack), Found::Damaged(frame) if frame.has_damaged_body()));
        // The end of the second object's metadata: its body is empty.
        let last = pack.len() - 1;
        pack[last] = b'!';
        assert!(matches!(found(&pack), Found::Damaged(frame) if !frame.has_damaged_body()));
    }

    #[test]
    fn a_frame_that_is_cut_or_changed_is_none() {
        let (pack, _) = pack();
        assert!(read(&pack, 0).is_none() && read(&pack, pack.len() as u64).is_none() && read(&pack, 9999).is_none());
        for length in 100..pack.len() {
            assert!(read(&pack[..length], 100).is_none(), "{length} bytes of it");
            let mut changed = pack.clone();
            changed[length] ^= 1;
            assert!(read(&changed, 100).is_none(), "byte {length} changed");
        }
    }
}
