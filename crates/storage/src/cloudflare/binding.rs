//! R2 by its binding.
//!
//! Everything goes through `Object`, the thin wrapper over JavaScript's values: `ask` calls a method and waits for its promise. Futures of
//! JavaScript are bound to their thread; `send` marks them as `Send`, which is right as a Worker has one.
//!
//! A streamed body is filled into a `FixedLengthStream` while R2 reads it, as R2 needs the length. The two run side by side, and the error of
//! the body's own source is reported before R2's, which only says that the stream broke off.
//!
//! Errors are R2's texts, `put: ... (10020)`: the code decides the kind. One code means two things: 10001 in a completion is an unknown
//! upload, and a part number given twice; the latter is found before.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::SubsecRound;
use futures_util::future::{Either, select};
use futures_util::{StreamExt, TryStreamExt};
use isobar_base::sync::IgnorePoison;
use isobar_cloudflare::binding::wasm_bindgen::JsValue;
use isobar_cloudflare::binding::{
    FixedLength, JsError, Object, bytes, date, js_sys, millis, send, stream_of, uint8_array,
};

use crate::{
    Body, ByteRange, Capabilities, Checksum, ChecksumAlgorithm, Conditions, Error, ErrorKind, Etag, Etags, GetOptions,
    GetResult, HttpMetadata, Key, ListOptions, ListPage, MultipartOptions, ObjectMeta, ObjectStore, Operation, Part,
    PutOptions, PutResult, Range, Result, StorageClass, UploadId, rules,
};

const ALGORITHMS: [(ChecksumAlgorithm, &str); 5] = [
    (ChecksumAlgorithm::Md5, "md5"),
    (ChecksumAlgorithm::Sha1, "sha1"),
    (ChecksumAlgorithm::Sha256, "sha256"),
    (ChecksumAlgorithm::Sha384, "sha384"),
    (ChecksumAlgorithm::Sha512, "sha512"),
];

/// An R2 bucket by its binding: for code inside Workers.
///
/// Divergences: conditions on several etags, or on weak ones, go by headers, so that their times compare in whole seconds. A
/// read body is a stream that fails where the connection to R2 breaks off.
#[derive(Debug, Clone)]
pub struct R2Bucket {
    bucket: Object,
}

impl R2Bucket {
    /// The bucket behind a binding: `env.STORAGE`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the value is no R2 bucket.
    pub fn new(binding: impl Into<Object>) -> Result<Self> {
        let bucket = binding.into();
        if bucket.is_nothing() || bucket.method("createMultipartUpload").is_err() {
            let message = format!("the binding is no R2 bucket but {:?}", bucket.class());
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Self { bucket })
    }

    async fn get_object(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        let GetOptions { conditions, range, range_or_whole } = options;
        let mut js = Object::empty().with_some("onlyIf", conditions.as_ref().map(condition));
        if let Some(range) = range {
            js = js.with(
                "range",
                if range_or_whole { header("range", &range_header(range)) } else { range_object(range) },
            );
        }
        let answer = Object::from(self.bucket.ask("get", &[key.as_str().into(), js.into()]).await.map_err(failure)?);
        if answer.is_nothing() {
            return Ok(GetResult::Missing);
        }
        let meta = meta(&answer)?;
        if !answer.has("body") {
            return Ok(GetResult::ConditionFailed(meta));
        }
        let range = answer.object("range");
        let number = |name, default| range.number(name).map_or(default, |number| number as u64);
        let range = ByteRange { offset: number("offset", 0), length: number("length", meta.size) };
        let chunks = stream_of(&answer.object("body")).map_err(failure)?;
        let broken = |error: JsError| {
            Error::new(ErrorKind::Unavailable, format!("the body broke off: {error}")).during(Operation::Get)
        };
        let body = Body::from_stream(range.length, chunks.map(move |chunk| chunk.map_err(broken)));
        Ok(GetResult::Object { meta, range, body })
    }

    async fn put_object(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        let PutOptions { conditions, http, custom, checksum, storage_class } = options;
        rules::check_size(&body)?;
        let mut js = stored_with(&http, &custom, storage_class).with_some("onlyIf", conditions.as_ref().map(condition));
        if let Some(Checksum { algorithm, hex }) = &checksum {
            let name = ALGORITHMS.iter().find(|(one, _)| one == algorithm).map(|(_, name)| *name);
            js = js.with_some(name.unwrap_or_default(), Some(hex.as_str()));
        }
        let js = JsValue::from(js);
        let put = async |body: JsValue| {
            self.bucket.ask("put", &[key.as_str().into(), body, js.clone()]).await.map_err(failure)
        };
        let answer = Object::from(sending(body, put).await?);
        if answer.is_nothing() { Ok(PutResult::ConditionFailed) } else { Ok(PutResult::Stored(meta(&answer)?)) }
    }

    async fn list_page(&self, options: ListOptions) -> Result<ListPage> {
        let ListOptions { prefix, delimiter, start_after, cursor, limit, include_http, include_custom } = options;
        let include: js_sys::Array = [(include_http, "httpMetadata"), (include_custom, "customMetadata")]
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, name)| JsValue::from(name))
            .collect();
        let js = Object::empty()
            .with_some("prefix", prefix)
            .with_some("delimiter", delimiter)
            .with_some("startAfter", start_after)
            .with_some("cursor", cursor)
            .with_some("limit", limit.map(|limit| limit as f64))
            .with("include", include);
        let answer = Object::from(self.bucket.ask("list", &[js.into()]).await.map_err(failure)?);
        let mut page = ListPage::default();
        for object in answer.object("objects").elements() {
            page.objects.push(meta(&object.into())?);
        }
        page.prefixes = answer.object("delimitedPrefixes").elements().iter().filter_map(JsValue::as_string).collect();
        page.cursor = answer.text("cursor").filter(|_| answer.get("truncated").is_truthy());
        Ok(page)
    }

    /// The handle of an upload; R2 checks nothing before it is used.
    fn upload(&self, key: &Key, upload: &UploadId) -> Result<Object> {
        let arguments = [key.as_str().into(), upload.as_str().into()];
        Ok(self.bucket.call("resumeMultipartUpload", &arguments).map_err(failure)?.into())
    }

    async fn store_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        rules::check_part_number(number)?;
        rules::check_size(&body)?;
        let upload = self.upload(key, upload)?;
        let put = async |body: JsValue| upload.ask("uploadPart", &[number.into(), body]).await.map_err(failure);
        let part = Object::from(sending(body, put).await?);
        let etag = part.text("etag").ok_or_else(|| surprise("a part without an etag"))?;
        Ok(Part { part_number: number, etag })
    }

    async fn complete(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        // R2's text for a number given twice is the one for an unknown upload: tell them apart before.
        let mut numbers: Vec<u16> = parts.iter().map(|part| part.part_number).collect();
        numbers.sort_unstable();
        let twice = numbers.windows(2).any(|pair| pair[0] == pair[1]);
        let part = |Part { part_number, etag }: Part| {
            JsValue::from(Object::empty().with("partNumber", part_number).with("etag", etag))
        };
        let parts: js_sys::Array = parts.into_iter().map(part).collect();
        let answer = self.upload(key, upload)?.ask("complete", &[parts.into()]).await.map_err(failure);
        meta(&answer.map_err(|error| if twice { error } else { unknown_upload(error) })?.into())
    }
}

#[async_trait]
impl ObjectStore for R2Bucket {
    fn capabilities(&self) -> Capabilities {
        Capabilities { multipart: true, ..Capabilities::default() }
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        send(async {
            let answer = Object::from(self.bucket.ask("head", &[key.as_str().into()]).await.map_err(failure)?);
            if answer.is_nothing() { Ok(None) } else { meta(&answer).map(Some) }
        })
        .await
        .map_err(|error| error.during(Operation::Head))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        send(self.get_object(key, options)).await.map_err(|error| error.during(Operation::Get))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        send(self.put_object(key, body, options)).await.map_err(|error| error.during(Operation::Put))
    }

    async fn delete(&self, keys: &[Key]) -> Result<()> {
        rules::check_delete(keys).map_err(|error| error.during(Operation::Delete))?;
        if keys.is_empty() {
            return Ok(());
        }
        let keys = keys.iter().map(|key| JsValue::from(key.as_str()));
        send(async { self.bucket.ask("delete", &[keys.collect::<js_sys::Array>().into()]).await.map_err(failure) })
            .await
            .map_err(|error| error.during(Operation::Delete))?;
        Ok(())
    }

    async fn list(&self, options: ListOptions) -> Result<ListPage> {
        send(self.list_page(options)).await.map_err(|error| error.during(Operation::List))
    }

    async fn create_multipart(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        send(async {
            let MultipartOptions { http, custom, storage_class } = options;
            let arguments = [key.as_str().into(), stored_with(&http, &custom, storage_class).into()];
            let upload = Object::from(self.bucket.ask("createMultipartUpload", &arguments).await.map_err(failure)?);
            upload.text("uploadId").map(UploadId::new).ok_or_else(|| surprise("an upload without an id"))
        })
        .await
        .map_err(|error| error.during(Operation::CreateMultipart))
    }

    async fn upload_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        send(self.store_part(key, upload, number, body)).await.map_err(|error| error.during(Operation::UploadPart))
    }

    async fn complete_multipart(&self, key: &Key, upload: &UploadId, parts: Vec<Part>) -> Result<ObjectMeta> {
        send(self.complete(key, upload, parts)).await.map_err(|error| error.during(Operation::CompleteMultipart))
    }

    async fn abort_multipart(&self, key: &Key, upload: &UploadId) -> Result<()> {
        send(async { self.upload(key, upload)?.ask("abort", &[]).await.map_err(failure).map_err(unknown_upload) })
            .await
            .map_err(|error| error.during(Operation::AbortMultipart))?;
        Ok(())
    }
}

/// Hands a body to JavaScript: in one piece, or through a stream of its length that is filled meanwhile. The error of the
/// body's own source comes before what R2 says of the stream that broke off.
async fn sending(body: Body, put: impl AsyncFnOnce(JsValue) -> Result<JsValue>) -> Result<JsValue> {
    if let Some(bytes) = body.as_bytes() {
        return put(uint8_array(bytes)).await;
    }
    let stream = FixedLength::new(body.length()).map_err(failure)?;
    let failed = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&failed);
    let chunks = body.into_stream().map_err(move |error| {
        let text = error.to_string();
        *keep.lock().ignore_poison() = Some(error);
        text
    });
    let put = pin!(put(stream.readable()));
    let fill = pin!(stream.fill(chunks));
    let answer = match select(put, fill).await {
        // A put that has failed early reads no more: the sender must not wait for it.
        Either::Left((answer, _)) => {
            stream.abort("the put is over").await;
            answer
        }
        Either::Right((_, put)) => put.await,
    };
    match failed.lock().ignore_poison().take() {
        Some(error) => Err(error),
        None => answer,
    }
}

/// The options that `put` and `createMultipartUpload` share.
fn stored_with(http: &HttpMetadata, custom: &BTreeMap<String, String>, class: StorageClass) -> Object {
    let HttpMetadata {
        content_type,
        content_language,
        content_disposition,
        content_encoding,
        cache_control,
        cache_expiry,
    } = http;
    let http = Object::empty()
        .with_some("contentType", content_type.as_deref())
        .with_some("contentLanguage", content_language.as_deref())
        .with_some("contentDisposition", content_disposition.as_deref())
        .with_some("contentEncoding", content_encoding.as_deref())
        .with_some("cacheControl", cache_control.as_deref())
        .with_some("cacheExpiry", cache_expiry.map(date));
    let custom = custom.iter().fold(Object::empty(), |object, (name, value)| object.with(name, value.as_str()));
    let js = Object::empty().with("httpMetadata", http).with("customMetadata", custom);
    match class {
        StorageClass::Standard => js,
        StorageClass::InfrequentAccess => js.with("storageClass", "InfrequentAccess"),
    }
}

/// `onlyIf`: an object where that can say it, else headers.
fn condition(conditions: &Conditions) -> Object {
    let Conditions { etag_matches, etag_does_not_match, uploaded_before, uploaded_after, seconds } = conditions;
    // Headers have no words for "none of no etags".
    let matches = etag_matches.as_ref().map(single);
    let differs = etag_does_not_match.as_ref().map(single);
    if matches != Some(None) && differs != Some(None) {
        let time = |at: chrono::DateTime<chrono::Utc>| date(if *seconds { at.trunc_subsecs(0) } else { at });
        return Object::empty()
            .with_some("etagMatches", matches.flatten())
            .with_some("etagDoesNotMatch", differs.flatten())
            .with_some("uploadedBefore", uploaded_before.map(time))
            .with_some("uploadedAfter", uploaded_after.map(time))
            .with("secondsGranularity", *seconds);
    }
    let time = |at: chrono::DateTime<chrono::Utc>| httpdate::fmt_http_date(at.into());
    let lines = [
        ("if-match", etag_matches.as_ref().map(etag_list)),
        ("if-none-match", etag_does_not_match.as_ref().map(etag_list)),
        ("if-unmodified-since", uploaded_before.map(time)),
        ("if-modified-since", uploaded_after.map(time)),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some((name, value?)));
    headers(lines)
}

/// The etag, where it is one strong one or any.
fn single(etags: &Etags) -> Option<&str> {
    match etags {
        Etags::Any => Some("*"),
        Etags::List(list) => match &list[..] {
            [etag] if !etag.is_weak() => Some(etag.as_str()),
            _ => None,
        },
    }
}

fn etag_list(etags: &Etags) -> String {
    let one = |etag: &Etag| format!("{}\"{}\"", if etag.is_weak() { "W/" } else { "" }, etag.as_str());
    match etags {
        Etags::Any => "*".to_owned(),
        Etags::List(list) => list.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn range_object(range: Range) -> Object {
    match range {
        Range::From { offset, length } => {
            Object::empty().with("offset", offset as f64).with_some("length", length.map(|length| length as f64))
        }
        Range::Suffix(suffix) => Object::empty().with("suffix", suffix as f64),
    }
}

fn range_header(range: Range) -> String {
    match range {
        Range::From { offset, length: None } => format!("bytes={offset}-"),
        Range::From { offset, length: Some(length) } => {
            format!("bytes={offset}-{}", offset.saturating_add(length).saturating_sub(1))
        }
        Range::Suffix(suffix) => format!("bytes=-{suffix}"),
    }
}

fn header(name: &str, value: &str) -> Object {
    headers([(name, value.to_owned())].into_iter())
}

fn headers<'a>(lines: impl Iterator<Item = (&'a str, String)>) -> Object {
    let pairs: js_sys::Array =
        lines.map(|(name, value)| JsValue::from(js_sys::Array::of2(&name.into(), &value.into()))).collect();
    // The names and values are ours and good; a runtime without Headers gets an object that it will refuse.
    Object::construct("Headers", &[pairs.into()]).unwrap_or_else(|_| Object::empty())
}

/// The metadata of an `R2Object`.
fn meta(object: &Object) -> Result<ObjectMeta> {
    let text = |name: &str| object.text(name).ok_or_else(|| surprise(&format!("an object without {name}")));
    let size = object.number("size").ok_or_else(|| surprise("an object without size"))? as u64;
    let uploaded = millis(&object.get("uploaded")).ok_or_else(|| surprise("an object without uploaded"))?;
    let mut meta = ObjectMeta::new(Key::new(text("key")?)?, text("version")?, size, text("etag")?, uploaded);
    let http = object.object("httpMetadata");
    meta.http = HttpMetadata {
        content_type: http.text("contentType"),
        content_language: http.text("contentLanguage"),
        content_disposition: http.text("contentDisposition"),
        content_encoding: http.text("contentEncoding"),
        cache_control: http.text("cacheControl"),
        cache_expiry: millis(&http.get("cacheExpiry")),
    };
    let custom = object.object("customMetadata").entries();
    meta.custom = custom.into_iter().filter_map(|(name, value)| Some((name, value.as_string()?))).collect();
    let checksums = object.object("checksums");
    for (algorithm, name) in ALGORITHMS {
        let digest = checksums.object(name);
        if !digest.is_nothing() {
            meta.checksums.push(Checksum::from_bytes(algorithm, &bytes(digest.value()))?);
        }
    }
    meta.storage_class = match object.text("storageClass").as_deref() {
        Some("InfrequentAccess") => StorageClass::InfrequentAccess,
        _ => StorageClass::Standard,
    };
    Ok(meta)
}

fn surprise(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("R2 answered {what}"))
}

/// R2's own words and code: `put: The specified object name is not valid. (10020)`.
fn failure(error: JsError) -> Error {
    let (_, message) = error.message.split_once(": ").unwrap_or(("", &error.message));
    let numbered = message.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
    let coded = numbered.and_then(|(text, code)| Some((text.to_owned(), code.parse::<u32>().ok()?)));
    match coded {
        Some((text, code)) => Error::new(kind_of(code), text).with_code(code).with_source(error),
        // No code: the runtime itself refuses the arguments, or the binding is none.
        None if message.starts_with("has no method") || error.message.contains(" has no method ") => {
            Error::new(ErrorKind::Internal, error.message.clone()).with_source(error)
        }
        None => {
            let kind = if matches!(error.name.as_str(), "TypeError" | "RangeError") {
                ErrorKind::InvalidArgument
            } else {
                ErrorKind::Unavailable
            };
            Error::new(kind, error.message.clone()).with_source(error)
        }
    }
}

/// Maps code 10001 of a completion or an abort to an unknown upload.
fn unknown_upload(error: Error) -> Error {
    if error.code() == Some(10001) { rules::unknown_upload().with_source(error) } else { error }
}

fn kind_of(code: u32) -> ErrorKind {
    match code {
        10020 => ErrorKind::InvalidKey,
        10012 => ErrorKind::MetadataTooLarge,
        10022 => ErrorKind::InvalidListLimit,
        10037 => ErrorKind::BadDigest,
        10039 => ErrorKind::InvalidRange,
        10048 => ErrorKind::UnequalParts,
        10011 => ErrorKind::PartTooSmall,
        10025 => ErrorKind::InvalidPart,
        10024 => ErrorKind::NoSuchUpload,
        100_100 => ErrorKind::TooLarge,
        // An internal error, to be tried again; too many writes of one key; too many requests.
        10001 | 10058 | 429 => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}
