//! `list`.
//!
//! A cursor is the server's token together with the last key or group of the page: S3 ignores `start-after` beside a token, and R2's rule is
//! that the later of both counts. So where `start_after` is behind the last entry, the token is dropped.
//!
//! S3 lists no metadata: a listing that includes it asks each object, 16 at a time. Objects that have gone meanwhile are left out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use isobar_cloudflare::client::Idempotency;
use rusty_s3::actions::{ListObjectsV2, ListObjectsV2Response};
use serde::{Deserialize, Serialize};

use super::S3Bucket;
use super::exchange::{Payload, accepted_text};
use super::headers::{class, described, surprise, unquoted};
use super::writing::AT_ONCE;
use crate::{Error, ErrorKind, Key, ListOptions, ListPage, ObjectMeta, Result, rules};

/// Where the next page starts: the server's token, and what it stands behind, so that a `startAfter` beyond it wins.
#[derive(Serialize, Deserialize)]
struct Cursor {
    token: String,
    last: String,
}

impl Cursor {
    fn decode(text: &str) -> Result<Self> {
        let invalid = || Error::new(ErrorKind::InvalidArgument, "The cursor is not one that a listing has given.");
        serde_json::from_slice(&BASE64.decode(text).map_err(|_| invalid())?).map_err(|_| invalid())
    }

    fn encode(&self) -> Result<String> {
        let json = serde_json::to_vec(self).map_err(|error| surprise("a token beyond JSON").with_source(error))?;
        Ok(BASE64.encode(json))
    }
}

impl S3Bucket {
    pub(super) async fn list_page(&self, options: ListOptions) -> Result<ListPage> {
        let ListOptions { prefix, delimiter, start_after, cursor, limit, include_http, include_custom } = options;
        let limit = rules::check_limit(limit)?;
        let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
        let cursor = cursor.as_deref().map(Cursor::decode).transpose()?;
        let mut action = self.exchange.bucket.list_objects_v2(Some(&self.exchange.credentials));
        action.with_max_keys(limit);
        if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
            action.with_prefix(prefix);
        }
        if let Some(delimiter) = &delimiter {
            action.with_delimiter(delimiter.clone());
        }
        // The larger of the two wins; within a group that is done, the group does.
        let is_group = |last: &str| delimiter.as_ref().is_some_and(|delimiter| last.ends_with(delimiter.as_str()));
        let done = |start: &str, last: &str| start <= last || (is_group(last) && start.starts_with(last));
        match (start_after, cursor) {
            (Some(start), Some(cursor)) if done(&start, &cursor.last) => action.with_continuation_token(cursor.token),
            (None, Some(cursor)) => action.with_continuation_token(cursor.token),
            (Some(start), _) => action.with_start_after(start),
            (None, None) => {}
        }
        let answer = self.exchange.send(Idempotency::Idempotent, action, &Vec::new(), Payload::Nothing).await?;
        let text = accepted_text(answer).await?;
        let answer = ListObjectsV2::parse_response(&text)
            .map_err(|error| surprise("no listing that can be read").with_source(error))?;
        let mut page = page(answer)?;
        if include_http || include_custom {
            page.objects = self.described_by_each(page.objects, include_http, include_custom).await?;
        }
        Ok(page)
    }

    /// Asks each object for its metadata; one that is gone meanwhile is left out.
    async fn described_by_each(
        &self,
        objects: Vec<ObjectMeta>,
        include_http: bool,
        include_custom: bool,
    ) -> Result<Vec<ObjectMeta>> {
        let metas = stream::iter(objects).map(|object| async move {
            // The listing may name what no request can: a key with a segment `..`, say.
            match self.head_object(&object.key, None).await {
                Err(error) if error.kind() == ErrorKind::InvalidKey => Ok(Some(object)),
                other => other,
            }
        });
        let metas: Vec<Option<ObjectMeta>> = metas.buffered(AT_ONCE).try_collect().await?;
        let selected = metas.into_iter().flatten().map(|mut meta| {
            if !include_http {
                meta.http = crate::HttpMetadata::default();
            }
            if !include_custom {
                meta.custom.clear();
            }
            meta
        });
        Ok(selected.collect())
    }
}

fn page(answer: ListObjectsV2Response) -> Result<ListPage> {
    let mut page = ListPage::default();
    for object in answer.contents {
        let etag = object.etag.ok_or_else(|| surprise("an object without an etag"))?;
        let size = object.size.ok_or_else(|| surprise("an object without its size"))?;
        let uploaded = object.last_modified.as_deref().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        let uploaded = uploaded.ok_or_else(|| surprise("an object without its time"))?.with_timezone(&Utc);
        let mut meta = described(Key::new(object.key)?, None, size, unquoted(&etag), uploaded);
        meta.storage_class = class(object.storage_class.as_deref());
        page.objects.push(meta);
    }
    page.prefixes = answer.common_prefixes.into_iter().map(|group| group.prefix).collect();
    if let Some(token) = answer.next_continuation_token {
        let last_object = page.objects.last().map(|object| object.key.as_str());
        let last = last_object.max(page.prefixes.last().map(String::as_str)).unwrap_or_default().to_owned();
        page.cursor = Some(Cursor { token, last }.encode()?);
    }
    Ok(page)
}
