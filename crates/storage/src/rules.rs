//! R2's rules as pure functions, shared by every backend of ours: no I/O, no clock.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::Digest;

use crate::{Body, Error, ErrorKind, Key, ListOptions, ListPage, ObjectMeta, Part, Result, limits};

/// 128 random bits in hexadecimal: versions, upload ids, blob ids.
pub(crate) fn random_id() -> Result<String> {
    Ok(isobar_base::random::hex_id()?)
}

/// Refuses custom metadata over R2's limit. As workerd counts: a string takes a byte per UTF-16 unit where all of them
/// are Latin-1, and two otherwise.
pub(crate) fn check_metadata(custom: &BTreeMap<String, String>) -> Result<()> {
    let weigh =
        |text: &str| text.encode_utf16().count() * if text.chars().all(|char| char <= '\u{ff}') { 1 } else { 2 };
    let bytes: usize = custom.iter().map(|(name, value)| weigh(name) + weigh(value)).sum();
    if bytes <= limits::METADATA_BYTES {
        return Ok(());
    }
    let message = "Your metadata headers exceed the maximum allowed metadata size.";
    Err(Error::new(ErrorKind::MetadataTooLarge, message))
}

/// Refuses a body over the limit of a single put.
pub(crate) fn check_size(body: &Body) -> Result<()> {
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

/// Refuses more keys than one `delete` takes.
pub(crate) fn check_delete(keys: &[Key]) -> Result<()> {
    if keys.len() <= limits::DELETE_KEYS {
        return Ok(());
    }
    let message = format!("delete takes at most {} keys, not {}", limits::DELETE_KEYS, keys.len());
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Refuses a part number outside R2's range.
pub(crate) fn check_part_number(number: u16) -> Result<()> {
    if (1..=limits::PART_NUMBER).contains(&number) {
        return Ok(());
    }
    let message =
        format!("Part number must be between 1 and {} (inclusive). Actual value was: {number}", limits::PART_NUMBER);
    Err(Error::new(ErrorKind::InvalidArgument, message))
}

/// Returns R2's error of `complete` and `abort` for an unknown upload.
pub(crate) fn unknown_upload() -> Error {
    Error::new(ErrorKind::NoSuchUpload, "We encountered an internal error. Please try again.").with_code(10001)
}

/// Returns R2's error for a part of an unknown upload, and for any operation on one that has ended.
pub(crate) fn no_such_upload() -> Error {
    Error::new(ErrorKind::NoSuchUpload, "The specified multipart upload does not exist.")
}

/// A stored part, as completion sees it.
#[derive(Debug, Clone)]
pub(crate) struct StoredPart {
    pub(crate) etag: String,
    pub(crate) md5: [u8; 16],
    pub(crate) size: u64,
}

/// Checks the parts given to `complete` against the stored ones; the numbers to join, in order, and the object's etag.
pub(crate) fn complete(given: &[Part], stored: &BTreeMap<u16, StoredPart>) -> Result<(Vec<u16>, String)> {
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
pub(crate) struct Start {
    pub(crate) bytes: Vec<u8>,
    pub(crate) inclusive: bool,
}

/// Makes one page of a listing out of `scan(start, limit)`, which yields the next objects in key order from `start` on.
pub(crate) fn list_page<E: From<Error>>(
    options: &ListOptions,
    mut scan: impl FnMut(&Start, usize) -> Result<Vec<ObjectMeta>, E>,
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
                start = Start { bytes: after_all_with_prefix(&group), inclusive: true };
                ends_in_group = true;
                page.prefixes.push(group);
                most = 2;
                continue 'scan; // whatever else the chunk holds of the group is skipped by the new start
            }
            ends_in_group = false;
            page.objects.push(select(object, options));
        }
        let Some(last_key) = last_key.filter(|_| !exhausted) else { break };
        start = Start { bytes: last_key.as_str().as_bytes().to_vec(), inclusive: false };
    }
    Ok(page)
}

/// The page's limit, if it is one.
pub(crate) fn check_limit(limit: Option<usize>) -> Result<usize> {
    match limit.unwrap_or(limits::LIST_KEYS) {
        limit @ 1..=limits::LIST_KEYS => Ok(limit),
        _ => Err(Error::new(
            ErrorKind::InvalidListLimit,
            format!("MaxKeys params must be positive integer <= {}.", limits::LIST_KEYS),
        )),
    }
}

fn list_start(options: &ListOptions, prefix: &str) -> Result<Start> {
    let mut start = Start { bytes: prefix.as_bytes().to_vec(), inclusive: true };
    let mut later = |candidate: Start| {
        let later = candidate.bytes > start.bytes || (candidate.bytes == start.bytes && !candidate.inclusive);
        if later {
            start = candidate;
        }
    };
    if let Some(key) = &options.start_after {
        later(Start { bytes: key.as_bytes().to_vec(), inclusive: false });
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

fn encode_cursor(kind: char, position: &str) -> String {
    BASE64.encode(format!("{kind}{position}"))
}

fn decode_cursor(cursor: &str) -> Result<Start> {
    let invalid = || Error::new(ErrorKind::InvalidArgument, "The cursor is not one that a listing has given.");
    let text = BASE64.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
    if let Some(key) = text.strip_prefix('k') {
        return Ok(Start { bytes: key.as_bytes().to_vec(), inclusive: false });
    }
    let group = text.strip_prefix('p').ok_or_else(invalid)?;
    Ok(Start { bytes: after_all_with_prefix(group), inclusive: true })
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
