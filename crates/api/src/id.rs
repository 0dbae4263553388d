//! Ids of rows.
//!
//! UUIDs of version 7 begin with 48 bits of Unix time in milliseconds. So the ids of one process sort as its rows were made,
//! the primary key's index grows at its end, and a list in the order `-id` is newest first without an index of its own. Within
//! a millisecond the order is random: 74 bits are, and no counter is kept, since Workers and several processes share none.

use isobar_db::Result;

/// Returns a new id: a UUID of version 7 (RFC 9562). Ids sort by the time at which they were made.
///
/// ```
/// let first = isobar_api::new_id()?;
/// assert_eq!((first.len(), &first[14..15]), (36, "7"));
/// # Ok::<(), isobar_db::Error>(())
/// ```
///
/// An id contains the time at which it was made, to the millisecond. It is not a secret: it is shown in URLs and logs.
///
/// # Errors
/// [`ErrorKind::Internal`](isobar_db::ErrorKind::Internal) when the operating system gives no random bytes.
pub fn new_id() -> Result<String> {
    let mut bytes: [u8; 16] = isobar_base::random::bytes()?;
    let milliseconds = chrono::Utc::now().timestamp_millis().to_be_bytes();
    bytes[..6].copy_from_slice(&milliseconds[2..]);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex = hex::encode(bytes);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// Whether a text has the form of an id: 1 to 64 letters, digits, `-` and `_`. Ids of older rows need not be UUIDs.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_that_sort_by_time() {
        let first = new_id().expect("randomness");
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = new_id().expect("randomness");
        assert!(first < second && is_id(&first));
        assert_eq!((first.len(), &first[14..15]), (36, "7"));
    }
}
