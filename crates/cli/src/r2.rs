//! `isobar r2`.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use isobar_storage::local::LocalStore;
use isobar_storage::sync::{ApplyOptions, open_file, plan};
use isobar_storage::{
    Error as StorageError, ErrorKind, GetOptions, HttpMetadata, Key, ListOptions, MultipartOptions, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutOptions, StorageClass,
};
use serde_json::json;
use tokio_util::io::ReaderStream;

use crate::place::Place;
use crate::{Outcome, say, sync, table};

#[derive(Debug, Subcommand)]
pub(crate) enum R2 {
    /// Single objects
    #[command(subcommand)]
    Object(Object),
    /// Put a whole folder: only what changed, several files at once
    Sync(Sync),
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

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 sync ./static inneranimalmedia-assets/static
  isobar r2 sync ./static STORAGE/static --delete --dry-run")]
pub(crate) struct Sync {
    /// The folder
    folder: PathBuf,
    /// BUCKET, or BUCKET/PREFIX
    target: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Delete objects under the prefix that have no file
    #[arg(long)]
    delete: bool,
    /// Uploads at once
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
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
            Self::Sync(sync) => sync.run(place).await,
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

impl Sync {
    async fn run(self, place: &Place) -> Outcome {
        let (bucket, prefix) = self.target.split_once('/').unwrap_or((&self.target, ""));
        let prefix = match prefix.trim_end_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let store = place.bucket(bucket).await?;
        let plan = plan(&self.folder, &store, &prefix).await?;
        let summary = sync::Summary::of(&plan, self.delete, self.dry_run);
        if self.dry_run && !self.json {
            for upload in &plan.uploads {
                say!("put     {bucket}/{} ({})", upload.key, upload.content_type);
            }
            for key in plan.extra.iter().filter(|_| self.delete) {
                say!("delete  {bucket}/{key}");
            }
        }
        if !self.dry_run {
            let options = ApplyOptions::default().with_concurrency(self.concurrency).with_delete(self.delete);
            sync::apply_with_progress(&plan, &store, &options).await?;
        }
        if self.json {
            say!("{}", serde_json::to_string(&summary)?);
        } else {
            say!("{summary}");
        }
        Ok(())
    }
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
