//! Compression of files without a precompressed variant.
//!
//! | coding | level |
//! |---|---|
//! | Brotli | 5, with a window of 2^20 bytes |
//! | Zstandard | 7 |
//! | gzip | 6 |
//!
//! An encoded file has the file's ETag with the coding behind it, and no checksums, as those are of the bytes before. It is
//! made once for an entry of the cache, by the request that fills it. Text that shrinks by less than a tenth is sent as it is.

use std::io::Write;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http::HeaderMap;

use crate::cache_options::CacheOptions;
use crate::http::encoding::{self, Encoding};
use crate::options::SiteOptions;
use crate::representation::Representation;

/// Sizes of files that are compressed, in bytes. Smaller ones gain little, larger ones hold up the requests that wait.
const COMPRESSED: RangeInclusive<usize> = 1024..=1024 * 1024;

/// Compresses a file in the coding that the client prefers, if it has no variant and shrinks enough. The result is a different
/// representation with its own ETag. Compressing 1 MiB blocks the thread for about 20 ms, once.
pub(super) fn compressed(
    options: &SiteOptions,
    cache: &CacheOptions,
    headers: &HeaderMap,
    representation: &Representation,
    body: &Bytes,
) -> Option<(Representation, Bytes)> {
    let is_worth_it = cache.compress && representation.varies && representation.encoding.is_none();
    if !is_worth_it || !options.precompressed || !COMPRESSED.contains(&body.len()) {
        return None;
    }
    let encoding = encoding::favourite(headers)?;
    let encoded = compress(encoding, body).ok()?;
    if encoded.len() > body.len() / 10 * 9 {
        return None;
    }
    let mut representation = Representation { encoding: Some(encoding), ..representation.clone() };
    representation.meta.size = encoded.len() as u64;
    representation.meta.checksums.clear();
    representation.meta.etag.push('-');
    representation.meta.etag.push_str(encoding.token());
    Some((representation, encoded.into()))
}

/// Compresses at levels that take about the same time and beyond which little is gained.
fn compress(encoding: Encoding, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoded = Vec::with_capacity(body.len() / 3);
    match encoding {
        Encoding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(&mut encoded, 32 * 1024, 5, 20);
            encoder.write_all(body)?;
        }
        Encoding::Zstd => encoded = zstd::bulk::compress(body, 7)?,
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut encoded, flate2::Compression::new(6));
            encoder.write_all(body)?;
            encoder.finish()?;
        }
    }
    Ok(encoded)
}
