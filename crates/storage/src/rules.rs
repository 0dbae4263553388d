//! R2's rules as pure functions, without I/O and without a clock: the backends of this crate share them, and a backend of your own can.
//!
//! | operation | rules |
//! |---|---|
//! | `get` | [`decide_get`] |
//! | `put` | [`check_size`], [`check_metadata`], [`Digests`], [`random_id`] for the version |
//! | `delete` | [`check_delete`] |
//! | `list` | [`list_page`] |
//! | multipart uploads | [`check_part_number`], [`complete_parts`], [`unknown_upload`], [`no_such_upload`] |
//!
//! The [conformance kit](crate::conformance) judges the result.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::Digest;

use crate::{
    Body, ByteRange, Error, ErrorKind, GetOptions, Key, ListOptions, ListPage, ObjectMeta, Part, Result, limits,
};

pub use crate::checksum::Digests;

/// Outcome of [`decide_get`].
#[derive(Debug, Clone, PartialEq)]
pub enum GetDecision {
    /// No object has the key: the answer is [`GetResult::Missing`](crate::GetResult::Missing).
    Missing,
    /// The conditions do not hold: the answer is [`GetResult::ConditionFailed`](crate::GetResult::ConditionFailed).
    ConditionFailed(ObjectMeta),
    /// These bytes of the object are the answer.
    Read(ObjectMeta, ByteRange),
}

/// Decides a `get` by the object that has the key, in R2's order: a missing object first, then the conditions, then the range.
///
/// # Errors
/// [`ErrorKind::InvalidRange`] where the range holds no byte of the object.
///
/// ```
/// use isobar_storage::rules::{GetDecision, decide_get};
/// use isobar_storage::{Conditions, ErrorKind, GetOptions, Key, ObjectMeta, Range};
///
/// # fn main() -> isobar_storage::Result<()> {
/// let meta = ObjectMeta::new(Key::new("k")?, "v1".into(), 10, "etag".into(), Default::default());
/// let beyond = GetOptions::default().with_range(Range::From { offset: 20, length: None });
/// assert_eq!(decide_get(None, &beyond)?, GetDecision::Missing);
/// assert_eq!(decide_get(Some(meta.clone()), &beyond).unwrap_err().kind(), ErrorKind::InvalidRange);
/// let other = beyond.with_conditions(Conditions::if_etag("another")?);
/// assert_eq!(decide_get(Some(meta.clone()), &other)?, GetDecision::ConditionFailed(meta));
/// # Ok(())
/// # }
/// ```
pub fn decide_get(found: Option<ObjectMeta>, options: &GetOptions) -> Result<GetDecision> {
    let Some(meta) = found else { return Ok(GetDecision::Missing) };
    if options.conditions.as_ref().is_some_and(|conditions| !conditions.hold(Some(&meta))) {
        return Ok(GetDecision::ConditionFailed(meta));
    }
    let range = options.resolve_range(meta.size)?;
    Ok(GetDecision::Read(meta, range))
}

/// Returns 128 random bits in hexadecimal: an object's version, the id of an upload, the etag of a part.
///
/// # Errors
/// [`ErrorKind::Internal`] where the system has no randomness.
///
/// ```
/// let id = isobar_storage::rules::random_id()?;
/// assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
/// # Ok::<_, isobar_storage::Error>(())
/// ```
pub fn random_id() -> Result<String> {
    Ok(isobar_base::random::hex_id()?)
}

/// Refuses custom metadata over R2's limit of 8,192 bytes. As workerd counts: a string takes a byte per UTF-16 unit where all of them
/// are Latin-1, and two otherwise.
///
/// # Errors
/// [`ErrorKind::MetadataTooLarge`].
///
/// ```
/// # use std::collections::BTreeMap;
/// use isobar_storage::rules::check_metadata;
///
/// let custom = |text: String| BTreeMap::from([("n".to_owned(), text)]);
/// assert!(check_metadata(&custom("ü".repeat(8191))).is_ok());
/// assert!(check_metadata(&custom("日".repeat(8191))).is_err());
/// ```
pub fn check_metadata(custom: &BTreeMap<String, String>) -> Result<()> {
    let weigh =
        |text: &str| text.encode_utf16().count() * if text.chars().all(|char| char <= '\u{ff}') { 1 } else { 2 };
    let bytes: usize = custom.iter().map(|(name, value)| weigh(name) + weigh(value)).sum();
    if bytes <= limits::METADATA_BYTES {
        return Ok(());
    }
    let message = "Your metadata headers exceed the maximum allowed metadata size.";
    Err(Error::new(ErrorKind::MetadataTooLarge, message))
}

/// Refuses a body over the limit of a single put or part: 5 GiB - 5 MiB.
///
/// # Errors
/// [`ErrorKind::TooLarge`].
///
/// ```
/// use isobar_storage::{Body, ErrorKind, limits, rules};
///
/// // The length is announced: no byte has to be read for it.
/// let announced = |length| Body::from_stream(length, futures_util::stream::empty());
/// assert!(rules::check_size(&announced(limits::SINGLE_PUT_BYTES)).is_ok());
/// let error = rules::check_size(&announced(limits::SINGLE_PUT_BYTES + 1)).unwrap_err();
/// assert_eq!((error.kind(), error.code()), (ErrorKind::TooLarge, Some(100_100)));
/// ```
pub fn check_size(body: &Body) -> Result<()> {
    if body.length() <= limits::SINGLE_PUT_BYTES {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge, "Your proposed upload exceeds the maximum allowed object size."))
}

/// Returns the error of a write to a store that is only read.
#[cfg(any(feature = "layers", all(feature = "local", not(target_arch = "wasm32"))))]
pub(crate) fn only_read<T>(operation: crate::Operation) -> Result<T> {
    Err(Error::new(ErrorKind::PermissionDenied, "this store is only read").during(operation))
}

/// Refuses more keys than the 1,000 that one `delete` takes.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
///
/// ```
/// use isobar_storage::{Key, rules};
///
/// let keys = vec![Key::new("a").unwrap(); 1001];
/// assert!(rules::check_delete(&keys[..1000]).is_ok() && rules::check_delete(&keys).is_err());
/// ```
pub fn check_delete(keys: &[Key]) -> Result<()> {
    if keys.len() <= limits::DELETE_KEYS {
        return Ok(());
    }
    let message = format!("delete takes at most {} keys, not {}", limits::DELETE_KEYS, keys.len());
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Refuses a part number outside R2's range, 1 to 10,000.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`].
///
/// ```
/// use isobar_storage::rules::check_part_number;
///
/// assert!(check_part_number(0).is_err() && check_part_number(1).is_ok());
/// assert!(check_part_number(10_000).is_ok() && check_part_number(10_001).is_err());
/// ```
pub fn check_part_number(number: u16) -> Result<()> {
    if (1..=limits::PART_NUMBER).contains(&number) {
        return Ok(());
    }
    let message =
        format!("Part number must be between 1 and {} (inclusive). Actual value was: {number}", limits::PART_NUMBER);
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Returns R2's error of `complete` and `abort` for an unknown upload (10001).
///
/// ```
/// let error = isobar_storage::rules::unknown_upload().during("completeMultipartUpload");
/// let expected = "completeMultipartUpload: We encountered an internal error. Please try again. (10001)";
/// assert_eq!(error.to_string(), expected);
/// ```
#[must_use]
pub fn unknown_upload() -> Error {
    Error::new(ErrorKind::NoSuchUpload, "We encountered an internal error. Please try again.").with_code(10001)
}

/// Returns R2's error for a part of an unknown upload, and for any operation on one that has ended (10024).
///
/// ```
/// let error = isobar_storage::rules::no_such_upload().during("uploadPart");
/// assert_eq!(error.to_string(), "uploadPart: The specified multipart upload does not exist. (10024)");
/// ```
#[must_use]
pub fn no_such_upload() -> Error {
    Error::new(ErrorKind::NoSuchUpload, "The specified multipart upload does not exist.")
}

/// A stored part, as completion sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// The etag that the part was answered with.
    pub etag: String,
    /// The md5 of its bytes, of which the object's etag is made.
    pub md5: [u8; 16],
    /// Its bytes.
    pub size: u64,
}

/// Checks the parts given to `complete` against the stored ones; returns the numbers to join, in order, and the object's etag: the md5
/// of the parts' md5s, and their number.
///
/// # Errors
/// [`ErrorKind::InvalidPart`] for a part that is not stored with this etag, [`ErrorKind::PartTooSmall`] for one below 5 MiB that is not
/// the last, [`ErrorKind::UnequalParts`] where parts but the last differ in size, [`ErrorKind::Internal`] (as R2 has it) for a number
/// given twice.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use isobar_storage::Part;
/// use isobar_storage::rules::{StoredPart, complete_parts};
///
/// # fn main() -> isobar_storage::Result<()> {
/// let stored = BTreeMap::from([(3, StoredPart { etag: "a".into(), md5: [0; 16], size: 20 })]);
/// let (numbers, etag) = complete_parts(&[Part { part_number: 3, etag: "a".into() }], &stored)?;
/// assert_eq!(numbers, [3]);
/// assert!(etag.ends_with("-1"));
/// # Ok(())
/// # }
/// ```
pub fn complete_parts(given: &[Part], stored: &BTreeMap<u16, StoredPart>) -> Result<(Vec<u16>, String)> {
    let mut numbers: Vec<u16> = given.iter().map(|part| part.part_number).collect();
    numbers.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::new(ErrorKind::Internal, "We encountered an internal error. Please try again."));
    }
    let found = |part: &Part| stored.get(&part.part_number).filter(|found| found.etag == part.etag);
    let missing = || Error::new(ErrorKind::InvalidPart, "One or more of the specified parts could not be found.");
    let parts: Vec<&StoredPart> = given.iter().map(|part| found(part).ok_or_else(missing)).collect::<Result<_>>()?;
    // R2 looks for small parts in the order given, and for unequal ones in the order of the numbers.
    check_small_parts(&parts)?;
    let parts: Vec<&StoredPart> = numbers.iter().filter_map(|number| stored.get(number)).collect();
    check_equal_parts(&parts)?;
    let mut md5 = md5::Md5::new();
    parts.iter().for_each(|part| md5.update(part.md5));
    let etag = format!("{}-{}", hex::encode(md5.finalize()), parts.len());
    Ok((numbers, etag))
}

fn check_small_parts(parts: &[&StoredPart]) -> Result<()> {
    let Some((_, others)) = parts.split_last() else { return Ok(()) };
    if others.iter().any(|part| part.size < limits::PART_MIN_BYTES) {
        let message = "Your proposed upload is smaller than the minimum allowed object size.";
        return Err(Error::new(ErrorKind::PartTooSmall, message));
    }
    Ok(())
}

fn check_equal_parts(parts: &[&StoredPart]) -> Result<()> {
    let Some((last, others)) = parts.split_last() else { return Ok(()) };
    let Some(first) = others.first() else { return Ok(()) };
    if others.iter().any(|part| part.size != first.size) || last.size > first.size {
        let message = "There was a problem with the multipart upload.";
        return Err(Error::new(ErrorKind::UnequalParts, message));
    }
    Ok(())
}

/// Where a scan of the keys starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanStart {
    /// The first key, or the one before it. Not always UTF-8: it may lie between all keys of a group and the next one.
    pub bytes: Vec<u8>,
    /// Whether a key of exactly these bytes belongs to the scan.
    pub inclusive: bool,
}

/// Makes one page of a listing out of `scan(start, limit)`, which yields the next objects in the byte order of their keys from `start`
/// on: at most `limit`, and fewer only at the end. Prefix, delimiter, cursor, limit and the fields left out are applied here.
///
/// # Errors
/// [`ErrorKind::InvalidListLimit`] for a limit outside 1..=1000, [`ErrorKind::InvalidArgument`] for an invalid cursor, and the errors of
/// `scan`.
///
/// ```
/// use isobar_storage::rules::list_page;
/// use isobar_storage::{Error, Key, ListOptions, ObjectMeta};
///
/// # fn main() -> Result<(), Error> {
/// let names = ["a/1", "a/2", "b"];
/// let page = list_page(&ListOptions::default().with_delimiter("/"), |start, limit| {
///     let from = |name: &&&str| match start.inclusive {
///         true => name.as_bytes() >= &start.bytes[..],
///         false => name.as_bytes() > &start.bytes[..],
///     };
///     let meta = |name: &&str| {
///         Ok(ObjectMeta::new(Key::new(*name)?, "version".into(), 0, "etag".into(), Default::default()))
///     };
///     names.iter().filter(from).take(limit).map(meta).collect::<Result<Vec<_>, Error>>()
/// })?;
/// assert_eq!(page.prefixes, ["a/"]);
/// assert_eq!(page.objects[0].key.as_str(), "b");
/// # Ok(())
/// # }
/// ```
pub fn list_page<E: From<Error>>(
    options: &ListOptions,
    mut scan: impl FnMut(&ScanStart, usize) -> Result<Vec<ObjectMeta>, E>,
) -> Result<ListPage, E> {
    let limit = check_limit(options.limit)?;
    let prefix = options.prefix.as_deref().unwrap_or_default();
    let delimiter = options.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let mut start = list_start(options, prefix)?;
    let mut page = ListPage::default();
    let mut ends_in_group = false;
    let mut most = usize::MAX;
    'scan: loop {
        // After a group the next row may well begin another one: look at few rows first, then at ever more.
        let want = (limit - page.objects.len() - page.prefixes.len() + 1).min(most);
        most = most.saturating_mul(2);
        let chunk = scan(&start, want)?;
        let exhausted = chunk.len() < want;
        let last_key = chunk.last().map(|object| object.key.clone());
        for object in chunk {
            let key = object.key.as_str();
            let Some(rest) = key.strip_prefix(prefix) else { break 'scan };
            if page.objects.len() + page.prefixes.len() == limit {
                page.cursor = match ends_in_group {
                    true => page.prefixes.last().map(|group| encode_cursor('p', group)),
                    false => page.objects.last().map(|object| encode_cursor('k', object.key.as_str())),
                };
                break 'scan;
            }
            let group =
                delimiter.and_then(|delimiter| rest.find(delimiter).map(|at| prefix.len() + at + delimiter.len()));
            if let Some(end) = group {
                let group = key[..end].to_owned();
                start = ScanStart { bytes: after_all_with_prefix(&group), inclusive: true };
                ends_in_group = true;
                page.prefixes.push(group);
                most = 2;
                continue 'scan; // whatever else the chunk holds of the group is skipped by the new start
            }
            ends_in_group = false;
            page.objects.push(select(object, options));
        }
        let Some(last_key) = last_key.filter(|_| !exhausted) else { break };
        start = ScanStart { bytes: last_key.as_str().as_bytes().to_vec(), inclusive: false };
    }
    Ok(page)
}

/// Returns the limit of a page. Default: 1,000.
///
/// # Errors
/// [`ErrorKind::InvalidListLimit`] outside 1..=1000.
///
/// ```
/// use isobar_storage::rules::check_limit;
///
/// assert_eq!((check_limit(None)?, check_limit(Some(7))?), (1000, 7));
/// assert!(check_limit(Some(0)).is_err());
/// # Ok::<_, isobar_storage::Error>(())
/// ```
pub fn check_limit(limit: Option<usize>) -> Result<usize> {
    match limit.unwrap_or(limits::LIST_KEYS) {
        limit @ 1..=limits::LIST_KEYS => Ok(limit),
        _ => Err(Error::new(
            ErrorKind::InvalidListLimit,
            format!("MaxKeys params must be positive integer <= {}.", limits::LIST_KEYS),
        )),
    }
}

/// The latest of the three places that say where a listing starts: the prefix, `start_after`, the cursor. Of two at the same bytes the
/// exclusive one is the later.
fn list_start(options: &ListOptions, prefix: &str) -> Result<ScanStart> {
    let mut start = ScanStart { bytes: prefix.as_bytes().to_vec(), inclusive: true };
    let mut later = |candidate: ScanStart| {
        let later = candidate.bytes > start.bytes || (candidate.bytes == start.bytes && !candidate.inclusive);
        if later {
            start = candidate;
        }
    };
    if let Some(key) = &options.start_after {
        later(ScanStart { bytes: key.as_bytes().to_vec(), inclusive: false });
    }
    if let Some(cursor) = &options.cursor {
        later(decode_cursor(cursor)?);
    }
    Ok(start)
}

/// The least byte string above all that start with `prefix`. UTF-8 has no 0xff, so the last byte can always grow.
fn after_all_with_prefix(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last += 1;
    }
    bytes
}

/// A cursor: `k` and the last key of the page, or `p` and the last group, in base64 for URLs. A group is passed as a whole, so that the
/// next page does not list it again.
fn encode_cursor(kind: char, position: &str) -> String {
    BASE64.encode(format!("{kind}{position}"))
}

fn decode_cursor(cursor: &str) -> Result<ScanStart> {
    let invalid = || Error::new(ErrorKind::InvalidArgument, "The cursor is not one that a listing has given.");
    let text = BASE64.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    if let Some(key) = text.strip_prefix('k') {
        return Ok(ScanStart { bytes: key.as_bytes().to_vec(), inclusive: false });
    }
    let group = text.strip_prefix('p').ok_or_else(invalid)?;
    Ok(ScanStart { bytes: after_all_with_prefix(group), inclusive: true })
}

fn select(mut object: ObjectMeta, options: &ListOptions) -> ObjectMeta {
    if !options.include_http {
        object.http = crate::HttpMetadata::default();
    }
    if !options.include_custom {
        object.custom.clear();
    }
    object
}
