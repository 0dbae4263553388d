//! A frame: what one transaction has put, as one piece of a pack.
//!
//! ```text
//! "isobarF1"  crc32 of all that follows  bytes of records  id of the frame before  id  record ...
//! record:     bytes of the head  head (the object's metadata, JSON)  body
//! ```
//!
//! Numbers are little-endian; ids are random, so that nobody can make a body that passes for the next frame.

use std::io::{self, Read, Seek, SeekFrom};

use super::{Place, Tail};
use crate::{Error, ErrorKind, ObjectMeta, Result, rules};

const MAGIC: &[u8; 8] = b"isobarF1";
const HEADER_BYTES: usize = 32;
/// No transaction has more: it is how a header that is none is told before room is made for it.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// What a frame says of an object: its metadata. They are read again as long as the pack lasts, by newer programs too, so that a
/// field that they get must have a default.
pub(in crate::local) fn head_of(meta: &ObjectMeta) -> Result<Vec<u8>> {
    serde_json::to_vec(meta).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("metadata cannot be written: {error}")).with_source(error)
    })
}

/// A frame that is being written.
#[derive(Debug)]
pub(in crate::local) struct NewFrame {
    tail: Tail,
    id: u64,
    bytes: Vec<u8>,
    records: usize,
    weight: u64,
}

impl NewFrame {
    pub(in crate::local) fn begin(tail: Tail) -> Result<Self> {
        let id = u64::from_le_bytes(rules::random()?);
        Ok(Self { tail, id, bytes: vec![0; HEADER_BYTES], records: 0, weight: 0 })
    }

    /// Adds an object with its [head](head_of); where its body will lie.
    pub(in crate::local) fn push(&mut self, head: &[u8], body: &[u8]) -> Result<Place> {
        if self.bytes.len() + head.len() + body.len() > MAX_BYTES {
            return Err(Error::new(ErrorKind::Internal, "a transaction of too many bytes"));
        }
        self.bytes.extend_from_slice(&(head.len() as u32).to_le_bytes()); // at most MAX_BYTES
        self.bytes.extend_from_slice(head);
        let position = self.tail.position + self.bytes.len() as u64;
        self.bytes.extend_from_slice(body);
        let place = Place { pack: self.tail.pack, position, size: body.len() as u64 };
        self.records += 1;
        self.weight += place.weight();
        Ok(place)
    }

    /// A body that is in it.
    pub(in crate::local) fn body(&self, place: Place) -> Option<&[u8]> {
        slice(&self.bytes, self.tail.position, place).filter(|_| place.pack == self.tail.pack)
    }

    pub(in crate::local) fn records(&self) -> usize {
        self.records
    }

    pub(in crate::local) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// What all that is in it weighs.
    pub(in crate::local) fn weight(&self) -> u64 {
        self.weight
    }

    /// Where it goes, and its bytes.
    pub(in crate::local) fn sealed(&mut self) -> (Tail, &[u8]) {
        let records = (self.bytes.len() - HEADER_BYTES) as u32; // at most MAX_BYTES
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
    pub(in crate::local) fn next(&self) -> Tail {
        let Tail { pack, position, .. } = self.tail;
        Tail { pack, position: position + self.bytes.len() as u64, last: self.id }
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
        let mut header = [0; HEADER_BYTES];
        file.seek(SeekFrom::Start(position))?;
        if !fill(file, &mut header)? || !header.starts_with(MAGIC) {
            return Ok(None);
        }
        let length = number(&header[12..16]) as usize;
        if length > MAX_BYTES {
            return Ok(None);
        }
        let mut records = Vec::new();
        file.take(length as u64).read_to_end(&mut records)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header[12..]);
        crc.update(&records);
        let is_whole = records.len() == length && u64::from(crc.finalize()) == number(&header[8..12]);
        Ok(is_whole.then_some(Self { pack, position, header, records }))
    }

    /// All of it.
    pub(in crate::local) fn bytes(&self) -> Vec<u8> {
        [&self.header[..], &self.records].concat()
    }

    /// Which one it follows.
    pub(in crate::local) fn after(&self) -> u64 {
        number(&self.header[16..24])
    }

    /// Where the next one goes.
    pub(in crate::local) fn next(&self) -> Tail {
        let end = self.position + (HEADER_BYTES + self.records.len()) as u64;
        Tail { pack: self.pack, position: end, last: number(&self.header[24..32]) }
    }

    /// The objects, and where their bodies lie.
    pub(in crate::local) fn objects(&self) -> Result<Vec<(ObjectMeta, Place)>> {
        let (mut objects, mut from) = (Vec::new(), 0);
        while from < self.records.len() {
            let head_from = from + 4;
            let head = self.records.get(from..head_from).ok_or_else(|| self.broken("a record is cut"))?;
            let body_from = head_from + number(head) as usize;
            let head = self.records.get(head_from..body_from).ok_or_else(|| self.broken("a head is cut"))?;
            let meta: ObjectMeta = serde_json::from_slice(head).map_err(|error| self.broken(&error.to_string()))?;
            let position = self.position + (HEADER_BYTES + body_from) as u64;
            let place = Place { pack: self.pack, position, size: meta.size };
            self.body(place).ok_or_else(|| self.broken("a body is cut"))?;
            from = body_from + meta.size as usize;
            objects.push((meta, place));
        }
        Ok(objects)
    }

    /// A body that is in it.
    pub(in crate::local) fn body(&self, place: Place) -> Option<&[u8]> {
        slice(&self.records, self.position + HEADER_BYTES as u64, place)
    }

    fn broken(&self, what: &str) -> Error {
        let message = format!("the frame at {} of pack {}: {what}", self.position, self.pack);
        Error::new(ErrorKind::Corrupt, message)
    }
}

/// A body out of bytes that begin at this position.
fn slice(bytes: &[u8], position: u64, place: Place) -> Option<&[u8]> {
    let from = usize::try_from(place.position.checked_sub(position)?).ok()?;
    bytes.get(from..from.checked_add(usize::try_from(place.size).ok()?)?)
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
    fn pack() -> (Vec<u8>, Vec<Place>) {
        let mut frame = NewFrame::begin(Tail { pack: 3, position: 100, last: 77 }).expect("randomness");
        let places = [("a", &b"first"[..]), ("b", b"")].map(|(key, body)| {
            let head = head_of(&meta(key, body)).expect("it can be written");
            frame.push(&head, body)
        });
        let places: Vec<Place> = places.into_iter().map(|place| place.expect("there is room")).collect();
        assert_eq!(frame.body(places[0]), Some(&b"first"[..]));
        assert_eq!(frame.body(Place { pack: 2, ..places[0] }), None);
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
        let objects = frame.objects().expect("it is whole");
        assert_eq!(objects.iter().map(|(meta, _)| meta.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(objects.iter().map(|(_, place)| *place).collect::<Vec<_>>(), places);
        assert_eq!(frame.body(places[0]), Some(&b"first"[..]));
        assert_eq!((frame.after(), frame.next().position), (77, pack.len() as u64 - 17));
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
