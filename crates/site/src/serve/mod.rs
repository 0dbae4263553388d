//! From a representation to its response: evaluate the preconditions, apply the range, add the digests that are wanted.
//!
//! [`serve`] does so for a body in the store ([`Stored`]) and for one in memory (the cache's files): they differ in their
//! [`Content`] alone.
//!
//! | condition | status | body |
//! |---|---|---|
//! | `If-Match` or `If-Unmodified-Since` does not hold | 412 | a line of text |
//! | `If-None-Match` or `If-Modified-Since` says that the client has it | 304 | none |
//! | no range, or one that is not to be applied | 200 | the whole |
//! | one range | 206 | that part |
//! | several ranges of a file that is not encoded | 206 | `multipart/byteranges` |
//! | no range within the file | 416 | a line of text, with the size in `Content-Range` |

mod multipart;
mod stored;

use std::future::Future;

use http::{HeaderMap, Method, Response, StatusCode, header};
use isobar_storage::{ByteRange, Error};

pub(crate) use self::stored::Stored;

use self::multipart::Multipart;
use crate::body::SiteBody;
use crate::http::digest::{self, Sha256, Wanted};
use crate::http::precondition::{self, Verdict};
use crate::http::range::{self, Ranges};
use crate::representation::Representation;
use crate::request::RequestHead;
use crate::response::{precondition_failed, response, text, with};

/// A representation with its bytes and the headers of its responses.
pub(crate) trait Content {
    type Bytes: ReadBytes;

    /// Returns the representation that the preconditions are evaluated against.
    fn representation(&self) -> &Representation;

    /// Returns the headers of a response with the content, whole or in part.
    fn headers(&self) -> HeaderMap;

    /// Returns the headers of a 304.
    fn not_modified_headers(&self) -> HeaderMap;

    /// Returns the bytes, none of which are read yet.
    fn bytes(&self) -> &Self::Bytes;

    /// Returns the sha-256 of a range of the bytes, or of all of them; `None` where it is not known without reading the store.
    fn sha256(&self, range: Option<ByteRange>) -> Option<Sha256>;
}

/// The bytes of a representation. They outlive the request: parts of a multipart response are read while it is sent.
pub(crate) trait ReadBytes: Clone + Send + 'static {
    /// Returns a range of the bytes, or all of them.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](isobar_storage::ErrorKind::Unavailable) if the file was replaced since the representation was
    /// selected; the store's error.
    fn read(
        &self,
        range: Option<ByteRange>,
    ) -> impl Future<Output = Result<SiteBody, Error>> + Send + 'static + use<Self>;
}

/// Answers with a representation, by the conditions and ranges of the request. Waits only for [`ReadBytes::read`].
///
/// # Errors
/// The error of reading the bytes; [`ErrorKind::Internal`](isobar_storage::ErrorKind::Internal) where the system has no
/// randomness for the boundary of several parts.
pub(crate) async fn serve<C: Content>(head: RequestHead<'_>, content: &C) -> Result<Response<SiteBody>, Error> {
    let representation = content.representation();
    let size = representation.meta.size;
    match precondition::evaluate(head.headers, head.method, &representation.meta, representation.goes_back()) {
        Verdict::Failed => return Ok(precondition_failed()),
        Verdict::NotModified => {
            return Ok(response(StatusCode::NOT_MODIFIED, content.not_modified_headers(), SiteBody::default()));
        }
        Verdict::Proceed => {}
    }
    match ranges(head, representation) {
        Ranges::Whole if head.method == Method::HEAD => {
            let whole = response(StatusCode::OK, content.headers(), SiteBody::default());
            let whole = with(whole, header::CONTENT_LENGTH, &size.to_string());
            Ok(with_digests(head, content, || content.sha256(None), whole))
        }
        Ranges::Whole => {
            let body = content.bytes().read(None).await?;
            let whole = response(StatusCode::OK, content.headers(), body);
            Ok(with_digests(head, content, || content.sha256(None), whole))
        }
        Ranges::One(range) => {
            let body = content.bytes().read(Some(range)).await?;
            let part = response(StatusCode::PARTIAL_CONTENT, content.headers(), body);
            let part = with(part, header::CONTENT_RANGE, &content_range(range, size));
            Ok(with_digests(head, content, || content.sha256(Some(range)), part))
        }
        Ranges::Many(pieces) => {
            let multipart = Multipart::new(&representation.content_type, &pieces, size)?;
            let parts = response(StatusCode::PARTIAL_CONTENT, content.headers(), SiteBody::default());
            let bytes = content.bytes().clone();
            let parts = multipart.response(parts, pieces, move |piece| bytes.read(Some(piece)));
            // The content is the parts with what stands between them, which no one has hashed.
            Ok(with_digests(head, content, || None, parts))
        }
        Ranges::Unsatisfiable => {
            let refused = text(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable");
            Ok(with(refused, header::CONTENT_RANGE, &format!("bytes */{size}")))
        }
    }
}

/// Answers with the page for a missing file, with 404. Conditions and ranges are about the missing file and do not apply.
///
/// # Errors
/// The error of reading the page.
pub(crate) async fn serve_not_found<C: Content>(page: &C) -> Result<Response<SiteBody>, Error> {
    let body = page.bytes().read(None).await?;
    let mut headers = page.headers();
    for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
        headers.remove(name); // these describe the page, not the missing file
    }
    Ok(response(StatusCode::NOT_FOUND, headers, body))
}

/// Returns the bytes that are asked for. Several pieces of an encoded file become the whole file: a client would decode the text
/// between the pieces, too.
fn ranges(head: RequestHead<'_>, representation: &Representation) -> Ranges {
    let meta = &representation.meta;
    let asked = head
        .headers
        .get(header::RANGE)
        .filter(|_| head.method == Method::GET && precondition::range_stands(head.headers, meta))
        .and_then(|value| value.to_str().ok());
    let ranges = asked.map_or(Ranges::Whole, |value| range::parse(value, meta.size));
    if representation.is_encoded() && matches!(ranges, Ranges::Many(_)) { Ranges::Whole } else { ranges }
}

/// Adds the digests that the client wants, of the representation and of the content that is sent.
fn with_digests<C: Content>(
    head: RequestHead<'_>,
    content: &C,
    sent: impl Fn() -> Option<Sha256>,
    mut response: Response<SiteBody>,
) -> Response<SiteBody> {
    digest::write(Wanted::of(head.headers), || content.sha256(None), sent, response.headers_mut());
    response
}

/// Returns the value of `Content-Range` for a range of a file of `size` bytes.
fn content_range(ByteRange { offset, length }: ByteRange, size: u64) -> String {
    format!("bytes {offset}-{}/{size}", offset + length - 1)
}
