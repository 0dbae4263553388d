//! The command `isobar r2`.
//!
//! | module | commands |
//! |---|---|
//! | here | `object head`, `delete`, `list`, `copy` |
//! | `put`, `get` | `object put` and `get`, `bulk put` |
//! | `bucket` | `bucket list`, `info`, `create`, `delete` |
//! | `sync` | `sync` |
//! | `presign`, `fsck` | `presign`, `fsck` |
//!
//! An object is named as in wrangler, `BUCKET/KEY`: the first slash divides, so that a key may begin
//! with one. BUCKET is a name or a binding. All of it works on an `ObjectStore`, whether local or the
//! account's.
//!
//! A server may have the bucket open meanwhile: what a command has written is durable when it returns,
//! and the server sees it with its next request; what it serves from its cache changes within the
//! cache's freshness.
//!
//! # Differences from wrangler
//!
//! - wrangler has no `head`, `list`, `copy`, `sync`, `presign`, `fsck` and no `bucket` commands for
//!   this machine.
//! - A local bucket is created by the first `put`, with a note if it is not configured; wrangler
//!   creates it silently.
//! - A missing object ends `get` and `head` with 1. `delete` succeeds for one, as in wrangler and R2.

mod bucket;
mod fsck;
mod get;
mod presign;
mod put;
mod sync;

use std::error::Error;
use std::sync::Arc;

use clap::{Args, Subcommand};
use isobar_storage::{
    Conditions, CopyOptions, ErrorKind, GetOptions, Key, ListOptions, ObjectMeta, ObjectStore, PutOptions, PutResult,
};
use serde_json::json;

use crate::place::{Access, Place};
use crate::remote::Where;
use crate::{Outcome, say, table};
use bucket::Bucket;
use fsck::Fsck;
use get::Get;
use presign::Presign;
use put::{Bulk, Put};
use sync::Sync;

#[derive(Debug, Subcommand)]
pub(crate) enum R2 {
    /// Manage single objects
    #[command(subcommand)]
    Object(Object),
    /// Manage buckets
    #[command(subcommand)]
    Bucket(Bucket),
    /// Manage many objects at once
    #[command(subcommand)]
    Bulk(Bulk),
    /// Sync a folder and a bucket in either direction, or two buckets: copies only changes
    Sync(Sync),
    /// Create a URL that permits its bearer to read or write one object for a limited time
    Presign(Presign),
    /// Check and repair a bucket: bodies, checksums, leftovers of crashes
    Fsck(Fsck),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Object {
    /// Store a file, or standard input, as an object
    Put(Put),
    /// Write an object to a file or to standard output
    Get(Get),
    /// Show an object's metadata
    Head(Head),
    /// Delete an object
    Delete(Delete),
    /// List objects
    List(List),
    /// Copy or move an object
    Copy(Copy),
}

#[derive(Debug, Args)]
pub(crate) struct Head {
    /// BUCKET/KEY
    object: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 object copy assets/static/a.html assets/static/b.html
  isobar r2 object copy assets/draft.html site/index.html --move --no-overwrite")]
pub(crate) struct Copy {
    /// BUCKET/KEY
    from: String,
    /// BUCKET/KEY
    to: String,
    /// Delete the source afterwards
    ///
    /// It is deleted when the target is durable; broken off in between, both exist.
    #[arg(long)]
    r#move: bool,
    /// Fail if the target exists
    ///
    /// The store decides it, so that of two commands at once one fails.
    #[arg(long)]
    no_overwrite: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// BUCKET/KEY
    object: String,
    /// Ignored: this command never asks for confirmation
    #[arg(long, short = 'y', visible_alias = "yes")]
    force: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 object list assets --prefix static/
  isobar r2 object list assets --delimiter /")]
pub(crate) struct List {
    /// BUCKET
    bucket: String,
    /// Only keys with this prefix
    #[arg(long)]
    prefix: Option<String>,
    /// Group keys at this delimiter
    ///
    /// With / the list is that of a folder: keys below a further slash appear as one line.
    #[arg(long)]
    delimiter: Option<String>,
    /// Print JSON
    ///
    /// Names are those of R2's binding: objects with httpMetadata and customMetadata, and
    /// delimitedPrefixes.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

impl R2 {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::Object(Object::Put(put)) => put.run(place).await,
            Self::Object(Object::Get(get)) => get.run(place).await,
            Self::Object(Object::Head(head)) => head.run(place).await,
            Self::Object(Object::Delete(delete)) => delete.run(place).await,
            Self::Object(Object::List(list)) => list.run(place).await,
            Self::Object(Object::Copy(copy)) => copy.run(place).await,
            Self::Bucket(bucket) => bucket.run(place).await,
            Self::Bulk(Bulk::Put(put)) => put.run(place).await,
            Self::Sync(sync) => sync.run(place).await,
            Self::Presign(presign) => presign.run(place).await,
            Self::Fsck(fsck) => fsck.run(place).await,
        }
    }
}

impl Head {
    /// Prints an object's metadata, without what is not set. Its body is not read.
    ///
    /// # Errors
    /// A key that is not there; those of opening the bucket.
    async fn run(self, place: &Place) -> Outcome {
        let (store, key) = object(place, &self.object, &self.reach, Access::Look).await?;
        let meta = store.head(&key).await?.ok_or_else(|| format!("there is no object {}", self.object))?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&shown(&meta))?);
            return Ok(());
        }
        let rows = [
            ("key", meta.key.to_string()),
            ("size", meta.size.to_string()),
            ("etag", meta.etag.clone()),
            ("uploaded", meta.uploaded.to_rfc3339()),
            ("content type", shown_type(&meta).to_owned()),
            ("cache control", meta.http.cache_control.clone().unwrap_or_default()),
            ("expires", meta.http.cache_expiry.map(|expiry| expiry.to_rfc3339()).unwrap_or_default()),
            ("storage class", format!("{:?}", meta.storage_class)),
        ];
        let custom = meta.custom.iter().map(|(name, value)| (name.as_str(), value.clone()));
        for (name, value) in rows.into_iter().chain(custom).filter(|(_, value)| !value.is_empty()) {
            say!("{name:14} {value}");
        }
        Ok(())
    }
}

impl Delete {
    /// Deletes an object. One that is not there is no error, as on R2.
    async fn run(self, place: &Place) -> Outcome {
        let (store, key) = object(place, &self.object, &self.reach, Access::Look).await?;
        store.delete(&[key]).await?;
        say!("deleted {}", self.object);
        Ok(())
    }
}

impl List {
    /// Prints all objects, in byte order of their keys, after the groups. All pages are in memory
    /// before the first line, as the widths of columns and the brackets of JSON need: about half a KiB
    /// for each object.
    async fn run(self, place: &Place) -> Outcome {
        let store = place.store(&self.bucket, &self.reach, Access::Look).await?;
        let mut options = ListOptions::default().with_metadata();
        options.prefix = self.prefix;
        options.delimiter = self.delimiter;
        let mut objects = Vec::new();
        let mut prefixes = Vec::new();
        loop {
            let page = store.list(options.clone()).await?;
            objects.extend(page.objects);
            prefixes.extend(page.prefixes);
            match page.cursor {
                Some(cursor) => options = options.with_cursor(cursor),
                None => break,
            }
        }
        if self.json {
            let objects: Vec<_> = objects.iter().map(shown).collect();
            say!("{}", serde_json::to_string_pretty(&json!({"objects": objects, "delimitedPrefixes": prefixes}))?);
            return Ok(());
        }
        let groups = prefixes.into_iter().map(|prefix| vec![prefix]);
        let rows: Vec<_> = groups
            .chain(objects.iter().map(|meta| {
                let uploaded = meta.uploaded.format("%Y-%m-%d %H:%M:%S").to_string();
                vec![meta.key.to_string(), meta.size.to_string(), shown_type(meta).to_owned(), uploaded]
            }))
            .collect();
        table::print(&["KEY", "SIZE", "TYPE", "UPLOADED"].map(str::to_owned), &rows)
    }
}

impl Copy {
    /// Copies an object with its metadata, within a bucket or between two.
    ///
    /// Within a bucket the store copies, which R2 and others do without sending the body. Between
    /// buckets the body streams through this process.
    ///
    /// # Errors
    /// The source is not there; both are the same object; the target exists and `--no-overwrite` was
    /// given. Then nothing has changed.
    async fn run(self, place: &Place) -> Outcome {
        let (store, from) = object(place, &self.from, &self.reach, Access::Look).await?;
        let bucket = place.bucket_folder(bucket_of(&self.from))?;
        let other = place.bucket_folder(bucket_of(&self.to))?;
        // Copying a missing object must not create a bucket.
        if store.head(&from).await?.is_none() {
            return Err(format!("there is no object {}", self.from).into());
        }
        let (target, to) = object(place, &self.to, &self.reach, Access::Write).await?;
        if bucket == other && from == to {
            return Err(format!("{} and {} are the same object", self.from, self.to).into());
        }
        let conditions = self.no_overwrite.then(Conditions::create_only);
        let copied = if bucket == other {
            let mut options = CopyOptions::default();
            options.conditions = conditions;
            store.copy(&from, &to, options).await?
        } else {
            match store.get(&from, GetOptions::default()).await?.into_object() {
                None => None,
                Some((meta, body)) => {
                    let mut options = PutOptions::default().with_http(meta.http).with_storage_class(meta.storage_class);
                    options.custom = meta.custom;
                    options.conditions = conditions;
                    Some(target.put(&to, body, options).await?)
                }
            }
        };
        match copied {
            None => return Err(format!("there is no object {}", self.from).into()),
            Some(PutResult::ConditionFailed) => return Err(format!("{} already exists", self.to).into()),
            Some(PutResult::Stored(_)) => {}
        }
        if self.r#move {
            store.delete(&[from]).await?;
        }
        say!("{} {} to {}", if self.r#move { "moved" } else { "copied" }, self.from, self.to);
        Ok(())
    }
}

/// The part before the first slash: two names that stand for one folder are one bucket, so that it is
/// the folders that are compared.
fn bucket_of(object: &str) -> &str {
    object.split('/').next().unwrap_or_default()
}

/// Parses BUCKET/KEY and opens the bucket.
///
/// # Errors
/// A text without a slash, a key that R2 would refuse (empty, longer than 1,024 bytes); those of
/// opening the bucket.
async fn object(
    place: &Place,
    object: &str,
    reach: &Where,
    access: Access,
) -> Result<(Arc<dyn ObjectStore>, Key), Box<dyn Error>> {
    let (bucket, key) = object.split_once('/').ok_or_else(|| format!("{object:?} is not BUCKET/KEY"))?;
    let key = Key::new(key).map_err(|error| match error.kind() {
        ErrorKind::InvalidKey if key.is_empty() => format!("{object:?} is not BUCKET/KEY: the key is missing"),
        _ => error.to_string(),
    })?;
    Ok((place.store(bucket, reach, access).await?, key))
}

/// An object as JSON, in the names of R2's binding.
fn shown(meta: &ObjectMeta) -> serde_json::Value {
    json!({
        "key": meta.key.as_str(), "size": meta.size, "etag": meta.etag, "version": meta.version, "uploaded": meta.uploaded,
        "httpMetadata": meta.http, "customMetadata": meta.custom, "storageClass": meta.storage_class,
    })
}

/// The content type, or words for none.
fn shown_type(meta: &ObjectMeta) -> &str {
    meta.http.content_type.as_deref().unwrap_or("no content type")
}
