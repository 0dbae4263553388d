//! Events of refused requests.
//!
//! Everything in an event may come from an attacker: texts are cut to 1 KiB, the index to the limit of
//! Analytics Engine, and neither tokens nor queries are in it, which may have signatures. What succeeds
//! is not audited here; uses are counted by the store of keys.

use std::net::IpAddr;
use std::sync::Arc;

use isobar_analytics::limits::INDEX_BYTES;
use isobar_analytics::{DataPoint, EventSink};

/// Most bytes of a text in an event and in the log: a request may have any.
const TEXT_BYTES: usize = 1024;

/// A request that a door refused because of its key.
#[derive(Debug, Clone, Copy)]
pub struct RefusedRequest<'a> {
    /// Name of the door: `rest`, `s3`, `explorer`.
    pub door: &'static str,
    /// Id of the key; `None` where the request has none, or one that does not exist.
    pub key: Option<&'a str>,
    /// The client's address, where it is known.
    pub address: Option<IpAddr>,
    /// Method of the request.
    pub method: &'a str,
    /// Path of the request, without the query, which may have a signature.
    pub path: &'a str,
    /// Status of the response.
    pub status: u16,
    /// Reason, for operators: it may say more than the response.
    pub reason: &'a str,
}

/// Reports refused requests: as a warning of `tracing` with the target `isobar_gateway::audit`, and, where it has a sink, as a
/// data point.
///
/// The data point has the key's id as its index (`-` without one), as blobs `refused`, the door, the method, the path, the reason and
/// the address, and the status as its double.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use std::sync::Arc;
///
/// use isobar_analytics::memory::MemorySink;
/// use isobar_gateway::keys::{Audit, RefusedRequest};
///
/// let sink = MemorySink::new();
/// let audit = Audit::new().with_sink(Arc::new(sink.clone()));
/// let (address, path) = (Some([127, 0, 0, 1].into()), "/client/v4/accounts");
/// let reason = "the token is revoked";
/// audit.refused(&RefusedRequest { door: "rest", key: Some("7f3c"), address, method: "GET", path, status: 403, reason });
/// assert_eq!(sink.points()[0].blob(5), b"the token is revoked");
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Audit {
    sink: Option<Arc<dyn EventSink>>,
}

impl Audit {
    /// Returns an audit that only warns.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes each event to this dataset, too.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Reports a refused request.
    ///
    /// It never blocks: the sink drops and counts what it cannot take.
    pub fn refused(&self, request: &RefusedRequest<'_>) {
        let RefusedRequest { door, key, address, method, path, status, reason } = *request;
        // A key of another server's may have any id; one of ours has 32 characters.
        let key = key.map(|key| shortened(key, INDEX_BYTES));
        let [method, path, reason] = [method, path, reason].map(|text| shortened(text, TEXT_BYTES));
        tracing::warn!(target: "isobar_gateway::audit", door, key, ?address, method, path, status, reason, "refused");
        let Some(sink) = &self.sink else { return };
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let texts = ["refused", door, method, path, reason, &address].map(str::to_owned);
        let point = DataPoint::new().with_index(key.unwrap_or("-").to_owned()).with_double(f64::from(status));
        sink.write(texts.into_iter().fold(point, DataPoint::with_blob));
    }
}

/// Cuts a text at a character, to this many bytes at most.
fn shortened(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use isobar_analytics::memory::MemorySink;

    use super::*;

    #[test]
    fn event_with_the_longest_texts_is_valid() {
        let sink = MemorySink::new();
        let long = "é".repeat(40_000);
        Audit::new().with_sink(Arc::new(sink.clone())).refused(&RefusedRequest {
            door: "rest",
            key: Some(&long),
            address: None,
            method: &long,
            path: &long,
            status: 401,
            reason: &long,
        });
        assert_eq!(sink.stats().stored, 1, "{:?}", sink.stats());
        let points = sink.points();
        let point = &points[0];
        assert_eq!([3, 4, 5].map(|blob| point.blob(blob).len()), [TEXT_BYTES; 3]);
        assert_eq!(point.index().len(), INDEX_BYTES);
    }
}
