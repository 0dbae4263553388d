//! `isobar r2 bucket`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt;
use indicatif::HumanBytes;
use isobar_storage::{ListOptions, ObjectStoreExt};
use serde_json::json;

use crate::place::Place;
use crate::{Outcome, say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Bucket {
    /// List the buckets that are here, or in the configuration
    List(List),
    /// Count a bucket's objects and bytes
    Info(Info),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  isobar r2 bucket info STORAGE
  isobar r2 bucket info assets --prefix media/ --json")]
pub(crate) struct Info {
    /// BUCKET
    bucket: String,
    /// Only keys that start with this
    #[arg(long)]
    prefix: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Bucket {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match self {
            Self::List(list) => list.run(place),
            Self::Info(info) => info.run(place).await,
        }
    }
}

impl List {
    fn run(self, place: &Place) -> Outcome {
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
}

impl Info {
    async fn run(self, place: &Place) -> Outcome {
        let store = place.existing_bucket(&self.bucket).await?;
        let mut options = ListOptions::default();
        options.prefix = self.prefix;
        let mut objects = store.list_all(options);
        let (mut count, mut bytes, mut newest, mut kinds) = (0u64, 0u64, None, BTreeMap::<String, (u64, u64)>::new());
        while let Some(meta) = objects.try_next().await? {
            (count, bytes, newest) = (count + 1, bytes + meta.size, newest.max(Some(meta.uploaded)));
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
            say!("the newest is of {}", newest.format("%Y-%m-%d %H:%M:%S"));
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
