//! The commands `isobar r2 object put` and `isobar r2 bulk put`.
//!
//! A regular file is opened and sent as it is: its size is known, and a store can take it in one piece
//! or in parts. Standard input, FIFOs and devices end when they end: 8 MiB are in memory, and more than
//! that becomes a multipart upload, whose object appears when the last part was stored. Broken off, an
//! object that was there is as it was.
//!
//! wrangler reads standard input into memory before it sends it, and sends no content type unless one
//! is named; here the key's extension decides, as it does in `sync` and `deploy`.
//!
//! `bulk put` checks the whole list before it stores the first object, so that a typo in its last line
//! changes nothing. A failure later ends it; objects before that stay, and it can be run again.

use std::error::Error;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use isobar_storage::sync::open_file;
use isobar_storage::{
    Error as StorageError, ErrorKind, HttpMetadata, Key, MultipartOptions, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutOptions, StorageClass,
};
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::{object, shown_type};
use crate::place::{Access, Place};
use crate::remote::Where;
use crate::sync::progress;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 object put assets/static/settings.html --file ./settings.html --content-type text/html
  generate | isobar r2 object put assets/data.json --pipe
  isobar r2 object put assets/news.html --file news.html --expires 'Wed, 21 Oct 2026 07:28:00 GMT'")]
pub(crate) struct Put {
    /// BUCKET/KEY
    object: String,
    /// The file, or - for standard input
    ///
    /// It may be a FIFO, as in --file <(command).
    #[arg(long, short, required_unless_present = "pipe", conflicts_with = "pipe")]
    file: Option<PathBuf>,
    /// Read standard input
    #[arg(long, short)]
    pipe: bool,
    #[command(flatten)]
    stored: Stored,
    #[command(flatten)]
    reach: Where,
}

/// Metadata of stored objects.
#[derive(Debug, Args)]
struct Stored {
    /// Content-Type; by default derived from the key's extension
    ///
    /// An unknown extension gives none.
    #[arg(long, visible_alias = "ct")]
    content_type: Option<String>,
    /// Content-Disposition
    #[arg(long, visible_alias = "cd")]
    content_disposition: Option<String>,
    /// Content-Encoding
    #[arg(long, visible_alias = "ce")]
    content_encoding: Option<String>,
    /// Content-Language
    #[arg(long, visible_alias = "cl")]
    content_language: Option<String>,
    /// Cache-Control
    ///
    /// For example 'public, max-age=3600'. It is sent with the object, and outranks the defaults of a
    /// site.
    #[arg(long, visible_alias = "cc")]
    cache_control: Option<String>,
    /// Expires: an HTTP date, an RFC 3339 date, or milliseconds since 1970
    #[arg(long, value_parser = expiry)]
    expires: Option<DateTime<Utc>>,
    /// Storage class
    ///
    /// A local bucket notes it, and stores both alike.
    #[arg(long, short, value_parser = ["Standard", "InfrequentAccess"], default_value = "Standard")]
    storage_class: String,
    /// Ignored: this command never asks for confirmation
    #[arg(long, short = 'y', visible_alias = "yes")]
    force: bool,
}

impl Stored {
    /// Returns the metadata of HTTP. An absent option is an absent header, and not one of the object
    /// that was there.
    fn http(&self) -> HttpMetadata {
        let mut http = HttpMetadata::default();
        http.content_type.clone_from(&self.content_type);
        http.content_disposition.clone_from(&self.content_disposition);
        http.content_encoding.clone_from(&self.content_encoding);
        http.content_language.clone_from(&self.content_language);
        http.cache_control.clone_from(&self.cache_control);
        http.cache_expiry = self.expires;
        http
    }

    /// Returns the storage class; clap lets only the two names through.
    fn class(&self) -> StorageClass {
        if self.storage_class == "Standard" { StorageClass::Standard } else { StorageClass::InfrequentAccess }
    }

    /// Stores a file. Reads a special file to its end, as for `--file <(command)`.
    ///
    /// # Errors
    /// There is no such file, it is a folder, or it cannot be read; those of the store.
    async fn put(&self, store: &dyn ObjectStore, key: &Key, file: &Path) -> Result<ObjectMeta, Box<dyn Error>> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no file {}", file.display()),
            _ => format!("cannot read {}: {error}", file.display()),
        };
        let meta = std::fs::metadata(file).map_err(failed)?;
        if meta.is_dir() {
            let hint = "isobar r2 sync takes folders";
            return Err(format!("{} is a folder, not a file; {hint}", file.display()).into());
        }
        if !meta.is_file() {
            let stream = tokio::fs::File::open(file).await.map_err(failed)?;
            return self.put_stream(store, key, stream).await;
        }
        let options = PutOptions::default().with_http(self.http()).with_storage_class(self.class());
        let put = store.write_with(key, open_file(file).await?, options).await?;
        Ok(put.stored().ok_or("the object was not stored")?)
    }

    /// Stores a stream of unknown length, of at most 78 GiB (10,000 parts).
    ///
    /// # Errors
    /// An input that fails, and then no object has changed; those of the store.
    async fn put_stream(
        &self,
        store: &dyn ObjectStore,
        key: &Key,
        stream: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<ObjectMeta, Box<dyn Error>> {
        let options = MultipartOptions::default().with_http(self.http()).with_storage_class(self.class());
        Ok(store.write_stream(key, chunks(stream), options).await?)
    }
}

impl Put {
    /// Stores one object, and prints its size and type.
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        // A missing file must not create a bucket.
        let file = self.file.as_deref().filter(|file| *file != Path::new("-"));
        if let Some(file) = file.filter(|file| !file.exists()) {
            return Err(format!("there is no file {}", file.display()).into());
        }
        let (store, key) = object(place, &self.object, &self.reach, Access::Write).await?;
        let meta = match file {
            Some(file) => self.stored.put(&*store, &key, file).await?,
            None => self.stored.put_stream(&*store, &key, tokio::io::stdin()).await?,
        };
        say!("put {} ({}, {})", self.object, indicatif::HumanBytes(meta.size), shown_type(&meta));
        Ok(())
    }
}

/// Reads in pieces of 64 KiB. An error of the input becomes one of the body, so that the upload is
/// given up.
fn chunks(stream: impl AsyncRead + Send + Unpin + 'static) -> BoxStream<'static, isobar_storage::Result<Bytes>> {
    let failed = |error: std::io::Error| StorageError::new(ErrorKind::Body, format!("cannot read the input: {error}"));
    ReaderStream::with_capacity(stream, 1 << 16).map_err(failed).boxed()
}

/// Reads a date of HTTP (RFC 9110), one of RFC 3339, or milliseconds since 1970, which are wrangler's.
fn expiry(text: &str) -> Result<DateTime<Utc>, String> {
    let milliseconds = || text.parse().ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    let of_http = || DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc());
    let of_rfc3339 = || DateTime::parse_from_rfc3339(text).ok().map(|date| date.to_utc());
    milliseconds().or_else(of_http).or_else(of_rfc3339).ok_or_else(|| {
        format!(
            "{text:?} is not a date: use Wed, 21 Oct 2026 07:28:00 GMT, 2026-10-21T07:28:00Z or milliseconds since 1970"
        )
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bulk {
    /// Store many files as objects, by a list in JSON
    Put(BulkPut),
}

#[derive(Debug, Args)]
#[command(after_help = "The list is JSON, with the key and the file of each object: \
[{\"key\": \"static/a.css\", \"file\": \"./a.css\"}, ...]

Examples:
  isobar r2 bulk put assets --filename list.json --cache-control 'max-age=3600'")]
pub(crate) struct BulkPut {
    /// BUCKET
    bucket: String,
    /// The list of files, in JSON
    ///
    /// Paths are relative to the current folder.
    #[arg(long, short, value_name = "FILE")]
    filename: PathBuf,
    /// Number of concurrent transfers
    ///
    /// Many small files over a slow connection gain by more.
    #[arg(long, default_value_t = 20)]
    concurrency: usize,
    #[command(flatten)]
    stored: Stored,
    #[command(flatten)]
    reach: Where,
}

/// An entry of the list.
#[derive(Debug, Deserialize)]
struct Entry {
    key: String,
    file: PathBuf,
}

impl BulkPut {
    /// Stores the files of a list.
    ///
    /// # Errors
    /// A list that cannot be read, or an entry whose key is invalid or whose file is missing or not a
    /// regular one: then nothing was stored. Later, the first failure, with the file's name.
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        let shown = self.filename.display();
        let text = std::fs::read_to_string(&self.filename).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no file {shown}"),
            _ => format!("cannot read {shown}: {error}"),
        })?;
        let entries: Vec<Entry> = serde_json::from_str(&text)
            .map_err(|error| format!("{shown} is not a list of objects with \"key\" and \"file\": {error}"))?;
        // Check all entries before storing any.
        let mut bytes = 0;
        let mut checked = Vec::new();
        for (number, Entry { key, file }) in (1..).zip(entries) {
            let key = Key::new(&key).map_err(|error| format!("{shown}, entry {number}: {error}"))?;
            match std::fs::metadata(&file) {
                Ok(meta) if meta.is_file() => bytes += meta.len(),
                Ok(_) => return Err(format!("{shown}, entry {number}: {} is not a file", file.display()).into()),
                Err(_) => return Err(format!("{shown}, entry {number}: there is no file {}", file.display()).into()),
            }
            checked.push((key, file));
        }
        let store = place.store(&self.bucket, &self.reach, Access::Write).await?;
        let bar = progress(bytes);
        let mut puts = stream::iter(checked.iter().map(async |(key, file)| {
            let put = self.stored.put(&*store, key, file).await;
            put.map_err(|error| format!("{}: {error}", file.display()))
        }))
        .buffer_unordered(self.concurrency.max(1));
        let mut count = 0;
        while let Some(meta) = puts.try_next().await? {
            count += 1;
            bar.set_message(meta.key.to_string());
            bar.inc(meta.size);
        }
        bar.finish_and_clear();
        say!("put {count} objects into {} ({})", self.bucket, indicatif::HumanBytes(bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::expiry;

    #[test]
    fn expiries_are_dates_of_http_of_rfc_3339_or_milliseconds() {
        let shown = |text: &str| expiry(text).expect("the date is valid").to_rfc3339();
        for text in
            ["Wed, 21 Oct 2026 07:28:00 GMT", "2026-10-21T07:28:00Z", "2026-10-21T09:28:00+02:00", "1792567680000"]
        {
            assert_eq!(shown(text), "2026-10-21T07:28:00+00:00", "{text}");
        }
        assert!(expiry("tomorrow").is_err() && expiry("").is_err());
    }
}
