//! Random sequences of operations, and what comes of each in words: two stores with the same words behave the same.

use chrono::DateTime;
use isobar_testkit::Failure;

use super::{Subject, key};
use crate::{
    Body, Checksum, ChecksumAlgorithm, Conditions, Etags, GetOptions, GetResult, HttpMetadata, Key, ListOptions,
    MultipartOptions, ObjectMeta, Part, PutOptions, PutResult, Range, Result, UploadId,
};

/// Names of the keys, behind a prefix of the sequence's own: parts of others, names that sort oddly, names that a path could not
/// have.
const NAMES: [&str; 14] =
    ["a", "a/b", "a/b/c", "a//b", "a/", "b", "b-", "b0", "ä", "\u{1d11e}", "z/..", "%41", "a b", "\u{ffff}x"];
/// The least size of a part that is not the last.
const PART: usize = 5 * 1024 * 1024;

/// Runs `steps` operations that `seed` decides on, and tells of each what was asked and what came of it. What differs from run
/// to run - times, versions, the ids of uploads - is left out, as are the storage class, which miniflare does not keep, and
/// what only some stores have.
///
/// # Errors
/// When the sequence itself cannot be made: never because of what the store answers.
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use std::sync::Arc;
///
/// use isobar_storage::conformance::{Subject, transcript};
/// use isobar_storage::memory::MemoryStore;
/// # futures_util::FutureExt::now_or_never(async {
/// let stores: [Subject; 2] = [Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new())];
/// let first = transcript(&stores[0], 7, 20).await.expect("the sequence can be made");
/// let second = transcript(&stores[1], 7, 20).await.expect("the sequence can be made");
/// assert_eq!(first, second);
/// # Ok::<_, isobar_storage::Error>(()) }).unwrap().unwrap(); }
/// ```
pub async fn transcript(store: &Subject, seed: u64, steps: usize) -> Result<Vec<String>, Failure> {
    let mut run = Run { store, random: Random(seed), prefix: format!("random-{seed}/"), uploads: Vec::new() };
    let mut told = Vec::new();
    for _ in 0..steps {
        told.push(run.step().await?);
    }
    Ok(told)
}

struct Run<'s> {
    store: &'s Subject,
    random: Random,
    prefix: String,
    uploads: Vec<Upload>,
}

struct Upload {
    key: Key,
    id: UploadId,
    parts: Vec<Part>,
}

impl Run<'_> {
    async fn step(&mut self) -> Result<String, Failure> {
        match self.random.below(20) {
            0..6 => self.put().await,
            6..10 => self.get().await,
            10 => self.head().await,
            11 => self.delete().await,
            12..15 => self.list().await,
            15 => self.create().await,
            16 | 17 => self.part().await,
            18 => self.complete().await,
            _ => self.abort().await,
        }
    }

    async fn put(&mut self) -> Result<String, Failure> {
        let key = self.key();
        let body = self.body(400);
        let mut options = PutOptions { http: self.http(), conditions: self.conditions()?, ..PutOptions::default() };
        if self.random.below(4) == 0 {
            let size = [1, 100, 8192, 8200][self.random.below(4)];
            options.custom.insert("n".to_owned(), "ü".repeat(self.random.below(2)) + &"v".repeat(size));
        }
        if self.random.below(3) == 0 {
            let algorithm = ChecksumAlgorithm::ALL[self.random.below(5)];
            let of: &[u8] = if self.random.below(4) == 0 { b"something else" } else { &body };
            options.checksum = Some(Checksum::of(algorithm, of));
        }
        let asked = format!("put {key} {} bytes {:?} {:?}", body.len(), options.conditions, options.checksum);
        let put = self.store.put(&key, body.into(), options).await;
        Ok(told(
            asked,
            put.map(|put| match put {
                PutResult::Stored(meta) => shown(&meta),
                PutResult::ConditionFailed => "condition failed".to_owned(),
            }),
        ))
    }

    async fn get(&mut self) -> Result<String, Failure> {
        let key = self.key();
        let mut options = GetOptions { conditions: self.conditions()?, ..GetOptions::default() };
        let edge = |random: &mut Random| [0, 1, 7, 199, 400, u64::from(u32::MAX)][random.below(6)];
        match self.random.below(6) {
            0 => options = options.with_range(Range::From { offset: edge(&mut self.random), length: None }),
            1 => {
                let offset = edge(&mut self.random);
                let length = Some(edge(&mut self.random));
                options = options.with_range(Range::From { offset, length });
            }
            2 => options = options.with_range(Range::Suffix(edge(&mut self.random))),
            3 => {
                let headers =
                    ["bytes=0-0", "bytes=5-", "bytes=-5", "bytes=9-3", "bytes=0-1,3-4", "lines=1-2", "bytes=900-"];
                options = options.with_range_header(headers[self.random.below(headers.len())]);
            }
            _ => {}
        }
        let asked = format!("get {key} {:?} {:?}", options.range, options.conditions);
        let got = match self.store.get(&key, options).await {
            Ok(GetResult::Missing) => Ok("missing".to_owned()),
            Ok(GetResult::ConditionFailed(meta)) => Ok(format!("condition failed: {}", shown(&meta))),
            Ok(GetResult::Object { meta, range, body }) => body.bytes().await.map(|bytes| {
                let md5 = Checksum::of(ChecksumAlgorithm::Md5, &bytes).hex;
                format!("{} {}+{} {md5}", shown(&meta), range.offset, range.length)
            }),
            Err(error) => Err(error),
        };
        Ok(told(asked, got))
    }

    async fn head(&mut self) -> Result<String, Failure> {
        let key = self.key();
        let head = self.store.head(&key).await;
        Ok(told(format!("head {key}"), head.map(|meta| meta.map_or_else(|| "missing".to_owned(), |meta| shown(&meta)))))
    }

    async fn delete(&mut self) -> Result<String, Failure> {
        let keys: Vec<Key> = (0..1 + self.random.below(3)).map(|_| self.key()).collect();
        let deleted = self.store.delete(&keys).await;
        Ok(told(format!("delete {keys:?}"), deleted.map(|()| "done".to_owned())))
    }

    /// A whole listing, page by page.
    async fn list(&mut self) -> Result<String, Failure> {
        let name = |run: &mut Self| run.prefix.clone() + NAMES[run.random.below(NAMES.len())];
        let mut options = ListOptions::default().with_prefix(self.prefix.clone());
        if self.random.below(3) == 0 {
            options = options.with_prefix(name(self));
        }
        if self.random.below(2) == 0 {
            options = options.with_delimiter(["/", "a", "/b", "//"][self.random.below(4)]);
        }
        if self.random.below(3) == 0 {
            options = options.with_start_after(name(self));
        }
        match self.random.below(8) {
            0 => options = options.with_limit([0, 1001][self.random.below(2)]),
            limit @ 1..6 => options = options.with_limit(limit),
            _ => {}
        }
        if self.random.below(2) == 0 {
            options = options.with_metadata();
        }
        let asked = format!("list {options:?}");
        let mut objects = Vec::new();
        let mut prefixes = Vec::new();
        let listed = loop {
            match self.store.list(options.clone()).await {
                Ok(page) => {
                    objects.extend(page.objects.iter().map(shown));
                    prefixes.extend(page.prefixes);
                    match page.cursor {
                        Some(cursor) => options = options.with_cursor(cursor),
                        None => break Ok(format!("{objects:?} {prefixes:?}")),
                    }
                }
                Err(error) => break Err(error),
            }
        };
        Ok(told(asked, listed))
    }

    async fn create(&mut self) -> Result<String, Failure> {
        let key = self.key();
        let options = MultipartOptions { http: self.http(), ..MultipartOptions::default() };
        let created = self.store.create_multipart(&key, options).await;
        let asked = format!("create {key} as {}", self.uploads.len());
        Ok(told(
            asked,
            created.map(|id| {
                self.uploads.push(Upload { key, id, parts: Vec::new() });
                "done".to_owned()
            }),
        ))
    }

    async fn part(&mut self) -> Result<String, Failure> {
        let Some(upload) = self.upload() else { return Ok("no upload yet".to_owned()) };
        let number = [0, 1, 2, 3, 10_000, 10_001][self.random.below(6)];
        // Seldom as long as it must be for others to follow.
        let size = match self.random.below(12) {
            0 => PART,
            1 => PART + 1,
            _ => self.random.below(300),
        };
        let Upload { key, id, .. } = &self.uploads[upload];
        let stored = self.store.upload_part(key, id, number, Body::from(vec![7; size])).await;
        Ok(told(
            format!("part {number} of {upload}, {size} bytes"),
            stored.map(|part| {
                self.uploads[upload].parts.push(part);
                "done".to_owned()
            }),
        ))
    }

    async fn complete(&mut self) -> Result<String, Failure> {
        let Some(upload) = self.upload() else { return Ok("no upload yet".to_owned()) };
        let Upload { key, id, parts } = &self.uploads[upload];
        let key = key.clone();
        let id = id.clone();
        let mut parts = parts.clone();
        // All that were ever stored, those that were overwritten among them; or only some; or turned round.
        match self.random.below(4) {
            0 => parts.reverse(),
            1 => parts.truncate(self.random.below(3)),
            2 => {
                parts.reverse();
                let mut seen = std::collections::BTreeSet::new();
                parts.retain(|part| seen.insert(part.part_number));
                parts.reverse();
            }
            _ => {}
        }
        let numbers: Vec<u16> = parts.iter().map(|part| part.part_number).collect();
        let completed = self.store.complete_multipart(&key, &id, parts).await;
        Ok(told(format!("complete {upload} of {numbers:?}"), completed.map(|meta| shown(&meta))))
    }

    async fn abort(&mut self) -> Result<String, Failure> {
        let Some(upload) = self.upload() else { return Ok("no upload yet".to_owned()) };
        // Now and then by another key than its own.
        let key = if self.random.below(5) == 0 { self.key() } else { self.uploads[upload].key.clone() };
        let aborted = self.store.abort_multipart(&key, &self.uploads[upload].id).await;
        Ok(told(format!("abort {upload} of {key}"), aborted.map(|()| "done".to_owned())))
    }

    fn key(&mut self) -> Key {
        key(&format!("{}{}", self.prefix, NAMES[self.random.below(NAMES.len())]))
    }

    fn upload(&mut self) -> Option<usize> {
        // The latest ones more often than those that are long over.
        let from = self.uploads.len().saturating_sub(4);
        (!self.uploads.is_empty()).then(|| from + self.random.below(self.uploads.len() - from))
    }

    fn body(&mut self, most: usize) -> Vec<u8> {
        let byte = b"abcd"[self.random.below(4)];
        // Few bodies, so that etags come again.
        vec![byte; [0, 1, 7, 199, most][self.random.below(5)]]
    }

    fn http(&mut self) -> HttpMetadata {
        let mut http = HttpMetadata::default();
        if self.random.below(2) == 0 {
            http.content_type = Some(["text/plain", "image/png"][self.random.below(2)].to_owned());
        }
        if self.random.below(4) == 0 {
            http.cache_control = Some("max-age=60".to_owned());
            http.content_language = Some("de".to_owned());
            http.cache_expiry = DateTime::from_timestamp(2_000_000_000, 0);
        }
        http
    }

    fn conditions(&mut self) -> Result<Option<Conditions>, Failure> {
        if self.random.below(2) == 0 {
            return Ok(None);
        }
        let mut conditions = Conditions::default();
        let etags = |random: &mut Random| -> Result<Etags, Failure> {
            if random.below(4) == 0 {
                return Ok(Etags::Any);
            }
            let body = vec![b"abcd"[random.below(4)]; [0, 1, 7][random.below(3)]];
            Ok(Etags::one(Checksum::of(ChecksumAlgorithm::Md5, &body).hex)?)
        };
        let moments = [DateTime::UNIX_EPOCH, DateTime::from_timestamp(4_000_000_000, 0).unwrap_or_default()];
        match self.random.below(6) {
            0 => conditions.etag_matches = Some(etags(&mut self.random)?),
            1 => conditions.etag_does_not_match = Some(etags(&mut self.random)?),
            2 => conditions.uploaded_before = Some(moments[self.random.below(2)]),
            3 => conditions.uploaded_after = Some(moments[self.random.below(2)]),
            4 => {
                conditions.etag_matches = Some(etags(&mut self.random)?);
                conditions.uploaded_before = Some(moments[self.random.below(2)]);
            }
            _ => {
                conditions.etag_does_not_match = Some(etags(&mut self.random)?);
                conditions.uploaded_after = Some(moments[self.random.below(2)]);
            }
        }
        Ok(Some(conditions))
    }
}

fn told(asked: String, outcome: Result<String>) -> String {
    match outcome {
        Ok(outcome) => format!("{asked}: {outcome}"),
        Err(error) => format!("{asked}: {:?} {error}", error.kind()),
    }
}

fn shown(meta: &ObjectMeta) -> String {
    let ObjectMeta { key, size, etag, http, custom, checksums, .. } = meta;
    let custom: Vec<_> = custom.iter().map(|(name, value)| (name, value.len())).collect();
    let checksums: Vec<_> = checksums.iter().map(|checksum| (checksum.algorithm, &checksum.hex)).collect();
    format!("{key} {size} {etag} {http:?} {custom:?} {checksums:?}")
}

/// The same numbers everywhere, by SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
