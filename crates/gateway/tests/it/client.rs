//! A client that signs its requests itself: Signature Version 4, as AWS describes it.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use isobar_gateway::catalog::{BucketCatalog, FixedBuckets};
use isobar_gateway::keys::{AccessKey, BucketScope, StaticKeys};
use isobar_gateway::s3::S3Door;
use isobar_storage::ObjectStore;
use isobar_storage::memory::MemoryStore;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tower_service::Service;

pub(crate) const SECRET: &str = "the secret of the tests";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// A door over the buckets `photos` and `backups`, in memory.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) door: S3Door,
    pub(crate) photos: Arc<dyn ObjectStore>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new()))
    }

    /// A door over this store as `photos`. Its keys: `owner` for everything, `reader`, `writer`, `album` for photos/2026/
    /// alone, and `stranger` for nothing.
    pub(crate) fn over(photos: Arc<dyn ObjectStore>) -> Self {
        let buckets = FixedBuckets::new().with_bucket("photos", Arc::clone(&photos));
        Self::with_catalog(Arc::new(buckets.with_bucket("backups", Arc::new(MemoryStore::new()))), photos)
    }

    /// A door over this catalog, whose bucket `photos` is this one, with the same keys.
    pub(crate) fn with_catalog(buckets: Arc<dyn BucketCatalog>, photos: Arc<dyn ObjectStore>) -> Self {
        let album = BucketScope::read_write().with_bucket("photos").with_prefix("2026/");
        let mut write_only = BucketScope::read_write();
        write_only.read = false;
        let keys = [
            AccessKey::new("owner", SECRET, BucketScope::read_write()),
            AccessKey::new("reader", SECRET, BucketScope::read_only()),
            AccessKey::new("writer", SECRET, write_only),
            AccessKey::new("album", SECRET, album),
            AccessKey::new("stranger", SECRET, BucketScope::default()),
            AccessKey::new("expired", SECRET, BucketScope::read_write()).with_expires(DateTime::UNIX_EPOCH),
        ];
        Self { door: S3Door::new(buckets, Arc::new(StaticKeys::new(keys))), photos }
    }

    pub(crate) fn client(&self, key: &str) -> Client {
        Client { door: self.door.clone(), key: key.to_owned(), secret: SECRET.to_owned(), skew: TimeDelta::zero() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) door: S3Door,
    pub(crate) key: String,
    pub(crate) secret: String,
    /// Distance of the client's clock.
    pub(crate) skew: TimeDelta,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Content of the first element of this name.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.text().split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    }

    /// Contents of all elements of this name.
    pub(crate) fn elements(&self, name: &str) -> Vec<&str> {
        let open = format!("<{name}>");
        self.text().split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&format!("</{name}>"))?.0)).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Status, and the code of the error where there is one.
    pub(crate) fn outcome(&self) -> (u16, String) {
        (self.status.as_u16(), self.element("Code").unwrap_or_default().to_owned())
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.status.is_success(), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.outcome(), (status, code.to_owned()), "{self:?}");
    }
}

/// A request that is not signed yet. The path is not encoded, the query is.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// The value of x-amz-content-sha256; that of the body where there is none.
    pub(crate) payload: Option<String>,
}

impl Call {
    pub(crate) fn new(method: Method, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (name.to_owned(), value.to_owned())
        };
        let query = query.split('&').filter(|part| !part.is_empty()).map(pair).collect();
        Self { method, path: path.to_owned(), query, headers: Vec::new(), body: Bytes::new(), payload: None }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn put(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new(Method::PUT, path) }
    }

    pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new(Method::POST, path) }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn payload(mut self, payload: &str) -> Self {
        self.payload = Some(payload.to_owned());
        self
    }

    fn encoded_query(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        let mut pairs: Vec<_> = self.query.iter().map(|(name, value)| (encode(name), encode(value))).collect();
        pairs.sort();
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    fn encoded_path(&self) -> String {
        utf8_percent_encode(&self.path, PATH).to_string()
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Client {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + self.skew
    }

    fn credential(date: &DateTime<Utc>) -> String {
        format!("{}/auto/s3/aws4_request", date.format("%Y%m%d"))
    }

    fn signature(&self, date: &DateTime<Utc>, canonical: &str) -> String {
        let time = date.format("%Y%m%dT%H%M%SZ");
        let scope = Self::credential(date);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), &date.format("%Y%m%d").to_string());
        for part in ["auto", "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        hex::encode(hmac(&key, &text))
    }

    /// Signs by headers.
    pub(crate) fn sign(&self, call: &Call) -> Request<Full<Bytes>> {
        let date = self.now();
        let payload = call.payload.clone().unwrap_or_else(|| sha256(&call.body));
        let mut headers = call.headers.clone();
        headers.push(("host".to_owned(), "s3.test".to_owned()));
        headers.push(("x-amz-date".to_owned(), date.format("%Y%m%dT%H%M%SZ").to_string()));
        headers.push(("x-amz-content-sha256".to_owned(), payload.clone()));
        headers.sort();
        let signed = headers.iter().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join(";");
        let lines: String =
            headers.iter().map(|(name, value)| format!("{}:{}\n", name.to_lowercase(), value.trim())).collect();
        let query = call.encoded_query();
        let path = call.encoded_path();
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{signed}\n{payload}", call.method);
        let signature = self.signature(&date, &canonical);
        let mut request = Request::builder().method(call.method.clone());
        request = request.uri(if query.is_empty() { path } else { format!("{path}?{query}") });
        for (name, value) in &headers {
            request = request.header(&**name, value);
        }
        if !call.body.is_empty() || call.method == Method::PUT {
            request = request.header("content-length", call.body.len());
        }
        let credential = format!("{}/{}", self.key, Self::credential(&date));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}");
        request.header("authorization", authorization).body(Full::new(call.body.clone())).unwrap()
    }

    /// Signs by the URL, good for this many seconds.
    pub(crate) fn presign(&self, call: &Call, seconds: u64) -> Request<Full<Bytes>> {
        let date = self.now();
        let credential = format!("{}/{}", self.key, Self::credential(&date));
        let mut signed_call = call.clone();
        signed_call = signed_call.query("X-Amz-Algorithm", "AWS4-HMAC-SHA256").query("X-Amz-Credential", &credential);
        signed_call = signed_call.query("X-Amz-Date", &date.format("%Y%m%dT%H%M%SZ").to_string());
        signed_call = signed_call.query("X-Amz-Expires", &seconds.to_string()).query("X-Amz-SignedHeaders", "host");
        let path = call.encoded_path();
        let query = signed_call.encoded_query();
        let canonical = format!("{}\n{path}\n{query}\nhost:s3.test\n\nhost\nUNSIGNED-PAYLOAD", call.method);
        let signature = self.signature(&date, &canonical);
        let mut request = Request::builder().method(call.method.clone());
        request = request.uri(format!("{path}?{query}&X-Amz-Signature={signature}")).header("host", "s3.test");
        for (name, value) in &call.headers {
            request = request.header(&**name, value);
        }
        if !call.body.is_empty() {
            request = request.header("content-length", call.body.len());
        }
        request.body(Full::new(call.body.clone())).unwrap()
    }

    pub(crate) async fn call(&self, call: Call) -> Reply {
        self.send(self.sign(&call)).await
    }

    pub(crate) async fn send<B>(&self, request: Request<B>) -> Reply
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let response = self.door.clone().call(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Call::get(path)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Reply {
        self.call(Call::put(path, body.to_owned())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Call::new(Method::DELETE, path)).await
    }

    pub(crate) async fn head(&self, path: &str) -> Reply {
        self.call(Call::new(Method::HEAD, path)).await
    }
}
