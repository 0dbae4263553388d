//! Entries of the cache, and the responses that are made from them.
//!
//! An entry is immutable but for its stamp, which a revalidation replaces, so that responses that are being sent share it without
//! a lock. It has the head of a 200 and of a 304 as bytes, formatted once; ranges, digests and failed preconditions are computed
//! from it for their request.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::lock::Mutex;
use http::{HeaderMap, Response, StatusCode};
use isobar_storage::{ByteRange, Error, ErrorKind, HttpMetadata, ObjectMeta};

use super::head::Heads;
use crate::arena::KeptBody;
use crate::body::SiteBody;
use crate::cache_options::CacheState;
use crate::http::digest::Sha256;
use crate::options::SiteOptions;
use crate::representation::Representation;
use crate::request::{RequestHead, RequestTarget};
use crate::response::{error_response, finished, response};
use crate::serve::{Content, ReadBytes, serve};
use crate::snapshot::Snapshot;
use crate::timing::{Rule, timed};

/// A response and the time at which it was last known to be fresh.
pub(super) struct CacheEntry {
    pub(super) response: CachedResponse,
    /// The rule that decided the response.
    rule: Rule,
    /// The state of the site at that time, whose rules are applied to the headers.
    pub(super) snapshot: Snapshot,
    /// [`Freshness::stamp`] of the last validation.
    generation: AtomicU64,
    version: AtomicU64,
    /// [`Freshness::at`] of the last validation.
    validated_at: AtomicU64,
    /// Held during a revalidation (single flight).
    pub(super) last_failure: Mutex<Option<LastFailure>>,
}

/// The last failure to read an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastFailure {
    pub(super) at: Instant,
    pub(super) kind: ErrorKind,
}

/// The state of the store and the cache at one time, by which entries are fresh or stale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Freshness {
    pub(super) stamp: Stamp,
    /// Time in milliseconds since the start of the cache.
    pub(super) at: u64,
    /// The store has no generation, so it cannot say whether anything has changed.
    pub(super) is_blind: bool,
}

/// The state that an entry was made from. Both numbers only grow, except in a store without a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The store's generation; 0 where it has none.
    pub(super) generation: u64,
    /// Number of purges and of changes of the rules.
    pub(super) version: u64,
}

impl Freshness {
    /// The freshness of an entry that was never read.
    pub(super) const NEVER: Self =
        Self { stamp: Stamp { generation: u64::MAX, version: u64::MAX }, at: 0, is_blind: true };
}

/// The content of an entry.
pub(super) enum CachedResponse {
    /// A file, with the metadata by which conditions and ranges are evaluated.
    File(Box<CachedFile>),
    /// A finished response: a page for a missing file, a redirect.
    Done {
        status: StatusCode,
        body: KeptBody,
        headers: HeaderMap,
        /// The headers as HTTP/1.1 bytes.
        head: Bytes,
        /// The metadata of the page for a missing file, by which it is revalidated.
        page: Option<Box<(ObjectMeta, HttpMetadata)>>,
    },
    /// The response of this path is not cached.
    Nothing,
    /// Not read yet.
    Empty,
}

/// A file whose bytes and headers are in memory.
pub(super) struct CachedFile {
    pub(super) representation: Representation,
    /// Metadata in the store; a compressed representation has its own length and ETag.
    pub(super) stored: ObjectMeta,
    pub(super) body: KeptBody,
    /// Headers of a response with the file, rules applied.
    pub(super) headers: HeaderMap,
    /// Headers of a 304, rules applied.
    pub(super) not_modified: HeaderMap,
    /// The headers as HTTP/1.1 bytes.
    pub(super) heads: Heads,
    /// The body's sha-256, computed on the first request for it.
    pub(super) sha256: OnceLock<Sha256>,
}

impl Content for CachedFile {
    type Bytes = KeptBody;

    fn representation(&self) -> &Representation {
        &self.representation
    }

    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn not_modified_headers(&self) -> HeaderMap {
        self.not_modified.clone()
    }

    fn bytes(&self) -> &KeptBody {
        &self.body
    }

    /// Bytes that cannot be read have no digest; sending them fails.
    fn sha256(&self, range: Option<ByteRange>) -> Option<Sha256> {
        if let Some(range) = range {
            return self.body.slice(range).sha256().ok();
        }
        if let Some(known) = self.sha256.get() {
            return Some(*known);
        }
        let hash = self.body.sha256().ok()?;
        Some(*self.sha256.get_or_init(|| hash))
    }
}

impl ReadBytes for KeptBody {
    fn read(&self, range: Option<ByteRange>) -> impl Future<Output = Result<SiteBody, Error>> + Send + 'static + use<> {
        let body = match range {
            Some(range) => self.slice(range),
            None => self.clone(),
        };
        std::future::ready(Ok(body.into()))
    }
}

impl CacheEntry {
    /// Creates an entry that is valid in this state.
    pub(super) fn new(response: CachedResponse, rule: Rule, snapshot: Snapshot, freshness: Freshness) -> Self {
        Self {
            response,
            rule,
            snapshot,
            generation: AtomicU64::new(freshness.stamp.generation),
            version: AtomicU64::new(freshness.stamp.version),
            validated_at: AtomicU64::new(freshness.at),
            last_failure: Mutex::new(None),
        }
    }

    /// Whether it was last validated in this state. The two numbers are not read at once: as [`validate`](Self::validate) writes
    /// the generation last, a new one comes with its version, and an old one is not the store's any more.
    pub(super) fn has_stamp(&self, stamp: Stamp) -> bool {
        let own = Stamp {
            generation: self.generation.load(Ordering::Acquire),
            version: self.version.load(Ordering::Acquire),
        };
        own == stamp
    }

    /// Returns the time since the last validation.
    pub(super) fn age(&self, freshness: Freshness) -> Duration {
        Duration::from_millis(freshness.at.saturating_sub(self.validated_at.load(Ordering::Acquire)))
    }

    /// Counts the age from this time on.
    pub(super) fn touch(&self, freshness: Freshness) {
        self.validated_at.store(freshness.at, Ordering::Release);
    }

    /// Marks it as valid in this state.
    pub(super) fn validate(&self, freshness: Freshness) {
        self.touch(freshness);
        self.version.store(freshness.stamp.version, Ordering::Release);
        self.generation.store(freshness.stamp.generation, Ordering::Release);
    }

    /// Makes the response to a request; `None` where the entry has none for it.
    pub(super) fn response(
        &self,
        options: &SiteOptions,
        head: RequestHead<'_>,
        state: CacheState,
    ) -> Option<Response<SiteBody>> {
        let mut made = match &self.response {
            CachedResponse::Nothing | CachedResponse::Empty => return None,
            CachedResponse::Done { status, .. } if status.is_redirection() && head.uri.query().is_some() => {
                return None;
            }
            CachedResponse::Done { status, body, headers, .. } => response(*status, headers.clone(), body.clone()),
            CachedResponse::File(file) => {
                let served = serve(head, &**file).now_or_never();
                let served = served.expect("bytes in memory are read without waiting");
                served.unwrap_or_else(|error| error_response(&error))
            }
        };
        // Headers of refusals are not prepared.
        if matches!(made.status(), StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE) {
            made = self.snapshot.with_header_rules(&RequestTarget::of(head), made);
        }
        made = timed(options, made, self.rule, Some(state.name()));
        made.extensions_mut().insert(state);
        Some(finished(made, head.method))
    }
}

impl fmt::Debug for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEntry").field("rule", &self.rule).finish_non_exhaustive()
    }
}
