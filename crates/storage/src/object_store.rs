//! Any of our stores as an [`object_store::ObjectStore`], for the programs that speak that crate's trait.
//!
//! ```
//! use std::sync::Arc;
//!
//! use isobar_storage::{memory::MemoryStore, object_store::Adapter};
//! use object_store::{ObjectStoreExt, path::Path};
//! # futures_util::FutureExt::now_or_never(async {
//! let store = Adapter::new(Arc::new(MemoryStore::new()));
//! store.put(&Path::from("a/b.txt"), "hello".into()).await?;
//! assert_eq!(store.get(&Path::from("a/b.txt")).await?.bytes().await?, "hello");
//! # Ok::<_, object_store::Error>(()) }).unwrap().unwrap();
//! ```
//!
//! Differences: the parts of an upload, all but the last, must be of one size and have 5 MiB, as R2 wants them; there are no versions to ask for (R2 keeps none), so updates go by the etag; tags are ignored, as that crate
//! wants it of stores without them.
//!
//! A [`Path`] begins and ends with a segment. Keys that end in `/` (folder markers, as consoles of S3 make them) cannot be named by
//! one and are left out of listings; a listing fails at any other key that cannot (a leading `/`, an empty segment, `.` or `..`),
//! rather than name another object by it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use isobar_base::sync::IgnorePoison;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyMode, Error as PeerError, GetRange, GetResultPayload, ListResult, MultipartId,
    MultipartUpload, PutMode, PutMultipartOptions, PutPayload, RenameOptions, RenameTargetMode, UploadPart,
};

use crate::{
    Body, ByteRange, Conditions, Error, ErrorKind, Etag, Etags, GetOptions, GetResult, HttpMetadata, Key, ListOptions,
    MultipartOptions, ObjectMeta, ObjectStore, Part, PutOptions, PutResult, Range, StorageClass, UploadId, limits,
};

type Result<T, E = PeerError> = std::result::Result<T, E>;

/// The name in that crate's errors.
const NAME: &str = "isobar";

/// One of our stores behind that crate's traits: `ObjectStore`, `MultipartStore`, `PaginatedListStore`. Cheap to clone.
///
/// | outcome here | error there |
/// |---|---|
/// | missing object | `NotFound` |
/// | condition failed, `PutMode::Create` or `CopyMode::Create` | `AlreadyExists` |
/// | condition failed, `PutMode::Update`, `if_match`, `if_unmodified_since` | `Precondition` |
/// | condition failed, `if_none_match`, `if_modified_since` | `NotModified` |
/// | [`ErrorKind::PermissionDenied`] | `PermissionDenied` |
/// | [`ErrorKind::Unsupported`] | `NotSupported` |
/// | every other kind | `Generic`, with our error as its source |
#[derive(Debug, Clone)]
pub struct Adapter(Arc<dyn ObjectStore>);

impl Adapter {
    /// The adapter of this store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}({:?})", self.0)
    }
}

#[async_trait]
impl object_store::ObjectStore for Adapter {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: object_store::PutOptions,
    ) -> Result<object_store::PutResult> {
        let key = key_of(location)?;
        let (http, custom, storage_class) = metadata_of(&options.attributes)?;
        let conditions = match &options.mode {
            PutMode::Overwrite => None,
            PutMode::Create => Some(Conditions::create_only()),
            PutMode::Update(version) => {
                let missing = || generic("an update needs the etag of what it replaces");
                let etag = version.e_tag.as_deref().ok_or_else(missing)?;
                Some(Conditions::default().with_etag_matches(etags_of(etag, location)?))
            }
        };
        let mut put = PutOptions::default().with_http(http).with_storage_class(storage_class);
        put.custom = custom;
        put.conditions = conditions;
        match self.0.put(&key, body_of(payload), put).await.map_err(|error| told(error, location))? {
            PutResult::Stored(meta) => Ok(put_result(meta)),
            PutResult::ConditionFailed => Err(match options.mode {
                PutMode::Create => already_exists(location),
                _ => precondition(location),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = UploadId::new(self.create_multipart_opts(location, options).await?);
        Ok(Box::new(Upload {
            store: Arc::clone(&self.0),
            key: key_of(location)?,
            upload,
            parts: Arc::default(),
            next: 1,
        }))
    }

    async fn get_opts(&self, location: &Path, options: object_store::GetOptions) -> Result<object_store::GetResult> {
        if options.version.is_some() {
            return Err(PeerError::NotSupported { source: "there are no versions to ask for".into() });
        }
        let key = key_of(location)?;
        let conditions = conditions_of(&options, location)?;
        let mut get = GetOptions { conditions: conditions.clone(), ..GetOptions::default() };
        get.range = match options.range.clone() {
            None => None,
            Some(GetRange::Bounded(range)) if range.start >= range.end => {
                return Err(generic(format!("the range {range:?} holds no byte")));
            }
            Some(GetRange::Bounded(range)) => {
                Some(Range::From { offset: range.start, length: Some(range.end - range.start) })
            }
            Some(GetRange::Offset(offset)) => Some(Range::From { offset, length: None }),
            Some(GetRange::Suffix(suffix)) => Some(Range::Suffix(suffix)),
        };
        let found = match self.0.get(&key, get).await {
            // No byte at the end is an answer there, and no range here: of an empty object each suffix is that.
            Err(error)
                if error.kind() == ErrorKind::InvalidRange && matches!(options.range, Some(GetRange::Suffix(_))) =>
            {
                self.no_bytes(&key, conditions.clone()).await
            }
            found => found,
        };
        match found.map_err(|error| told(error, location))? {
            GetResult::Missing => Err(not_found(location)),
            GetResult::ConditionFailed(meta) => {
                // Which of them failed decides what the caller hears; If-Match comes first, as in HTTP.
                let first = conditions.map(|Conditions { etag_matches, uploaded_before, seconds, .. }| Conditions {
                    etag_matches,
                    uploaded_before,
                    seconds,
                    ..Conditions::default()
                });
                let is_same = first.is_none_or(|first| first.hold(Some(&meta)));
                Err(if is_same { not_modified(location) } else { precondition(location) })
            }
            GetResult::Object { meta, range, body } => {
                let body = if options.head { Body::empty() } else { body };
                let path = location.to_string();
                let chunks = body.into_stream().map_err(move |error| told(error, &path));
                let attributes = attributes_of(&meta);
                Ok(object_store::GetResult {
                    payload: GetResultPayload::Stream(chunks.boxed()),
                    meta: peer_meta(meta)?,
                    range: range.offset..range.offset + range.length,
                    attributes,
                    extensions: Default::default(),
                })
            }
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = Arc::clone(&self.0);
        let deleted = locations.chunks(limits::DELETE_KEYS).then(move |paths| delete_some(Arc::clone(&store), paths));
        deleted.map(stream::iter).flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<object_store::ObjectMeta>> {
        self.listed(ListOptions::default().with_prefix(folder_of(prefix)))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<object_store::ObjectMeta>> {
        self.listed(ListOptions::default().with_prefix(folder_of(prefix)).with_start_after(offset.as_ref()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut options = ListOptions::default().with_prefix(folder_of(prefix)).with_delimiter("/");
        let mut found = ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Default::default() };
        loop {
            let page = self.0.list(options.clone()).await.map_err(|error| told(error, Path::default()))?;
            found.common_prefixes.extend(prefixes_of(page.prefixes)?);
            found.objects.extend(listed(page.objects).collect::<Result<Vec<_>>>()?);
            match page.cursor {
                Some(cursor) => options = options.with_cursor(cursor),
                None => return Ok(found),
            }
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: object_store::CopyOptions) -> Result<()> {
        if from == to {
            return self.onto_itself(from, options.mode == CopyMode::Create).await;
        }
        let mut copy = crate::CopyOptions::default();
        if options.mode == CopyMode::Create {
            copy = copy.with_conditions(Conditions::create_only());
        }
        let copied = self.0.copy(&key_of(from)?, &key_of(to)?, copy).await;
        match copied.map_err(|error| told(error, from))? {
            None => Err(not_found(from)),
            Some(PutResult::Stored(_)) => Ok(()),
            Some(PutResult::ConditionFailed) => Err(already_exists(to)),
        }
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let RenameOptions { target_mode, extensions } = options;
        let is_create = matches!(target_mode, RenameTargetMode::Create);
        // A copy and a deletion would leave nothing of it.
        if from == to {
            return self.onto_itself(from, is_create).await;
        }
        let mode = if is_create { CopyMode::Create } else { CopyMode::Overwrite };
        self.copy_opts(from, to, object_store::CopyOptions { mode, extensions }).await?;
        self.0.delete(&[key_of(from)?]).await.map_err(|error| told(error, from))
    }
}

#[async_trait]
impl MultipartStore for Adapter {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.create_multipart_opts(path, PutMultipartOptions::default()).await
    }

    async fn create_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<MultipartId> {
        let (http, custom, storage_class) = metadata_of(&options.attributes)?;
        let options = MultipartOptions { http, custom, storage_class };
        let upload = self.0.create_multipart(&key_of(path)?, options).await.map_err(|error| told(error, path))?;
        Ok(upload.as_str().to_owned())
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, index: usize, data: PutPayload) -> Result<PartId> {
        let number = part_number(index)?;
        let stored = self.0.upload_part(&key_of(path)?, &UploadId::new(id), number, body_of(data)).await;
        Ok(PartId { content_id: stored.map_err(|error| told(error, path))?.etag })
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<object_store::PutResult> {
        let part =
            |(index, part): (usize, PartId)| Ok(Part { part_number: part_number(index)?, etag: part.content_id });
        let parts = parts.into_iter().enumerate().map(part).collect::<Result<_>>()?;
        let meta = self.0.complete_multipart(&key_of(path)?, &UploadId::new(id), parts).await;
        Ok(put_result(meta.map_err(|error| told(error, path))?))
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.0.abort_multipart(&key_of(path)?, &UploadId::new(id)).await.map_err(|error| told(error, path))
    }
}

#[async_trait]
impl PaginatedListStore for Adapter {
    async fn list_paginated(&self, prefix: Option<&str>, options: PaginatedListOptions) -> Result<PaginatedListResult> {
        let PaginatedListOptions { offset, delimiter, max_keys, page_token, extensions: _ } = options;
        let list = ListOptions {
            prefix: prefix.map(str::to_owned),
            start_after: offset,
            delimiter: delimiter.map(std::borrow::Cow::into_owned),
            limit: max_keys.map(|most| most.clamp(1, limits::LIST_KEYS)),
            cursor: page_token,
            ..ListOptions::default()
        };
        let page = self.0.list(list).await.map_err(|error| told(error, Path::default()))?;
        let result = ListResult {
            common_prefixes: prefixes_of(page.prefixes)?,
            objects: listed(page.objects).collect::<Result<_>>()?,
            extensions: Default::default(),
        };
        Ok(PaginatedListResult { result, page_token: page.cursor })
    }
}

impl Adapter {
    /// Copies or renames an object onto itself: does nothing, if it is there.
    async fn onto_itself(&self, path: &Path, is_create: bool) -> Result<()> {
        match self.0.head(&key_of(path)?).await.map_err(|error| told(error, path))? {
            None => Err(not_found(path)),
            Some(_) if is_create => Err(already_exists(path)),
            Some(_) => Ok(()),
        }
    }

    /// None of an object's bytes.
    async fn no_bytes(&self, key: &Key, conditions: Option<Conditions>) -> crate::Result<GetResult> {
        Ok(match self.0.head(key).await? {
            None => GetResult::Missing,
            Some(meta) if conditions.is_some_and(|conditions| !conditions.hold(Some(&meta))) => {
                GetResult::ConditionFailed(meta)
            }
            Some(meta) => {
                let range = ByteRange { offset: meta.size, length: 0 };
                GetResult::Object { meta, range, body: Body::empty() }
            }
        })
    }

    fn listed(&self, options: ListOptions) -> BoxStream<'static, Result<object_store::ObjectMeta>> {
        let store = Arc::clone(&self.0);
        let pages = stream::try_unfold(Some(options), move |next| {
            let store = Arc::clone(&store);
            async move {
                let Some(options) = next else { return Ok(None) };
                let page = store.list(options.clone()).await.map_err(|error| told(error, Path::default()))?;
                let next = page.cursor.map(|cursor| options.with_cursor(cursor));
                Ok::<_, PeerError>(Some((stream::iter(listed(page.objects)), next)))
            }
        });
        pages.try_flatten().boxed()
    }
}

/// An upload of parts in the order in which they are handed over.
#[derive(Debug)]
struct Upload {
    store: Arc<dyn ObjectStore>,
    key: Key,
    upload: UploadId,
    parts: Arc<std::sync::Mutex<Vec<Part>>>,
    next: usize,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let number = part_number(self.next - 1);
        self.next += 1;
        let store = Arc::clone(&self.store);
        let key = self.key.clone();
        let upload = self.upload.clone();
        let parts = Arc::clone(&self.parts);
        async move {
            let stored = store.upload_part(&key, &upload, number?, body_of(data)).await;
            let part = stored.map_err(|error| told(error, &key))?;
            // A list, changed in single steps.
            parts.lock().ignore_poison().push(part);
            Ok(())
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<object_store::PutResult> {
        let mut parts = self.parts.lock().ignore_poison().clone();
        parts.sort_by_key(|part| part.part_number); // they are there in the order in which they arrived
        if parts.len() + 1 != self.next {
            return Err(generic(format!("{} of {} parts are there", parts.len(), self.next - 1)));
        }
        let meta = self.store.complete_multipart(&self.key, &self.upload, parts).await;
        Ok(put_result(meta.map_err(|error| told(error, &self.key))?))
    }

    async fn abort(&mut self) -> Result<()> {
        let aborted = self.store.abort_multipart(&self.key, &self.upload).await;
        aborted.map_err(|error| told(error, &self.key))
    }
}

/// Deletes by one call what can be deleted; of each path what has come of it, in their order.
async fn delete_some(store: Arc<dyn ObjectStore>, paths: Vec<Result<Path>>) -> Vec<Result<Path>> {
    let named: Vec<Result<(Path, Key)>> =
        paths.into_iter().map(|path| path.and_then(|path| key_of(&path).map(|key| (path, key)))).collect();
    let keys: Vec<Key> = named.iter().flatten().map(|(_, key)| key.clone()).collect();
    let failed = if keys.is_empty() { None } else { store.delete(&keys).await.err() };
    let failed = failed.map(Arc::new);
    let outcome = |(path, _): (Path, Key)| match &failed {
        None => Ok(path),
        Some(error) => Err(told(Error::new(error.kind(), error.to_string()).with_source(Arc::clone(error)), &path)),
    };
    named.into_iter().map(|named| named.and_then(outcome)).collect()
}

fn key_of(path: &Path) -> Result<Key> {
    Key::new(path.as_ref()).map_err(|error| told(error, path))
}

/// A prefix means whole segments there.
fn folder_of(prefix: Option<&Path>) -> String {
    match prefix.map(Path::as_ref) {
        None | Some("") => String::new(),
        Some(prefix) => format!("{prefix}/"),
    }
}

fn body_of(payload: PutPayload) -> Body {
    let length = payload.content_length() as u64;
    match payload.as_ref() {
        [whole] => whole.clone().into(),
        _ => Body::from_stream(length, stream::iter(payload.into_iter().map(Ok::<Bytes, Error>))),
    }
}

fn part_number(index: usize) -> Result<u16> {
    u16::try_from(index + 1).map_err(|_| generic(format!("part {} is beyond the 10,000 that there may be", index + 1)))
}

fn conditions_of(options: &object_store::GetOptions, location: &Path) -> Result<Option<Conditions>> {
    let object_store::GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, .. } = options;
    let etags = |text: &Option<String>| text.as_deref().map(|text| etags_of(text, location)).transpose();
    let conditions = Conditions {
        etag_matches: etags(if_match)?,
        etag_does_not_match: etags(if_none_match)?,
        uploaded_after: *if_modified_since,
        // Up to this moment there, before this moment here; times are of milliseconds.
        uploaded_before: if_unmodified_since.map(|at| at + chrono::Duration::milliseconds(1)),
        ..Conditions::default()
    };
    Ok((conditions != Conditions::default()).then_some(conditions))
}

/// Etags as that crate's callers write them: bare, as this adapter gives them, or in quotes, as S3 does; one, or several with
/// commas; `*`.
fn etags_of(text: &str, location: &Path) -> Result<Etags> {
    if text.contains('"') {
        return Etags::parse_header(text).ok_or_else(|| generic(format!("{text} is not a list of etags")));
    }
    if text.trim() == "*" {
        return Ok(Etags::Any);
    }
    let each = text.split(',').map(|etag| Etag::strong(etag.trim()));
    Ok(Etags::List(each.collect::<crate::Result<_>>().map_err(|error| told(error, location))?))
}

type Metadata = (HttpMetadata, std::collections::BTreeMap<String, String>, StorageClass);

fn metadata_of(attributes: &Attributes) -> Result<Metadata> {
    let (mut http, mut custom, mut class) = Metadata::default();
    for (attribute, value) in attributes {
        let value = value.as_ref().to_owned();
        match attribute {
            Attribute::ContentType => http.content_type = Some(value),
            Attribute::ContentLanguage => http.content_language = Some(value),
            Attribute::ContentDisposition => http.content_disposition = Some(value),
            Attribute::ContentEncoding => http.content_encoding = Some(value),
            Attribute::CacheControl => http.cache_control = Some(value),
            Attribute::Metadata(name) => drop(custom.insert(name.to_string(), value)),
            Attribute::StorageClass if value.eq_ignore_ascii_case("Standard") => class = StorageClass::Standard,
            Attribute::StorageClass if ["InfrequentAccess", "STANDARD_IA"].contains(&&*value) => {
                class = StorageClass::InfrequentAccess;
            }
            other => {
                return Err(PeerError::NotSupported { source: format!("the attribute {other:?}: {value}").into() });
            }
        }
    }
    Ok((http, custom, class))
}

fn attributes_of(meta: &ObjectMeta) -> Attributes {
    let http = &meta.http;
    let headers = [
        (Attribute::ContentType, &http.content_type),
        (Attribute::ContentLanguage, &http.content_language),
        (Attribute::ContentDisposition, &http.content_disposition),
        (Attribute::ContentEncoding, &http.content_encoding),
        (Attribute::CacheControl, &http.cache_control),
    ];
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let custom = meta.custom.iter().map(|(name, value)| (Attribute::Metadata(name.clone().into()), value.clone()));
    let class = (meta.storage_class != StorageClass::Standard)
        .then(|| (Attribute::StorageClass, "InfrequentAccess".to_owned()));
    headers.chain(custom).chain(class).collect()
}

/// The path of a key. Parsing alone would take slashes off, and name another object.
fn path_of(key: &str) -> Result<Path> {
    let path = Path::parse(key)?;
    if path.as_ref() == key {
        return Ok(path);
    }
    Err(generic(format!("the key {key:?} begins or ends with a slash, and cannot be named by a path")))
}

/// The objects of a listing, without folder markers.
fn listed(objects: Vec<ObjectMeta>) -> impl Iterator<Item = Result<object_store::ObjectMeta>> {
    objects.into_iter().filter(|meta| !meta.key.as_str().ends_with('/')).map(peer_meta)
}

fn prefixes_of(prefixes: Vec<String>) -> Result<Vec<Path>> {
    prefixes
        .iter()
        .map(|prefix| path_of(prefix.strip_suffix('/').filter(|prefix| !prefix.is_empty()).unwrap_or(prefix)))
        .collect()
}

fn peer_meta(meta: ObjectMeta) -> Result<object_store::ObjectMeta> {
    Ok(object_store::ObjectMeta {
        location: path_of(meta.key.as_str())?,
        last_modified: meta.uploaded,
        size: meta.size,
        e_tag: Some(meta.etag),
        version: None,
    })
}

fn put_result(meta: ObjectMeta) -> object_store::PutResult {
    object_store::PutResult { e_tag: Some(meta.etag), version: None, extensions: Default::default() }
}

fn generic(what: impl Into<String>) -> PeerError {
    PeerError::Generic { store: NAME, source: what.into().into() }
}

fn not_found(path: &Path) -> PeerError {
    PeerError::NotFound { path: path.to_string(), source: "there is no such object".into() }
}

fn already_exists(path: &Path) -> PeerError {
    PeerError::AlreadyExists { path: path.to_string(), source: "the object is there already".into() }
}

fn precondition(path: &Path) -> PeerError {
    PeerError::Precondition { path: path.to_string(), source: "the object is another one by now".into() }
}

fn not_modified(path: &Path) -> PeerError {
    PeerError::NotModified { path: path.to_string(), source: "the object is still the one that is known".into() }
}

fn told(error: Error, path: impl fmt::Display) -> PeerError {
    let path = path.to_string();
    match error.kind() {
        ErrorKind::PermissionDenied => PeerError::PermissionDenied { path, source: error.into() },
        ErrorKind::Unsupported => PeerError::NotSupported { source: error.into() },
        _ => PeerError::Generic { store: NAME, source: error.into() },
    }
}
