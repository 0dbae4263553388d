//! R2 by its S3 side, and any other server that speaks S3.
//!
//! | module | has |
//! |---|---|
//! | `config` | where a bucket is, and who asks |
//! | `exchange` | signing, sending, errors: every request goes through it |
//! | `headers` | metadata as headers, both ways; keys that no URL can name |
//! | `reading` | `head`, `get`; conditions that S3 has no words for |
//! | `writing` | `put`, `delete`, `copy` |
//! | `listing` | pages and cursors |
//! | `multipart` | uploads |
//!
//! **Conditions.** S3 servers heed one strong etag (`If-Match`), or create-only (`If-None-Match: *`). Everything else of R2's `onlyIf` is
//! judged here: the object is looked at, the condition judged, and the operation bound to the etag that was seen. Where another write comes
//! between, it begins anew, eight times at most; then the operation is [`ErrorKind::Unavailable`]. So a condition is never judged on an
//! object other than the one that is read or replaced. A streamed body can be sent once, and is judged once.
//!
//! `rusty_s3` builds and signs; it sends nothing. The transport is the one that the REST clients of this workspace share.

mod config;
mod exchange;
mod headers;
mod listing;
mod multipart;
mod reading;
mod writing;

use std::sync::Arc;

use async_trait::async_trait;
use isobar_cloudflare::client::{Client, HttpTransport, Idempotency};
use rusty_s3::{Credentials, S3Action, UrlStyle};

pub use config::S3Config;
use exchange::{Exchange, accepted};

use crate::{
    Body, Capabilities, CopyOptions, Error, ErrorKind, GetOptions, GetResult, Key, ListOptions, ListPage,
    MultipartOptions, ObjectMeta, ObjectStore, Operation, Part, PartInfo, PresignMethod, PresignOptions, PutOptions,
    PutResult, Result, UploadId,
};

/// An R2 bucket over S3, or a bucket of another server that speaks S3: for native code. Cheap to clone.
///
/// Requests are repeated where that is safe (see [`Client`]): a write with conditions or a streamed body only where the
/// server surely did nothing. 64 are in flight at once ([`Client::with_concurrency`]), each phase of one within its time
/// ([`Timeouts`](isobar_cloudflare::client::Timeouts)). Where S3 has no words for a condition, the object's metadata is asked
/// for first, the condition judged here, and the operation bound to the etag seen.
///
/// Divergences, all S3's: times are whole seconds. A version is the server's where it tells one, else made of key, time and etag, so
/// that two equal writes within a second share it. `put`, `complete_multipart` and `copy` ask for the metadata of what they
/// stored with a second request; where another write came between, [`uploaded`](ObjectMeta::uploaded) is the server's time
/// of answering. All five checksums are verified on the way up, md5 alone is kept, and told the server where it is known
/// beforehand (`Content-MD5`). An object without a content type has the server's default. Names of custom metadata are lower-case; others are refused, and so are keys with a segment `.` or
/// `..`, which no URL can name. An upload without parts cannot be completed; one that never was is told from one that is over
/// by nobody, so that giving it up is no error. Conditions on the destination of a copy need R2 itself. A listing that
/// includes metadata asks for each object.
///
/// ```no_run
/// use isobar_storage::cloudflare::{S3Bucket, S3Config};
/// use isobar_storage::{Key, ObjectStoreExt};
///
/// # async fn example() -> isobar_storage::Result<()> {
/// let config = S3Config::r2("account-id", "assets", "access-key-id", "secret-access-key");
/// let bucket = S3Bucket::new(config)?;
/// bucket.check().await?; // is it there, and does the key open it?
/// bucket.write(&Key::new("hello.txt")?, "hello").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct S3Bucket {
    exchange: Exchange,
    name: String,
    r2_extensions: bool,
}

impl S3Bucket {
    /// The bucket that `config` names, over [`HttpTransport`]. Nothing is asked yet; see [`check`](Self::check).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an endpoint that is no address.
    ///
    /// ```
    /// use isobar_storage::ErrorKind;
    /// use isobar_storage::cloudflare::{S3Bucket, S3Config};
    ///
    /// let nowhere = S3Config::new("no address", "assets", "key-id", "secret");
    /// assert_eq!(S3Bucket::new(nowhere).unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// ```
    pub fn new(config: S3Config) -> Result<Self> {
        let start = |error| Error::new(ErrorKind::Internal, "the HTTP client does not start").with_source(error);
        Self::with_client(config, Client::new(HttpTransport::new().map_err(start)?))
    }

    /// The same over a client of one's own: its transport, how it repeats.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_client(config: S3Config, client: Client) -> Result<Self> {
        let S3Config {
            endpoint,
            bucket: name,
            region,
            access_key_id,
            secret_access_key,
            session_token,
            virtual_host,
            r2_extensions,
        } = config;
        let invalid = |error: &dyn std::fmt::Display| {
            Error::new(ErrorKind::InvalidArgument, format!("the S3 endpoint {endpoint:?}: {error}"))
        };
        let url = endpoint.parse().map_err(|error: url::ParseError| invalid(&error))?;
        let style = if virtual_host { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let bucket = rusty_s3::Bucket::new(url, style, name.clone(), region).map_err(|error| invalid(&error))?;
        let credentials = match session_token {
            Some(token) => Credentials::new_with_token(access_key_id, secret_access_key, token),
            None => Credentials::new(access_key_id, secret_access_key),
        };
        let exchange = Exchange { client, bucket, credentials: Arc::new(credentials) };
        Ok(Self { exchange, name, r2_extensions })
    }

    /// Whether the bucket is there and the key opens it: by one listing of one key. A key that may only write fails.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`], [`ErrorKind::InvalidArgument`] where there is no such bucket,
    /// [`ErrorKind::Unavailable`].
    pub async fn check(&self) -> Result<()> {
        let mut list = self.exchange.bucket.list_objects_v2(Some(&self.exchange.credentials));
        list.with_max_keys(1);
        accepted(self.exchange.send(Idempotency::Idempotent, list, &Vec::new(), exchange::Payload::Nothing).await?)
            .await?;
        Ok(())
    }

    fn sign(&self, options: &PresignOptions) -> Result<String> {
        let PresignOptions { key, method, expires } = options;
        headers::check_key(key)?;
        options.check()?;
        let Exchange { bucket, credentials, .. } = &self.exchange;
        let url = match method {
            PresignMethod::Get => bucket.get_object(Some(credentials), key.as_str()).sign(*expires),
            PresignMethod::Put => bucket.put_object(Some(credentials), key.as_str()).sign(*expires),
        };
        Ok(url.into())
    }
}

#[async_trait]
impl ObjectStore for S3Bucket {
    fn capabilities(&self) -> Capabilities {
        Capabilities { copy: true, presign: true, multipart: true, list_parts: true, ..Capabilities::default() }
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        self.head_object(key, None).await.map_err(|error| error.during(Operation::Head))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.get_object(key, options).await.map_err(|error| error.during(Operation::Get))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        self.put_object(key, body, options).await.map_err(|error| error.during(Operation::Put))
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        self.delete_objects(keys).await.map_err(|error| error.during(Operation::Delete))
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        self.list_page(options).await.map_err(|error| error.during(Operation::List))
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        self.create_upload(key, options).await.map_err(|error| error.during(Operation::CreateMultipart))
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        self.store_part(key, upload, number, body).await.map_err(|error| error.during(Operation::UploadPart))
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        self.complete(key, upload, parts).await.map_err(|error| error.during(Operation::CompleteMultipart))
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        self.abort(key, upload).await.map_err(|error| error.during(Operation::AbortMultipart))
    }

    async fn list_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        self.stored_parts(key, upload).await.map_err(|error| error.during(Operation::ListParts))
    }

    async fn copy(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        self.copy_object(from, to, options).await.map_err(|error| error.during(Operation::Copy))
    }

    async fn presign(&self, options: PresignOptions) -> Result<String> {
        self.sign(&options).map_err(|error| error.during(Operation::Presign))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Request, Response};
    use isobar_cloudflare::client::{self, Transport, TransportError};

    use super::*;

    /// Stores nothing, and remembers the `Content-MD5` of each PUT.
    #[derive(Debug, Clone, Default)]
    struct Server(Arc<Mutex<Vec<Option<String>>>>);

    #[async_trait]
    impl Transport for Server {
        async fn send(&self, request: Request<client::Body>) -> Result<Response<client::Body>, TransportError> {
            if request.method() == http::Method::PUT {
                let md5 = request.headers().get("content-md5").map(|md5| md5.to_str().expect("text").to_owned());
                self.0.lock().expect("no panic").push(md5);
            }
            let answer = Response::builder().header("etag", "\"5d41402abc4b2a76b9719d911017c592\"");
            Ok(answer.body(client::Body::empty()).expect("a good head"))
        }
    }

    #[tokio::test]
    async fn objects_and_parts_go_with_their_md5() {
        let server = Server::default();
        let config = S3Config::new("http://localhost", "bucket", "id", "secret");
        let bucket = S3Bucket::with_client(config, Client::new(server.clone())).expect("an address");
        let key = Key::new("a").expect("a key");
        let upload = UploadId::new("upload");
        bucket.put(&key, "hello".into(), PutOptions::default()).await.expect("it is stored").stored().expect("it is");
        bucket.upload_part(&key, &upload, 1, "hello".into()).await.expect("it is stored");
        let told = server.0.lock().expect("no panic").clone();
        assert_eq!(told, ["XUFAKrxLKna5cZ2REBfFkg=="; 2].map(|md5| Some(md5.to_owned())));
    }
}
