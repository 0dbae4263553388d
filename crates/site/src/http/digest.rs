//! Digest headers on request (RFC 9530), by sha-256, which all clients know.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use isobar_storage::{ChecksumAlgorithm, ObjectMeta};

/// A sha-256 digest.
pub(crate) type Sha256 = [u8; 32];

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const WANT_CONTENT_DIGEST: HeaderName = HeaderName::from_static("want-content-digest");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

/// The digests that a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    content: bool,
    representation: bool,
}

impl Wanted {
    /// Parses `Want-Content-Digest` and `Want-Repr-Digest`; other algorithms than sha-256 are ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let wants = |name: &HeaderName| headers.get_all(name).iter().any(takes_sha256);
        Self { content: wants(&WANT_CONTENT_DIGEST), representation: wants(&WANT_REPR_DIGEST) }
    }

    /// Whether the client wants any digest. Most do not.
    #[cfg(feature = "cache")]
    pub(crate) fn is_any(self) -> bool {
        self.content || self.representation
    }
}

/// Whether a preference like `sha-512=3, sha-256=10` accepts sha-256.
fn takes_sha256(value: &HeaderValue) -> bool {
    let takes = |item: &str| {
        let (name, weight) = item.split_once('=').unwrap_or((item, "1"));
        name.trim() == "sha-256" && weight.trim().parse::<u8>().is_ok_and(|weight| weight > 0)
    };
    value.to_str().is_ok_and(|value| value.split(',').any(takes))
}

/// Writes the digests that are wanted and known: `Repr-Digest` of the whole file, `Content-Digest` of the content that is sent. Each
/// closure is called only if its digest is wanted, as it may have to hash the bytes.
pub(crate) fn write(
    wanted: Wanted,
    whole: impl Fn() -> Option<Sha256>,
    content: impl Fn() -> Option<Sha256>,
    headers: &mut HeaderMap,
) {
    let mut put = |name: HeaderName, digest: Option<Sha256>| {
        let value = digest.map(|digest| format!("sha-256=:{}:", STANDARD.encode(digest)));
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    };
    if wanted.representation {
        put(REPR_DIGEST, whole());
    }
    if wanted.content {
        put(CONTENT_DIGEST, content());
    }
}

/// Returns the digest that the store has recorded for an object.
pub(crate) fn stored(meta: &ObjectMeta) -> Option<Sha256> {
    let checksum = meta.checksum(ChecksumAlgorithm::Sha256)?;
    hex::decode(&checksum.hex).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preference_of_zero_wants_no_digest() {
        let takes = |value: &'static str| takes_sha256(&HeaderValue::from_static(value));
        assert!(takes("sha-256=1") && takes("sha-512=3, sha-256=10, unixsum=0") && takes("sha-256"));
        assert!(!takes("sha-256=0") && !takes("sha-512=10") && !takes("") && !takes("sha-256=x"));
    }
}
