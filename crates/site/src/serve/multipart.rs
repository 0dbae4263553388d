//! Several ranges in one body: multipart/byteranges (RFC 9110 14.6).

use std::future::Future;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Response, header};
use isobar_storage::{ByteRange, Error};

use super::content_range;
use crate::body::SiteBody;
use crate::response::with;

/// The parts of a multipart body around its pieces.
pub(super) struct Multipart {
    boundary: String,
    heads: Vec<Bytes>,
    tail: Bytes,
    /// Length of the whole body in bytes.
    length: u64,
}

impl Multipart {
    /// Formats the heads of these pieces, with a random boundary: bytes of the file must not contain it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](isobar_storage::ErrorKind::Internal) where the system has no randomness.
    pub(super) fn new(content_type: &str, pieces: &[ByteRange], size: u64) -> Result<Self, Error> {
        let boundary = isobar_base::random::hex_id()?;
        let head = |piece: &ByteRange| {
            let range = content_range(*piece, size);
            format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n").into()
        };
        let heads: Vec<Bytes> = pieces.iter().map(head).collect();
        let tail: Bytes = format!("\r\n--{boundary}--\r\n").into();
        let length = heads.iter().map(|head| head.len() as u64).sum::<u64>()
            + pieces.iter().map(|piece| piece.length).sum::<u64>()
            + tail.len() as u64;
        Ok(Self { boundary, heads, tail, length })
    }

    /// Gives a response this body and its type; each piece is read when it is sent.
    pub(super) fn response<F>(
        self,
        response: Response<SiteBody>,
        pieces: Vec<ByteRange>,
        read: impl Fn(ByteRange) -> F + Send + 'static,
    ) -> Response<SiteBody>
    where
        F: Future<Output = Result<SiteBody, Error>> + Send + 'static,
    {
        let Self { boundary, heads, tail, length } = self;
        let parts = stream::iter(heads.into_iter().zip(pieces)).then(move |(head, piece)| {
            let body = read(piece);
            async move { Ok::<_, Error>(stream::iter([Ok(head)]).chain(body.await?.into_chunks())) }
        });
        let chunks = parts.try_flatten().chain(stream::iter([Ok(tail)]));
        let content_type = format!("multipart/byteranges; boundary={boundary}");
        with(response, header::CONTENT_TYPE, &content_type).map(|_| SiteBody::stream(length, chunks))
    }
}
