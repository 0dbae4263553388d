use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::DailyHash;
use crate::{
    Batches, DataPoint, Error, ErrorKind, EventSink, PointRef, Position, Result, ScanOptions, SinkStats, limits,
};

/// A sink that takes out of points what is not to be stored, before another sink has them. The rules are applied in the order in which
/// they were added. Behind a [`FanOut`](super::FanOut) it changes the points of one sink alone.
///
/// Rules of one column take its [`Position`], which [`Schema::require`](crate::Schema::require) finds by its name. An empty value stays
/// empty. A value that a rule cannot read, as a text that is not an IP address, becomes empty rather than being stored as it is, and is
/// counted ([`emptied`](Self::emptied)).
///
/// ```
/// # #[cfg(feature = "memory")] {
/// use isobar_analytics::layers::{DailyHash, DailyHashOptions, Scrubbed};
/// use isobar_analytics::memory::MemorySink;
/// use isobar_analytics::{DataPoint, EventSink, Position, Schema};
///
/// # futures_util::FutureExt::now_or_never(async {
/// let schema = Schema::new("visits").with_blobs(["url", "ip", "visitor"]);
/// let visits = MemorySink::new();
/// let sink = Scrubbed::new(visits.clone())
///     .with_query_removed(schema.require("url")?)?
///     .with_truncated_ip(schema.require("ip")?)?
///     .with_hash(Position::Blob(3), DailyHash::new(DailyHashOptions::default())?)?
///     .with_change(|point| point.blobs.truncate(3));
///
/// let point = DataPoint::new().with_blob("/reset?token=abc").with_blob("203.0.113.7").with_blob("user@example.com");
/// sink.write(point.with_blob("the user agent, say"));
/// let stored = &visits.points()[0];
/// assert_eq!((stored.blob(1), stored.blob(2)), (&b"/reset"[..], &b"203.0.113.0"[..]));
/// assert_eq!((stored.blob(3).len(), stored.blob(4)), (32, &b""[..]));
/// assert_eq!(sink.emptied(), 0);
/// # Ok::<(), isobar_analytics::Error>(())
/// # }).unwrap().unwrap(); }
/// ```
#[derive(Debug, Clone)]
pub struct Scrubbed<S> {
    inner: S,
    rules: Vec<Rule>,
    emptied: Arc<AtomicU64>,
}

#[derive(Clone)]
enum Rule {
    Index(TextRule),
    /// By the offset among the blobs.
    Blob(usize, TextRule),
    Change(Arc<ChangeFn>),
}

/// Changes a point.
type ChangeFn = dyn Fn(&mut DataPoint) + Send + Sync;

#[derive(Debug, Clone)]
enum TextRule {
    TruncateIp,
    RemoveQuery,
    Hash(DailyHash),
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(rule) => f.debug_tuple("Index").field(rule).finish(),
            Self::Blob(offset, rule) => f.debug_tuple("Blob").field(offset).field(rule).finish(),
            Self::Change(_) => f.debug_tuple("Change").finish_non_exhaustive(),
        }
    }
}

impl<S: EventSink> Scrubbed<S> {
    /// Creates a layer without a rule.
    pub fn new(inner: S) -> Self {
        Self { inner, rules: Vec::new(), emptied: Arc::default() }
    }

    /// Truncates the IP addresses of a column: IPv4 to 24 bits (`203.0.113.7` is `203.0.113.0`), IPv6 to 48 (`2001:db8:1:2::3` is
    /// `2001:db8:1::`). An IPv4 address within an IPv6 one counts as such: `::ffff:203.0.113.7` is `203.0.113.0`, and of 6to4 addresses
    /// (`2002::/16`) 40 bits are kept. A port, brackets and a zone are removed.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] for the position of a double, or beyond those of a data point.
    pub fn with_truncated_ip(self, position: Position) -> Result<Self> {
        self.with_text_rule(position, TextRule::TruncateIp)
    }

    /// Removes the query of the URLs or paths of a column, and the fragment: all from the first `?` or `#` on. What is before them stays, a
    /// name and password before the host (`https://user:password@host/`) among it.
    ///
    /// # Errors
    /// As [`with_truncated_ip`](Self::with_truncated_ip).
    pub fn with_query_removed(self, position: Position) -> Result<Self> {
        self.with_text_rule(position, TextRule::RemoveQuery)
    }

    /// Replaces the values of a column by their [`DailyHash`]. Columns with clones of one hash have the same hash for the same value.
    ///
    /// # Errors
    /// As [`with_truncated_ip`](Self::with_truncated_ip).
    pub fn with_hash(self, position: Position, hash: DailyHash) -> Result<Self> {
        self.with_text_rule(position, TextRule::Hash(hash))
    }

    /// Changes points by a function, which must not block. It sees them as the rules before it have left them.
    #[must_use]
    pub fn with_change(mut self, change: impl Fn(&mut DataPoint) + Send + Sync + 'static) -> Self {
        self.rules.push(Rule::Change(Arc::new(change)));
        self
    }

    /// Returns the number of values that were emptied so far because a rule could not read them.
    #[must_use]
    pub fn emptied(&self) -> u64 {
        self.emptied.load(Ordering::Relaxed)
    }

    fn with_text_rule(mut self, position: Position, rule: TextRule) -> Result<Self> {
        self.rules.push(match position {
            Position::Index => Rule::Index(rule),
            Position::Blob(number) if (1..=limits::BLOBS).contains(&number) => Rule::Blob(number - 1, rule),
            Position::Blob(_) | Position::Double(_) => {
                let message =
                    format!("{position} has no text: choose index1, or one of blob1 to blob{}", limits::BLOBS);
                return Err(Error::new(ErrorKind::Schema, message).during("scrub"));
            }
        });
        Ok(self)
    }

    fn scrub(&self, point: &mut DataPoint) {
        for rule in &self.rules {
            match rule {
                Rule::Index(rule) => point.indexes.iter_mut().for_each(|value| self.apply(rule, value)),
                Rule::Blob(offset, rule) => {
                    if let Some(value) = point.blobs.get_mut(*offset) {
                        self.apply(rule, value);
                    }
                }
                Rule::Change(change) => change(point),
            }
        }
    }

    fn apply(&self, rule: &TextRule, value: &mut Bytes) {
        if value.is_empty() {
            return;
        }
        *value = rule.apply(value).unwrap_or_else(|| {
            self.emptied.fetch_add(1, Ordering::Relaxed);
            Bytes::new()
        });
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: EventSink> EventSink for Scrubbed<S> {
    fn write(&self, mut point: DataPoint) {
        self.scrub(&mut point);
        self.inner.write(point);
    }
    /// Copies the values, which the rules change.
    fn write_ref(&self, point: &PointRef<'_>) {
        self.write(point.to_point());
    }
    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
    fn stats(&self) -> SinkStats {
        self.inner.stats()
    }
    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }
    async fn read(&self, options: ScanOptions) -> Result<Batches> {
        self.inner.read(options).await
    }
}

impl TextRule {
    /// Returns the value that is stored in place of this one; `None` where the rule cannot read it.
    fn apply(&self, value: &Bytes) -> Option<Bytes> {
        match self {
            Self::TruncateIp => truncate_ip(value),
            Self::RemoveQuery => {
                let end = value.iter().position(|byte| matches!(byte, b'?' | b'#'));
                Some(value.slice(..end.unwrap_or(value.len())))
            }
            Self::Hash(hash) => hash.hash(value).ok().map(Bytes::from),
        }
    }
}

fn truncate_ip(value: &[u8]) -> Option<Bytes> {
    let address = address(std::str::from_utf8(value).ok()?.trim())?;
    let truncated = match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !0xff)),
        IpAddr::V6(address) => {
            // A 6to4 address has an IPv4 address in bits 16 to 48.
            let bits = if address.segments()[0] == 0x2002 { 40 } else { 48 };
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits))))
        }
    };
    Some(truncated.to_string().into())
}

/// The address of a text that may have a port, brackets or a zone as well.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let bare = bare.split_once('%').map_or(bare, |(address, _)| address);
    bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}
