//! The bytes of an upload, received alike for forms, raw bodies and resumable uploads.
//!
//! At most one part is held in memory; a longer upload is stored part by part, and hashed on the way. Its type is checked by the
//! first bytes, before anything is stored.

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{Stream, StreamExt};
use http::StatusCode;
use isobar_storage::{ErrorKind, HttpMetadata, MultipartOptions, ObjectMeta, PutOptions, UploadId};
use sha2::Digest;

use super::Media;
use super::kind::{HEAD_BYTES, SIGNATURE_BYTES, dimensions};
use super::upload_journal::{PART_BYTES, Upload};
use crate::{BodyMemory, Problem};

/// Interval at which the lock is renewed.
const RENEWED: TimeDelta = TimeDelta::seconds(20);

/// An error of a body's source.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Progress of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// It is complete, and a row of `images`.
    Whole,
    /// The number of durable bytes.
    Part(u64),
}

impl Media {
    /// Receives an upload to the end of the stream. One that cannot be resumed is then complete, or fails. The bytes in memory, a
    /// part at most, are counted in `memory`.
    pub(super) async fn take(
        &self,
        mut upload: Upload,
        chunks: impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
        resumable: bool,
        memory: Option<BodyMemory>,
    ) -> Result<Received, Problem> {
        let hold = |bytes: usize| memory.as_ref().map_or(Ok(()), |memory| memory.hold(bytes));
        let taken = match self.take_in(&mut upload, chunks, resumable, &hold).await {
            Ok(received) => hold(0).map(|()| received),
            failed => failed,
        };
        if let Err(problem) = &taken {
            // An invalid medium stays invalid; an interrupted upload can be resumed.
            let is_hopeless = [StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::UNPROCESSABLE_ENTITY];
            let cleared = match resumable && !is_hopeless.contains(&problem.status()) {
                true => self.release(&upload).await,
                false => self.discard(&upload).await,
            };
            if let Err(error) = cleared {
                tracing::warn!(?error, "a failed upload is left to the sweep");
            }
        }
        taken
    }

    async fn take_in(
        &self,
        upload: &mut Upload,
        mut chunks: impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin,
        resumable: bool,
        hold: &(impl Fn(usize) -> Result<(), Problem> + Sync),
    ) -> Result<Received, Problem> {
        let tail_bytes = usize::try_from(upload.tail_bytes()).unwrap_or(usize::MAX);
        hold(tail_bytes)?;
        let mut buffer = BytesMut::from(&*self.tail(upload).await?);
        let mut broken = None;
        let mut refused = None;
        let mut renewed = Utc::now();
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            };
            if let Err(problem) = hold(buffer.len() + chunk.len()) {
                // The earlier bytes are kept, as after a broken connection: the client resumes behind them.
                refused = Some(problem);
                break;
            }
            buffer.extend_from_slice(&chunk);
            self.check_length(upload, whole_parts(upload) + buffer.len() as u64)?;
            // More than a part: the last one must not be empty.
            while buffer.len() as u64 > PART_BYTES {
                if upload.parts.is_empty() {
                    upload.named.check(&buffer)?;
                }
                let part = buffer.split_to(PART_BYTES as usize).freeze();
                self.part(upload, part, resumable).await?;
                renewed = Utc::now();
            }
            self.keep_lock(upload, &mut renewed).await?;
        }
        let total = whole_parts(upload) + buffer.len() as u64;
        // All announced bytes are there, however the connection ended.
        let ended = broken.is_none() && refused.is_none();
        if upload.size.map_or(ended && !resumable, |size| size == total) {
            self.finish(upload, buffer.freeze()).await?;
            return Ok(Received::Whole);
        }
        if let Some(problem) = refused.take_if(|_| !resumable) {
            return Err(problem);
        }
        if !resumable {
            let cause = broken.map(|error| format!(": {error}")).unwrap_or_default();
            return Err(Problem::bad_request(format!("the upload broke off after {total} bytes{cause}")));
        }
        self.suspend(upload, buffer.freeze()).await?;
        refused.map_or(Ok(Received::Part(total)), Err)
    }

    /// Stores the bytes behind the last whole part, and lets a later request resume the upload.
    async fn suspend(&self, upload: &mut Upload, rest: Bytes) -> Result<(), Problem> {
        if upload.parts.is_empty() && rest.len() >= SIGNATURE_BYTES {
            upload.named.check(&rest)?;
        }
        let total = whole_parts(upload) + rest.len() as u64;
        if total != upload.received {
            self.reserve(upload, total).await?; // a request that has lost the lock overwrites nothing
            self.put_tail(upload, rest).await?;
        }
        upload.received = total;
        self.save(upload, true).await
    }

    /// # Errors
    /// 413 when an upload has more bytes than it announced or the limit admits, 507 when it exceeds the tenant's free bytes.
    fn check_length(&self, upload: &Upload, bytes: u64) -> Result<(), Problem> {
        let limit = upload.size.unwrap_or(upload.limit);
        if bytes <= limit {
            return Ok(());
        }
        let is_quota = upload.size.is_none() && limit < self.options().max_bytes;
        Err(if is_quota { self.no_room() } else { self.too_large() })
    }

    async fn keep_lock(&self, upload: &Upload, renewed: &mut DateTime<Utc>) -> Result<(), Problem> {
        if Utc::now() - *renewed > RENEWED {
            self.renew(upload).await?;
            *renewed = Utc::now();
        }
        Ok(())
    }

    /// Stores a whole part.
    async fn part(&self, upload: &mut Upload, part: Bytes, resumable: bool) -> Result<(), Problem> {
        let multipart = match &upload.multipart {
            Some(multipart) => multipart.clone(),
            None => {
                let mut http = HttpMetadata::default();
                http.content_type = Some(upload.named.content_type.clone());
                let options = MultipartOptions::default().with_http(http);
                let multipart = self.store().create_multipart(&upload.key, options).await?;
                upload.multipart = Some(multipart.clone());
                // So that the sweep can abort it; what no row knows of is aborted here.
                if let Err(problem) = self.save(upload, false).await {
                    if let Err(error) = self.store().abort_multipart(&upload.key, &multipart).await {
                        tracing::warn!(%error, key = %upload.key, "a multipart upload without a row is left");
                    }
                    return Err(problem);
                }
                multipart
            }
        };
        let total = whole_parts(upload) + part.len() as u64;
        self.reserve(upload, total).await?;
        let number = u16::try_from(upload.parts.len() + 1).map_err(|_| self.too_large())?;
        let stored = self.store().upload_part(&upload.key, &multipart, number, part.clone().into()).await?;
        // Only now: what is kept of the hash goes with the parts that are kept.
        look_at(upload, &part);
        upload.parts.push(stored);
        if resumable {
            upload.received = whole_parts(upload);
            self.save(upload, false).await?;
        }
        Ok(())
    }

    /// Stores the last bytes, and the row.
    async fn finish(&self, upload: &mut Upload, last: Bytes) -> Result<(), Problem> {
        look_at(upload, &last);
        upload.named.check(&upload.head)?;
        let dimensions = dimensions(upload.named.kind, &upload.head)?;
        let total = whole_parts(upload) + last.len() as u64;
        self.reserve(upload, total).await?;
        let meta = match upload.multipart.clone() {
            None => {
                let options = PutOptions::default().with_content_type(&upload.named.content_type);
                let stored = self.store().put(&upload.key, last.into(), options).await?.stored();
                stored.ok_or_else(|| Problem::new(StatusCode::CONFLICT))?
            }
            Some(multipart) => self.complete(upload, &multipart, last).await?,
        };
        let sha256 = hex::encode(upload.hash.clone().finalize());
        self.keep(upload, &meta, sha256, dimensions).await
    }

    async fn complete(&self, upload: &Upload, multipart: &UploadId, last: Bytes) -> Result<ObjectMeta, Problem> {
        let number = u16::try_from(upload.parts.len() + 1).map_err(|_| self.too_large())?;
        let completed = async {
            let part = self.store().upload_part(&upload.key, multipart, number, last.into()).await?;
            let parts = upload.parts.iter().cloned().chain([part]).collect();
            self.store().complete_multipart(&upload.key, multipart, parts).await
        };
        match completed.await {
            Ok(meta) => Ok(meta),
            Err(error) if error.kind() == ErrorKind::NoSuchUpload => {
                // A request before this one has completed it, and broke off before it could say so.
                let meta = self.store().head(&upload.key).await?;
                meta.filter(|meta| Some(meta.size) == upload.size).ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Bytes in whole parts.
fn whole_parts(upload: &Upload) -> u64 {
    upload.parts.len() as u64 * PART_BYTES
}

fn look_at(upload: &mut Upload, bytes: &[u8]) {
    upload.hash.update(bytes);
    let room = HEAD_BYTES.saturating_sub(upload.head.len());
    upload.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
