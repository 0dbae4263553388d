//! Multipart uploads.
//!
//! R2's rules are the server's to check. Three things differ and are settled here: parts are sorted, as S3 wants them in the order of their
//! numbers; a number given twice and an upload without parts are refused before anything is sent; and an upload that S3 does not know counts
//! as aborted, since S3 does not say whether it ever was.
//!
//! The completion is sent once: it is not repeated when its answer is lost, as the second answer would be that there is no such upload. A
//! server may answer 200 and then an error in the body, which is read to its end for that.

use isobar_cloudflare::client::Idempotency;
use rusty_s3::actions::CreateMultipartUpload;
use serde::{Deserialize, Serialize};

use super::S3Bucket;
use super::exchange::{Payload, accepted, accepted_text};
use super::headers::{self, Headers, check_key, surprise, unquoted};
use crate::{Body, Error, ErrorKind, Key, MultipartOptions, ObjectMeta, Part, PartInfo, Result, UploadId, rules};

impl S3Bucket {
    pub(super) async fn create_upload(&self, key: &Key, options: MultipartOptions) -> Result<UploadId> {
        check_key(key)?;
        let MultipartOptions { http, custom, storage_class } = options;
        let headers = headers::stored_with(&http, &custom, storage_class)?;
        let action = self.exchange.bucket.create_multipart_upload(Some(&self.exchange.credentials), key.as_str());
        let answer = self.exchange.send(Idempotency::Once, action, &headers, Payload::Nothing).await?;
        let text = accepted_text(answer).await?;
        let created = CreateMultipartUpload::parse_response(&text)
            .map_err(|error| surprise("an upload without an id").with_source(error))?;
        Ok(UploadId::new(created.upload_id()))
    }

    pub(super) async fn store_part(&self, key: &Key, upload: &UploadId, number: u16, body: Body) -> Result<Part> {
        check_key(key)?;
        rules::check_part_number(number)?;
        rules::check_size(&body)?;
        let credentials = Some(&*self.exchange.credentials);
        let action = self.exchange.bucket.upload_part(credentials, key.as_str(), number, upload.as_str());
        let (payload, md5) = Payload::checked(body, None)?;
        let headers: Headers = md5.into_iter().collect();
        let answer = accepted(self.exchange.send(Idempotency::Idempotent, action, &headers, payload).await?).await?;
        let etag = headers::etag(answer.headers()).ok_or_else(|| surprise("a part without an etag"))?;
        Ok(Part { part_number: number, etag })
    }

    pub(super) async fn complete(&self, key: &Key, upload: &UploadId, mut parts: Vec<Part>) -> Result<ObjectMeta> {
        check_key(key)?;
        if parts.is_empty() {
            let message = "S3 makes no object out of no parts: put an empty one";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        // R2 judges small parts in the order given, S3 takes no order but that of the numbers.
        parts.sort_by_key(|part| part.part_number);
        if parts.windows(2).any(|pair| pair[0].part_number == pair[1].part_number) {
            return Err(Error::new(ErrorKind::Internal, "We encountered an internal error. Please try again."));
        }
        let body = parts_xml(&parts)?;
        let action = self.exchange.bucket.complete_multipart_upload(
            Some(&self.exchange.credentials),
            key.as_str(),
            upload.as_str(),
            std::iter::empty(),
        );
        let answer =
            self.exchange.send(Idempotency::Once, action, &Headers::new(), Payload::Bytes(body.into())).await?;
        let headers = answer.headers().clone();
        let text = accepted_text(answer).await?;
        let etag = super::exchange::parse::<Completed>(&text).map(|completed| unquoted(&completed.etag));
        let etag = etag.ok_or_else(|| surprise("a completed upload without an etag"))?;
        match self.head_object(key, Some(&etag)).await? {
            Some(meta) => Ok(meta),
            // Overwritten meanwhile, and the upload's size with it.
            None => self.stored(key, 0, etag, &headers).await,
        }
    }

    pub(super) async fn abort(&self, key: &Key, upload: &UploadId) -> Result<()> {
        check_key(key)?;
        let credentials = Some(&*self.exchange.credentials);
        let action = self.exchange.bucket.abort_multipart_upload(credentials, key.as_str(), upload.as_str());
        let answer = self.exchange.send(Idempotency::Idempotent, action, &Headers::new(), Payload::Nothing).await?;
        match accepted(answer).await {
            // Over, or never there: S3 does not say which, and both are gone.
            Err(error) if error.kind() != ErrorKind::NoSuchUpload => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) async fn stored_parts(&self, key: &Key, upload: &UploadId) -> Result<Vec<PartInfo>> {
        check_key(key)?;
        let mut parts = Vec::new();
        let mut after = None;
        loop {
            let credentials = Some(&*self.exchange.credentials);
            let mut action = self.exchange.bucket.list_parts(credentials, key.as_str(), upload.as_str());
            if let Some(after) = after {
                action.set_part_number_marker(after);
            }
            let answer = self.exchange.send(Idempotency::Idempotent, action, &Headers::new(), Payload::Nothing).await?;
            let page: PartsPage = super::exchange::parse(&accepted_text(answer).await?)
                .ok_or_else(|| surprise("no list of parts that can be read"))?;
            parts.extend(page.parts.into_iter().map(|part| {
                PartInfo::new(Part { part_number: part.part_number, etag: unquoted(&part.etag) }, part.size)
            }));
            match page.next_part_number_marker {
                Some(next) if page.is_truncated && after != Some(next) => after = Some(next),
                _ => return Ok(parts),
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PartsPage {
    #[serde(rename = "Part", default)]
    parts: Vec<ListedPart>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_part_number_marker: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedPart {
    part_number: u16,
    #[serde(rename = "ETag")]
    etag: String,
    size: u64,
}

#[derive(Deserialize)]
struct Completed {
    #[serde(rename = "ETag")]
    etag: String,
}

#[derive(Serialize)]
#[serde(rename = "CompleteMultipartUpload")]
struct Parts<'a> {
    #[serde(rename = "Part")]
    parts: Vec<PartXml<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PartXml<'a> {
    part_number: u16,
    #[serde(rename = "ETag")]
    etag: &'a str,
}

fn parts_xml(parts: &[Part]) -> Result<String> {
    let parts = parts.iter().map(|part| PartXml { part_number: part.part_number, etag: &part.etag }).collect();
    quick_xml::se::to_string(&Parts { parts }).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, "the parts have etags that are none").with_source(error)
    })
}
