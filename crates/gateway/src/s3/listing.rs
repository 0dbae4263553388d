//! Listings of objects, of both versions.
//!
//! The two versions differ in how a page is continued: the first behind a key (`marker`), the second by a cursor. Both are made
//! out of one page of the store. A store's page may be shorter than was asked for, and one that is empty may still have a next:
//! it is asked on until the page is full or the listing ends. Keys are bytes to a store and XML to a client: what XML cannot hold
//! is sent encoded, if the client has asked for that, and is an error otherwise.

use std::sync::Arc;

use isobar_storage::{ListOptions, ListPage, ListUploadsOptions, ObjectMeta, ObjectStore, UploadId, UploadInfo};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::buckets::owner;
use super::error::{OrS3, access_denied, invalid_argument, not_implemented, refusal};
use super::metadata::{class_name, timestamp};
use super::session::Session;

/// Most keys and prefixes of a page.
const MAX_KEYS: i32 = 1000;
/// Most uploads that a store lists at once.
const STORE_LIMIT: usize = 1000;
/// Longest key in bytes.
const KEY_BYTES: usize = 1024;
/// Characters that stay as they are in a key that is encoded for a URL. A space is `%20`: some clients read `+` as one.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A page as both versions show it.
struct Page {
    objects: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    /// Last key or prefix of the page, which the first version goes on behind.
    last: Option<String>,
    cursor: Option<String>,
    is_truncated: bool,
}

/// Encoding of keys in a response.
#[derive(Clone, Copy)]
struct Encoding {
    is_url: bool,
}

impl Encoding {
    /// Reads the encoding that a client asks for.
    fn parse(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { is_url: false }),
            Some("url") => Ok(Self { is_url: true }),
            Some(other) => Err(not_implemented(format!("Unrecognized encoding-type {other:?} not implemented"))),
        }
    }

    /// Encodes a key for the response, if that was asked for.
    fn apply(self, text: String) -> String {
        if self.is_url { utf8_percent_encode(&text, URL).to_string() } else { text }
    }
}

/// Lists objects by the first version: a page goes on behind a key.
pub(super) async fn v1(
    session: &Session,
    request: S3Request<ListObjectsInput>,
) -> S3Result<S3Response<ListObjectsOutput>> {
    let input = request.input;
    let encoding = Encoding::parse(input.encoding_type.as_ref())?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let store = session.to_list(&input.bucket, &prefix).await?;
    let mut options = ListOptions::default().with_prefix(&*prefix);
    options.delimiter.clone_from(&delimiter);
    let marker = input.marker.filter(|marker| !marker.is_empty());
    options.start_after = marker.as_deref().map(|marker| behind_marker(marker, &prefix, delimiter.as_deref()));
    let max_keys = max_keys(input.max_keys)?;
    let page = page(&store, options, max_keys, encoding, true).await?;
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encoding.apply(prefix)),
        marker: Some(encoding.apply(marker.unwrap_or_default())),
        max_keys: Some(max_keys),
        delimiter: delimiter.map(|delimiter| encoding.apply(delimiter)),
        next_marker: page.last.filter(|_| page.is_truncated).map(|last| encoding.apply(last)),
        is_truncated: Some(page.is_truncated),
        contents: Some(page.objects),
        common_prefixes: Some(page.prefixes),
        encoding_type: input.encoding_type,
        ..ListObjectsOutput::default()
    }))
}

/// Lists objects by the second version: a page goes on by the store's cursor.
pub(super) async fn v2(
    session: &Session,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<S3Response<ListObjectsV2Output>> {
    let input = request.input;
    let encoding = Encoding::parse(input.encoding_type.as_ref())?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let store = session.to_list(&input.bucket, &prefix).await?;
    if input.continuation_token.as_deref() == Some("") {
        return Err(invalid_argument("The continuation token is empty"));
    }
    let mut options = ListOptions::default().with_prefix(&*prefix);
    options.delimiter.clone_from(&delimiter);
    options.start_after = input.start_after.clone().filter(|key| !key.is_empty());
    options.cursor.clone_from(&input.continuation_token);
    let max_keys = max_keys(input.max_keys)?;
    let page = page(&store, options, max_keys, encoding, input.fetch_owner == Some(true)).await?;
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encoding.apply(prefix)),
        max_keys: Some(max_keys),
        key_count: i32::try_from(page.objects.len() + page.prefixes.len()).ok(),
        delimiter: delimiter.map(|delimiter| encoding.apply(delimiter)),
        start_after: input.start_after.map(|key| encoding.apply(key)),
        continuation_token: input.continuation_token,
        next_continuation_token: page.cursor,
        is_truncated: Some(page.is_truncated),
        contents: Some(page.objects),
        common_prefixes: Some(page.prefixes),
        encoding_type: input.encoding_type,
        ..ListObjectsV2Output::default()
    }))
}

/// Lists open uploads, with groups: pages of the store are read until the page of the client is full.
pub(super) async fn uploads(
    session: &Session,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    let encoding = Encoding::parse(input.encoding_type.as_ref())?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    // Uploads belong to whoever writes, as their parts do.
    if !session.key.scope.can_write(&input.bucket, &prefix) {
        return Err(access_denied());
    }
    let store = session.to_write_some(&input.bucket).await?;
    let key_marker = input.key_marker.filter(|marker| !marker.is_empty());
    let upload_marker = input.upload_id_marker.filter(|marker| key_marker.is_some() && !marker.is_empty());
    let max_uploads = max_keys(input.max_uploads)?;
    let mut options = ListUploadsOptions::default().with_prefix(&*prefix);
    options.after = key_marker.as_deref().map(|marker| match &upload_marker {
        Some(upload) => (marker.to_owned(), Some(UploadId::new(&**upload))),
        None => (behind_marker(marker, &prefix, delimiter.as_deref()), None),
    });
    let page = uploads_page(&store, options, max_uploads, &prefix, delimiter.as_deref()).await?;
    let shown = |upload: UploadInfo| MultipartUpload {
        key: Some(encoding.apply(upload.key.into())),
        upload_id: Some(upload.id.as_str().to_owned()),
        initiated: Some(timestamp(upload.created)),
        storage_class: Some(StorageClass::from_static(class_name(upload.storage_class))),
        owner: Some(owner()),
        ..MultipartUpload::default()
    };
    let group = |group| CommonPrefix { prefix: Some(encoding.apply(group)) };
    let (next_key, next_upload) = page.next.unzip();
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: Some(encoding.apply(prefix)),
        delimiter: delimiter.map(|delimiter| encoding.apply(delimiter)),
        key_marker: Some(encoding.apply(key_marker.unwrap_or_default())),
        upload_id_marker: Some(upload_marker.unwrap_or_default()),
        max_uploads: Some(max_uploads),
        is_truncated: Some(next_key.is_some()),
        next_key_marker: next_key.map(|key| encoding.apply(key)),
        next_upload_id_marker: next_upload.flatten(),
        uploads: Some(page.uploads.into_iter().map(shown).collect()),
        common_prefixes: Some(page.groups.into_iter().map(group).collect()),
        encoding_type: input.encoding_type,
        ..ListMultipartUploadsOutput::default()
    }))
}

/// A page of open uploads.
#[derive(Default)]
struct UploadsPage {
    uploads: Vec<UploadInfo>,
    groups: Vec<String>,
    /// Key or group, and upload, behind which the next page begins; `None` where this is the last one.
    next: Option<(String, Option<String>)>,
}

/// Reads pages of the store's until the client's is full. A group is one entry: the store is asked on
/// behind its end.
async fn uploads_page(
    store: &Arc<dyn ObjectStore>,
    mut options: ListUploadsOptions,
    max_uploads: i32,
    prefix: &str,
    delimiter: Option<&str>,
) -> S3Result<UploadsPage> {
    let limit = usize::try_from(max_uploads.min(MAX_KEYS)).unwrap_or_default();
    let mut page = UploadsPage::default();
    let mut last = None;
    if limit == 0 {
        return Ok(page);
    }
    'pages: loop {
        let listed = store.list_uploads(options.clone()).await.or_s3()?;
        let is_last = listed.len() < STORE_LIMIT;
        for upload in listed {
            if page.uploads.len() + page.groups.len() == limit {
                page.next = last;
                return Ok(page);
            }
            let rest = upload.key.as_str().strip_prefix(prefix).unwrap_or_default();
            let end = delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
            if let Some(end) = end {
                let group = format!("{prefix}{}", &rest[..end]);
                options.after = Some((behind_marker(&group, prefix, delimiter), None));
                page.groups.push(group.clone());
                last = Some((group, None));
                continue 'pages; // what else the store has given of the group is behind its end
            }
            let id = upload.id.as_str().to_owned();
            options.after = Some((upload.key.to_string(), Some(upload.id.clone())));
            last = Some((upload.key.to_string(), Some(id)));
            page.uploads.push(upload);
        }
        if is_last {
            return Ok(page);
        }
    }
}

/// Returns the limit of a page as it was asked for. A page has 1,000 entries at most, however many are asked for.
fn max_keys(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(MAX_KEYS) {
        asked @ 0.. => Ok(asked),
        asked => {
            let message = format!("max-keys is {asked}, and must not be negative");
            Err(refusal(http::StatusCode::BAD_REQUEST, "InvalidMaxKeys", message))
        }
    }
}

/// Returns the key behind which a listing of the first version begins. A marker that is a common prefix stands for all keys of its group,
/// since the page before has shown the group.
fn behind_marker(marker: &str, prefix: &str, delimiter: Option<&str>) -> String {
    // Behind the prefix the group has the delimiter at its end alone: a marker that is the prefix itself is no group.
    let is_group = delimiter.is_some_and(|delimiter| {
        let rest = marker.strip_prefix(prefix).unwrap_or_default();
        rest.find(delimiter).is_some_and(|at| at + delimiter.len() == rest.len())
    });
    if !is_group {
        return marker.to_owned();
    }
    let last = char::MAX;
    let room = KEY_BYTES.saturating_sub(marker.len()) / last.len_utf8();
    format!("{marker}{}", String::from_iter(std::iter::repeat_n(last, room)))
}

/// Reads a page of objects.
async fn page(
    store: &Arc<dyn ObjectStore>,
    mut options: ListOptions,
    max_keys: i32,
    encoding: Encoding,
    with_owner: bool,
) -> S3Result<Page> {
    // A page of no keys says whether there are any, as R2's does.
    let limit = usize::try_from(max_keys.clamp(1, MAX_KEYS)).unwrap_or_default();
    options.limit = Some(limit);
    let listed = loop {
        let listed = store.list(options.clone()).await.or_s3()?;
        // A store may answer a page of nothing and go on. A client of the first version would not know where.
        if !listed.objects.is_empty() || !listed.prefixes.is_empty() || listed.cursor.is_none() {
            break listed;
        }
        options.cursor = listed.cursor;
    };
    let ListPage { objects, prefixes, cursor, .. } = listed;
    if max_keys == 0 {
        let is_truncated = !objects.is_empty() || !prefixes.is_empty();
        return Ok(Page { objects: Vec::new(), prefixes: Vec::new(), last: None, cursor: None, is_truncated });
    }
    let last_key = objects.last().map(|object| object.key.to_string());
    let last = last_key.max(prefixes.last().cloned());
    let prefix = |prefix| CommonPrefix { prefix: Some(encoding.apply(prefix)) };
    Ok(Page {
        objects: objects.into_iter().map(|object| entry(object, encoding, with_owner)).collect(),
        prefixes: prefixes.into_iter().map(prefix).collect(),
        last,
        is_truncated: cursor.is_some(),
        cursor,
    })
}

/// An object as a listing shows it.
fn entry(object: ObjectMeta, encoding: Encoding, with_owner: bool) -> Object {
    Object {
        key: Some(encoding.apply(object.key.into())),
        last_modified: Some(timestamp(object.uploaded)),
        e_tag: Some(ETag::Strong(object.etag)),
        size: i64::try_from(object.size).ok(),
        storage_class: Some(ObjectStorageClass::from_static(class_name(object.storage_class))),
        owner: with_owner.then(owner),
        ..Object::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_that_is_a_group_passes_all_of_it() {
        assert_eq!(behind_marker("a/1", "", Some("/")), "a/1");
        assert_eq!(behind_marker("a/", "", None), "a/");
        let behind = behind_marker("a/", "", Some("/"));
        assert!(behind.as_str() > "a/\u{10ffff}\u{10ffff}z" && behind.as_str() < "a0");
        assert!(behind.len() <= KEY_BYTES);
        // The group of a longer prefix, and a key that only ends as a group would.
        assert!(behind_marker("p/a/", "p/", Some("/")).len() > 1000);
        assert_eq!(behind_marker("a/b/", "", Some("/")), "a/b/");
        // The prefix of the listing, or a part of it.
        for (marker, prefix, delimiter) in
            [("a/", "a/", "/"), ("a", "a", "/"), ("", "", "/"), ("b", "a/", "/"), ("a-", "a", "--")]
        {
            assert_eq!(behind_marker(marker, prefix, Some(delimiter)), marker, "{prefix} {delimiter}");
        }
    }

    #[test]
    fn url_encoding_leaves_no_plus() {
        let encoding = Encoding { is_url: true };
        assert_eq!(encoding.apply("a b+c/ü&".to_owned()), "a%20b%2Bc/%C3%BC%26");
    }
}
