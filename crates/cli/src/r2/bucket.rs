//! The command `isobar r2 bucket`.
//!
//! A local bucket is a folder below `r2` in the root. It needs no entry in the configuration; an entry
//! gives it a binding, by which a Worker and the commands know it. `list` therefore merges both:
//! `here`, and `not used yet` for one that is configured alone.
//!
//! wrangler's commands of these names know the account's buckets alone, and so `--remote` is what they
//! do.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use indicatif::HumanBytes;
use isobar_storage::local::{LocalStore, Removal};
use isobar_storage::{ListOptions, ObjectStoreExt};
use serde_json::json;

use crate::place::{Access, Place, is_here};
use crate::remote::{self, Where};
use crate::{Outcome, say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Bucket {
    /// List local and configured buckets
    List(List),
    /// Count a bucket's objects and bytes
    Info(Info),
    /// Create a bucket
    Create(Create),
    /// Delete an empty bucket
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 bucket create assets
  isobar r2 bucket create assets --remote")]
pub(crate) struct Create {
    /// Name of the bucket
    name: String,
    /// Default storage class of its objects; for a bucket of the account only
    ///
    /// InfrequentAccess stores for less and bills for each read.
    #[arg(long, short, value_parser = ["Standard", "InfrequentAccess"])]
    storage_class: Option<String>,
    /// Location of a bucket of the account: weur, eeur, apac, wnam, enam, oc
    ///
    /// It is a hint, and cannot be changed later.
    #[arg(long, value_name = "HINT")]
    location: Option<String>,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// BUCKET
    bucket: String,
    /// Ignored: this command never asks for confirmation
    #[arg(long, short = 'y', visible_alias = "yes")]
    force: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 bucket info STORAGE
  isobar r2 bucket info assets --prefix media/ --json")]
pub(crate) struct Info {
    /// BUCKET
    bucket: String,
    /// Only keys with this prefix
    #[arg(long)]
    prefix: Option<String>,
    /// Print JSON
    ///
    /// Sizes are in bytes; "extensions" has the number and size of objects by the last part of their
    /// names.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

impl Bucket {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::List(list) => list.run(place).await,
            Self::Info(info) => info.run(place).await,
            Self::Create(create) => create.run(place).await,
            Self::Delete(delete) => delete.run(place).await,
        }
    }
}

impl Create {
    /// Creates an empty bucket.
    ///
    /// # Errors
    /// The name is taken, or has characters that a folder's name may not have here; on the account,
    /// those that R2 refuses.
    async fn run(self, place: &Place) -> Outcome {
        let name = &self.name;
        if self.reach.is_remote() {
            remote::create(name, self.storage_class.as_deref(), self.location.as_deref(), &self.reach).await?;
        } else {
            if place.is_here(name)? {
                return Err(format!("the bucket {name} already exists").into());
            }
            if self.storage_class.as_deref() == Some("InfrequentAccess") || self.location.is_some() {
                eprintln!("note: a local bucket has neither a location nor a default storage class");
            }
            place.create_bucket(name).await?;
        }
        say!("created the bucket {name}");
        Ok(())
    }
}

impl Delete {
    /// Deletes an empty bucket.
    ///
    /// # Errors
    /// It is not there; it has objects; a process has it open, such as a server; it has salvaged parts
    /// of damaged objects in its folder `lost`, which a repair has put there and which are somebody's
    /// data.
    async fn run(self, place: &Place) -> Outcome {
        let name = &self.bucket;
        if self.reach.is_remote() {
            remote::delete(&place.remote_name(name)?, &self.reach).await?;
        } else {
            let folder = place.bucket_folder(name)?;
            if !is_here(&folder) {
                return Err(place.no_bucket(name)?.into());
            }
            match LocalStore::remove(&folder).await? {
                Removal::HasObjects => {
                    return Err(format!("the bucket {name} is not empty: delete its objects first").into());
                }
                Removal::HasRemains => {
                    let lost = folder.join("lost");
                    let lost = lost.display();
                    return Err(format!(
                        "the bucket {name} has salvaged parts of damaged objects in {lost}: move them away first"
                    )
                    .into());
                }
                _ => {}
            }
        }
        say!("deleted the bucket {name}");
        Ok(())
    }
}

impl List {
    async fn run(self, place: &Place) -> Outcome {
        if self.reach.is_remote() {
            return self.remote().await;
        }
        let buckets = place.buckets()?;
        if self.json {
            let shown: Vec<_> = buckets
                .iter()
                .map(|(name, (binding, is_here))| json!({"name": name, "binding": binding, "created": is_here}))
                .collect();
            say!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(());
        }
        let rows: Vec<_> = buckets
            .into_iter()
            .map(|(name, (binding, is_here))| {
                vec![name, binding.unwrap_or_default(), if is_here { "here" } else { "not used yet" }.to_owned()]
            })
            .collect();
        table::print(&["BUCKET", "BINDING", "STATE"].map(str::to_owned), &rows)
    }

    /// Prints the account's buckets, with the time of their creation.
    async fn remote(self) -> Outcome {
        let buckets = remote::buckets(&self.reach).await?;
        if self.json {
            let shown: Vec<_> = buckets
                .iter()
                .map(|bucket| json!({"name": bucket.name, "creation_date": bucket.creation_date}))
                .collect();
            say!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(());
        }
        let rows: Vec<_> =
            buckets.into_iter().map(|bucket| vec![bucket.name, bucket.creation_date.unwrap_or_default()]).collect();
        table::print(&["BUCKET", "CREATED"].map(str::to_owned), &rows)
    }
}

impl Info {
    /// Counts objects and bytes, in total and by extension. Reads the listing of the bucket: 1,000
    /// objects for each request with `--remote`, each of which R2 bills as an operation of class A.
    async fn run(self, place: &Place) -> Outcome {
        let store = place.store(&self.bucket, &self.reach, Access::Existing).await?;
        let mut options = ListOptions::default();
        options.prefix = self.prefix;
        let mut objects = store.list_all(options);
        let mut count = 0u64;
        let mut bytes = 0u64;
        let mut newest = None;
        let mut kinds = BTreeMap::<String, (u64, u64)>::new();
        while let Some(meta) = objects.try_next().await? {
            count += 1;
            bytes += meta.size;
            newest = newest.max(Some(meta.uploaded));
            let name = meta.key.as_str().rsplit('/').next().unwrap_or_default();
            let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_lowercase();
            let kind = kinds.entry(extension).or_default();
            *kind = (kind.0 + 1, kind.1 + meta.size);
        }
        if self.json {
            let kinds: BTreeMap<_, _> = kinds
                .into_iter()
                .map(|(extension, (count, bytes))| (extension, json!({"objects": count, "bytes": bytes})))
                .collect();
            let shown = json!({"objects": count, "bytes": bytes, "newest": newest, "extensions": kinds});
            say!("{}", serde_json::to_string_pretty(&shown)?);
            return Ok(());
        }
        say!("{count} objects, {} ({bytes} bytes)", HumanBytes(bytes));
        if let Some(newest) = newest {
            say!("newest object: {}", newest.format("%Y-%m-%d %H:%M:%S"));
        }
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
        let shown = |name: String| if name.is_empty() { "none".to_owned() } else { name };
        let rows: Vec<_> = kinds
            .into_iter()
            .map(|(extension, (count, bytes))| vec![shown(extension), count.to_string(), bytes.to_string()])
            .collect();
        if rows.is_empty() {
            Ok(())
        } else {
            table::print(&["EXTENSION", "OBJECTS", "BYTES"].map(str::to_owned), &rows)
        }
    }
}
