//! `isobar r2`.

mod bucket;
mod fsck;
mod presign;
mod sync;

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use isobar_storage::local::LocalStore;
use isobar_storage::sync::open_file;
use isobar_storage::{
    Conditions, CopyOptions, Error as StorageError, ErrorKind, GetOptions, HttpMetadata, Key, ListOptions,
    MultipartOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutOptions, PutResult, StorageClass,
};
use serde_json::json;
use tokio_util::io::ReaderStream;

use crate::place::Place;
use crate::{Outcome, say, table};
use bucket::Bucket;
use fsck::Fsck;
use presign::Presign;
use sync::Sync;

#[derive(Debug, Subcommand)]
pub(crate) enum R2 {
    /// Single objects
    #[command(subcommand)]
    Object(Object),
    /// Buckets themselves
    #[command(subcommand)]
    Bucket(Bucket),
    /// Bring a folder into a bucket, or a bucket into a folder: only what changed, several at once
    Sync(Sync),
    /// Make a URL that lets its bearer read or write one object for a while
    Presign(Presign),
    /// Look a bucket over: bodies, checksums, leftovers
    Fsck(Fsck),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Object {
    /// Put a file, or standard input, as an object
    Put(Put),
    /// Get an object into a file, or to standard output
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
#[command(after_help = "Examples:
  isobar r2 object put assets/static/settings.html --file ./settings.html --content-type text/html
  generate | isobar r2 object put assets/data.json --pipe")]
pub(crate) struct Put {
    /// BUCKET/KEY
    object: String,
    /// The file
    #[arg(long, short, required_unless_present = "pipe", conflicts_with = "pipe")]
    file: Option<PathBuf>,
    /// Read standard input
    #[arg(long, short)]
    pipe: bool,
    /// Content-Type; by the key's extension when not given
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
    #[arg(long, visible_alias = "cc")]
    cache_control: Option<String>,
    /// Storage class
    #[arg(long, short, value_parser = ["Standard", "InfrequentAccess"], default_value = "Standard")]
    storage_class: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 object get assets/static/settings.html --file ./settings.html
  isobar r2 object get assets/data.json --pipe | jq .")]
pub(crate) struct Get {
    /// BUCKET/KEY
    object: String,
    /// The file; the key's last part when not given
    #[arg(long, short, conflicts_with = "pipe")]
    file: Option<PathBuf>,
    /// Write to standard output
    #[arg(long, short)]
    pipe: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Head {
    /// BUCKET/KEY
    object: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    /// Delete the first afterwards
    #[arg(long)]
    r#move: bool,
    /// Refuse where there is an object already
    #[arg(long)]
    no_overwrite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// BUCKET/KEY
    object: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 object list assets --prefix static/
  isobar r2 object list assets --delimiter /")]
pub(crate) struct List {
    /// BUCKET
    bucket: String,
    /// Only keys that start with this
    #[arg(long)]
    prefix: Option<String>,
    /// Group keys at this
    #[arg(long)]
    delimiter: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
            Self::Sync(sync) => sync.run(place).await,
            Self::Presign(presign) => presign.run(place).await,
            Self::Fsck(fsck) => fsck.run(place).await,
        }
    }
}

impl Put {
    async fn run(self, place: &Place) -> Outcome {
        let (store, key) = object(place, &self.object).await?;
        let mut http = HttpMetadata::default();
        http.content_type = self.content_type;
        http.content_disposition = self.content_disposition;
        http.content_encoding = self.content_encoding;
        http.content_language = self.content_language;
        http.cache_control = self.cache_control;
        let class =
            if self.storage_class == "Standard" { StorageClass::Standard } else { StorageClass::InfrequentAccess };
        let meta = match &self.file {
            Some(file) => {
                let options = PutOptions::default().with_http(http).with_storage_class(class);
                store
                    .write_with(&key, open_file(file).await?, options)
                    .await?
                    .stored()
                    .ok_or("the object was not stored")?
            }
            None => {
                let options = MultipartOptions::default().with_http(http).with_storage_class(class);
                store.write_stream(&key, standard_input(), options).await?
            }
        };
        say!("put {} ({}, {})", self.object, indicatif::HumanBytes(meta.size), shown_type(&meta));
        Ok(())
    }
}

impl Get {
    async fn run(self, place: &Place) -> Outcome {
        let (store, key) = object(place, &self.object).await?;
        let missing = || format!("there is no object {}", self.object);
        let (meta, body) = store.get(&key, GetOptions::default()).await?.into_object().ok_or_else(missing)?;
        let mut chunks = body.into_stream();
        if self.pipe {
            if std::io::stdout().is_terminal() && !shown_type(&meta).starts_with("text/") {
                return Err(
                    format!("{} is {}: pipe it somewhere, or use --file", self.object, shown_type(&meta)).into()
                );
            }
            let mut output = std::io::stdout().lock();
            while let Some(chunk) = chunks.try_next().await? {
                output.write_all(&chunk)?;
            }
            return Ok(output.flush()?);
        }
        let name = key.as_str().rsplit('/').next().unwrap_or_default();
        let path = self.file.unwrap_or_else(|| PathBuf::from(name));
        // Into a file beside it first: what is there stays whole if this breaks off.
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().permissions(new_file_mode()).tempfile_in(folder).map_err(failed)?;
        while let Some(chunk) = chunks.try_next().await? {
            file.write_all(&chunk).map_err(failed)?;
        }
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        say!("got {} ({}) into {}", self.object, indicatif::HumanBytes(meta.size), path.display());
        Ok(())
    }
}

impl Head {
    async fn run(self, place: &Place) -> Outcome {
        let (store, key) = object(place, &self.object).await?;
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
    async fn run(self, place: &Place) -> Outcome {
        let (store, key) = object(place, &self.object).await?;
        store.delete(&[key]).await?;
        say!("deleted {}", self.object);
        Ok(())
    }
}

impl List {
    async fn run(self, place: &Place) -> Outcome {
        let store = place.bucket(&self.bucket).await?;
        let mut options = ListOptions::default().with_metadata();
        (options.prefix, options.delimiter) = (self.prefix, self.delimiter);
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
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
    async fn run(self, place: &Place) -> Outcome {
        let (store, from) = existing_object(place, &self.from).await?;
        let (target, to) = object(place, &self.to).await?;
        let (bucket, other) = (place.bucket_folder(bucket_of(&self.from))?, place.bucket_folder(bucket_of(&self.to))?);
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
                    (options.custom, options.conditions) = (meta.custom, conditions);
                    Some(target.put(&to, body, options).await?)
                }
            }
        };
        match copied {
            None => return Err(format!("there is no object {}", self.from).into()),
            Some(PutResult::ConditionFailed) => return Err(format!("{} is there already", self.to).into()),
            Some(PutResult::Stored(_)) => {}
        }
        if self.r#move {
            store.delete(&[from]).await?;
        }
        say!("{} {} to {}", if self.r#move { "moved" } else { "copied" }, self.from, self.to);
        Ok(())
    }
}

fn bucket_of(object: &str) -> &str {
    object.split('/').next().unwrap_or_default()
}

fn standard_input() -> BoxStream<'static, isobar_storage::Result<Bytes>> {
    let failed =
        |error: std::io::Error| StorageError::new(ErrorKind::Body, format!("cannot read standard input: {error}"));
    ReaderStream::with_capacity(tokio::io::stdin(), 1 << 16).map_err(failed).boxed()
}

/// What any new file may be, less the user's umask: temporary files are private otherwise.
fn new_file_mode() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

/// An object of a bucket that is there.
async fn existing_object(place: &Place, object: &str) -> Result<(LocalStore, Key), Box<dyn Error>> {
    let (bucket, key) = object.split_once('/').ok_or_else(|| format!("{object:?} is not BUCKET/KEY"))?;
    Ok((place.existing_bucket(bucket).await?, Key::new(key)?))
}

async fn object(place: &Place, object: &str) -> Result<(LocalStore, Key), Box<dyn Error>> {
    let (bucket, key) = object.split_once('/').ok_or_else(|| format!("{object:?} is not BUCKET/KEY"))?;
    let key = Key::new(key).map_err(|error| match error.kind() {
        ErrorKind::InvalidKey if key.is_empty() => format!("{object:?} is not BUCKET/KEY: the key is missing"),
        _ => error.to_string(),
    })?;
    Ok((place.bucket(bucket).await?, key))
}

fn shown(meta: &ObjectMeta) -> serde_json::Value {
    json!({
        "key": meta.key.as_str(), "size": meta.size, "etag": meta.etag, "version": meta.version, "uploaded": meta.uploaded,
        "httpMetadata": meta.http, "customMetadata": meta.custom, "storageClass": meta.storage_class,
    })
}

fn shown_type(meta: &ObjectMeta) -> &str {
    meta.http.content_type.as_deref().unwrap_or("no content type")
}
