//! `put`, `delete`, `copy`.
//!
//! **put.** Bodies in memory are checked against the caller's checksum before they are sent; of a stream the last chunk is held back until
//! the checksum is right. With a condition a put is sent once, as a repetition could meet its own effect; without one it is repeated. The
//! answer to a put has no metadata, so it is asked for, bound to the etag: where that fails, what is known is returned, since the write has
//! been done.
//!
//! **delete.** One request for all keys, but for those that XML cannot name, which go one by one, 16 at a time. Keys that could not be
//! deleted are one error; the others are gone.
//!
//! **copy.** The condition on the source is S3's own; the one on the destination is an extension of R2's, by headers `cf-copy-destination-*`.

use chrono::Utc;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, StatusCode, header};
use isobar_cloudflare::client::Idempotency;
use rusty_s3::actions::{DeleteObjectsResponse, ObjectIdentifier};
use serde::Deserialize;

use super::S3Bucket;
use super::exchange::{Payload, accepted, accepted_text, refusal};
use super::headers::{self, Headers, check_key, described, surprise, unquoted};
use super::reading::{Judged, RACES, changing, if_match, one_etag};
use crate::key::url_path;
use crate::{
    Body, Conditions, CopyOptions, Error, ErrorKind, Etags, Key, ObjectMeta, PutOptions, PutResult, Result, rules,
};

/// Requests at a time, where one call takes several.
pub(super) const AT_ONCE: usize = 16;

impl S3Bucket {
    pub(super) async fn put_object(&self, key: &Key, body: Body, options: PutOptions) -> Result<PutResult> {
        check_key(key)?;
        let PutOptions { conditions, http, custom, checksum, storage_class } = options;
        rules::check_size(&body)?;
        let size = body.length();
        let mut stored = headers::stored_with(&http, &custom, storage_class)?;
        let (payload, md5) = Payload::checked(body, checksum)?;
        stored.extend(md5);
        let conditions = conditions.unwrap_or_default();
        if let Some(guard) = guard(&conditions) {
            stored.extend(guard);
            return self.put_guarded(key, size, &stored, payload).await;
        }
        let Payload::Bytes(bytes) = payload else {
            // A stream goes once: judged once.
            let Some(guard) = self.judged_guard(key, &conditions).await? else { return Ok(PutResult::ConditionFailed) };
            stored.push(guard);
            return match self.put_guarded(key, size, &stored, payload).await? {
                PutResult::ConditionFailed => Err(changing()),
                stored => Ok(stored),
            };
        };
        for _ in 0..RACES {
            let Some(guard) = self.judged_guard(key, &conditions).await? else { return Ok(PutResult::ConditionFailed) };
            let mut headers = stored.clone();
            headers.push(guard);
            match self.put_guarded(key, size, &headers, Payload::Bytes(bytes.clone())).await? {
                PutResult::ConditionFailed => {} // another write came between: judge again
                stored => return Ok(stored),
            }
        }
        Err(changing())
    }

    /// Returns the header that binds a write to the object as it is now, where the conditions hold for it.
    async fn judged_guard(&self, key: &Key, conditions: &Conditions) -> Result<Option<(String, String)>> {
        Ok(match self.judged(key, conditions).await? {
            Judged::Holds(meta) => Some(if_match(&meta.etag)),
            Judged::Missing if conditions.hold(None) => Some(("if-none-match".to_owned(), "*".to_owned())),
            Judged::Missing | Judged::Fails(_) => None,
        })
    }

    async fn put_guarded(&self, key: &Key, size: u64, headers: &Headers, payload: Payload) -> Result<PutResult> {
        let guarded = headers.iter().any(|(name, _)| matches!(name.as_str(), "if-match" | "if-none-match"));
        let idempotency = if guarded { Idempotency::Once } else { Idempotency::Idempotent };
        let action = self.exchange.bucket.put_object(Some(&self.exchange.credentials), key.as_str());
        let answer = self.exchange.send(idempotency, action, headers, payload).await?;
        if guarded && answer.status() == StatusCode::PRECONDITION_FAILED {
            return Ok(PutResult::ConditionFailed);
        }
        if guarded && answer.status() == StatusCode::NOT_FOUND {
            // AWS says so of If-Match on a missing object; of a missing bucket, too.
            let error = refusal(answer).await;
            return if error.code() == Some(10007) { Ok(PutResult::ConditionFailed) } else { Err(error) };
        }
        let answer = accepted(answer).await?;
        let etag = headers::etag(answer.headers()).ok_or_else(|| surprise("a stored object without an etag"))?;
        self.stored(key, size, etag, answer.headers()).await.map(PutResult::Stored)
    }

    /// The metadata of what has just been stored: S3's answer to a write does not tell it.
    pub(super) async fn stored(&self, key: &Key, size: u64, etag: String, headers: &HeaderMap) -> Result<ObjectMeta> {
        // The write has been answered: what fails now must not say otherwise.
        if let Ok(Some(meta)) = self.head_object(key, Some(&etag)).await {
            return Ok(meta);
        }
        let answered = headers::date(headers, &header::DATE).unwrap_or_else(Utc::now);
        Ok(described(key.clone(), headers::text(headers, "x-amz-version-id"), size, etag, answered))
    }

    pub(super) async fn delete_objects(&self, keys: &[Key]) -> Result<()> {
        rules::check_delete(keys)?;
        keys.iter().try_for_each(check_key)?;
        // XML has no words for most control characters: such keys, and one alone, go one by one.
        let (single, together): (Vec<&Key>, Vec<&Key>) =
            keys.iter().partition(|key| keys.len() == 1 || key.as_str().chars().any(is_beyond_xml));
        let deletions: Vec<_> = single.into_iter().map(|key| self.delete_one(key)).collect();
        stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        if together.is_empty() {
            return Ok(());
        }
        let objects: Vec<_> = together.iter().map(|key| ObjectIdentifier::new(key.as_str().to_owned())).collect();
        let mut action = self.exchange.bucket.delete_objects(Some(&self.exchange.credentials), objects.iter());
        action.set_quiet(true);
        let (body, md5) = action.clone().body_with_md5();
        let headers = vec![("content-md5".to_owned(), md5)];
        let answer = self.exchange.send(Idempotency::Idempotent, action, &headers, Payload::Bytes(body.into())).await?;
        let answer = DeleteObjectsResponse::parse(&accepted_text(answer).await?)
            .map_err(|error| surprise("no list of what it deleted").with_source(error))?;
        match answer.errors.first() {
            None => Ok(()),
            Some(error) => {
                let count = answer.errors.len();
                let message = format!("{count} of {} objects are still there: {error:?}", keys.len());
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    async fn delete_one(&self, key: &Key) -> Result<()> {
        let action = self.exchange.bucket.delete_object(Some(&self.exchange.credentials), key.as_str());
        let answer = self.exchange.send(Idempotency::Idempotent, action, &Vec::new(), Payload::Nothing).await?;
        match accepted(answer).await {
            Err(error) if error.code() != Some(10007) => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) async fn copy_object(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<Option<PutResult>> {
        check_key(from)?;
        check_key(to)?;
        let CopyOptions { source_conditions, conditions } = options;
        let source = format!("/{}/{}", self.name, from.as_str());
        let mut headers = vec![("x-amz-copy-source".to_owned(), url_path(&source).to_string())];
        headers.extend(self.destination(conditions.as_ref())?);
        let idempotency = if headers.len() > 1 { Idempotency::Once } else { Idempotency::Idempotent };
        for _ in 0..RACES {
            let mut headers = headers.clone();
            if let Some(conditions) = &source_conditions {
                match self.judged(from, conditions).await? {
                    Judged::Missing => return Ok(None),
                    Judged::Fails(_) => return Ok(Some(PutResult::ConditionFailed)),
                    Judged::Holds(meta) => {
                        headers.push(("x-amz-copy-source-if-match".to_owned(), meta.http_etag()));
                    }
                }
            }
            let action = self.exchange.bucket.put_object(Some(&self.exchange.credentials), to.as_str());
            let answer = self.exchange.send(idempotency, action, &headers, Payload::Nothing).await?;
            if answer.status() == StatusCode::PRECONDITION_FAILED {
                if source_conditions.is_some() && conditions.is_none() {
                    continue; // the source changed meanwhile: judge again
                }
                return Ok(Some(PutResult::ConditionFailed));
            }
            let date = answer.headers().clone();
            return match accepted_text(answer).await {
                Ok(text) => self.copied(to, &text, &date).await.map(Some),
                Err(error) if error.code() == Some(10007) => Ok(None),
                Err(error) => Err(error),
            };
        }
        Err(changing())
    }

    /// Conditions on the destination, in R2's own headers.
    fn destination(&self, conditions: Option<&Conditions>) -> Result<Headers> {
        let Some(conditions) = conditions.filter(|conditions| **conditions != Conditions::default()) else {
            return Ok(Headers::new());
        };
        let unsupported = |what: &str| Error::new(ErrorKind::Unsupported, what.to_owned());
        if !self.r2_extensions {
            return Err(unsupported("conditions on the destination of a copy are R2's own: this server is not R2"));
        }
        let guard = guard(conditions)
            .ok_or_else(|| unsupported("the destination of a copy takes one etag to match, or create-only"))?;
        Ok(guard.into_iter().map(|(name, value)| (format!("cf-copy-destination-{name}"), value)).collect())
    }

    async fn copied(&self, to: &Key, text: &str, headers: &HeaderMap) -> Result<PutResult> {
        #[derive(Deserialize)]
        struct CopyObjectResult {
            #[serde(rename = "ETag")]
            etag: String,
        }
        let result = super::exchange::parse::<CopyObjectResult>(text);
        let etag = result.map(|result| unquoted(&result.etag)).ok_or_else(|| surprise("a copy without an etag"))?;
        match self.head_object(to, Some(&etag)).await? {
            Some(meta) => Ok(PutResult::Stored(meta)),
            // Overwritten meanwhile, and the copy's size with it.
            None => self.stored(to, 0, etag, headers).await.map(PutResult::Stored),
        }
    }
}

/// The conditions as headers that S3 servers heed on a write: one strong etag that must be there, or none at all.
fn guard(conditions: &Conditions) -> Option<Headers> {
    let Conditions { etag_matches, etag_does_not_match, uploaded_before, uploaded_after, seconds: _ } = conditions;
    match (etag_matches, etag_does_not_match, uploaded_before, uploaded_after) {
        (None, None, None, None) => Some(Headers::new()),
        (None, Some(Etags::Any), None, None) => Some(vec![("if-none-match".to_owned(), "*".to_owned())]),
        (Some(etags), None, None, None) => Some(vec![("if-match".to_owned(), one_etag(etags)?)]),
        _ => None,
    }
}

/// XML 1.0 cannot name it, or its readers change it.
fn is_beyond_xml(char: char) -> bool {
    char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}')
}
