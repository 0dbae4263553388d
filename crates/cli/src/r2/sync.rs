//! `isobar r2 sync`: a folder and a bucket, either way.

use std::path::Path;

use clap::Args;
use isobar_site::deploy::FOLDER;
use isobar_storage::sync::{ApplyOptions, plan, plan_down};
use isobar_storage::{Key, ObjectStore};

use crate::ignored::Ignored;
use crate::names::{Names, bucket_and_prefix};
use crate::place::Place;
use crate::sync::{Summary, apply_down_with_progress, apply_with_progress};
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "One of both is a folder - it is there, or begins with . or / -, the other a bucket. Globs match the path below
them: * stays within a folder, ** does not; what is left out is not deleted either, and nor is what a file .assetsignore in the folder names (as .gitignore). What breaks off is gone on with by the same
command.

Examples:
  isobar r2 sync ./static inneranimalmedia-assets/static
  isobar r2 sync ./static STORAGE/static --delete --dry-run
  isobar r2 sync STORAGE/media ./backup --exclude '*.tmp' --exclude 'drafts/**'"
)]
pub(crate) struct Sync {
    /// The folder, or BUCKET or BUCKET/PREFIX
    source: String,
    /// The other one
    target: String,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Delete at the target what the source has not
    #[arg(long)]
    delete: bool,
    /// Take only what one of these globs matches
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave out what one of these globs matches
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Transfers at once
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Sync {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match (looks_like_folder(&self.source), looks_like_folder(&self.target)) {
            (true, false) => self.up(place).await,
            (false, true) => self.down(place).await,
            (true, true) => {
                Err(format!("{} and {} are both folders; one must be a bucket", self.source, self.target).into())
            }
            (false, false) => {
                Err(format!("there is no folder {}; a new one to sync into begins with ./", self.source).into())
            }
        }
    }

    async fn up(self, place: &Place) -> Outcome {
        let (bucket, prefix) = bucket_and_prefix(&self.target);
        let store = place.bucket(bucket).await?;
        let (names, ignored) = (Names::new(&self.include, &self.exclude)?, Ignored::of(Path::new(&self.source))?);
        // What was deployed there is not this folder's to delete, unless it is a copy of all of it.
        let is_copy = Path::new(&self.source).join(FOLDER).is_dir();
        let take = |name: &str| {
            names.take(name) && ignored.take(name) && (is_copy || !format!("/{name}").contains(&format!("/{FOLDER}")))
        };
        if !is_copy && store.head(&Key::new(format!("{prefix}{FOLDER}current.json"))?).await?.is_some() {
            eprintln!("warning: {} has deploys, and a site that serves them does not serve these files", self.target);
        }
        let plan = plan(&self.source, &store, &prefix, &take).await?;
        let summary = Summary::of(&plan, self.delete, self.dry_run);
        if self.dry_run && !self.json {
            for upload in &plan.uploads {
                say!("put     {bucket}/{} ({})", upload.key, upload.content_type);
            }
            for key in plan.extra.iter().filter(|_| self.delete) {
                say!("delete  {bucket}/{key}");
            }
        }
        if !self.dry_run {
            apply_with_progress(&plan, &store, &self.options()).await?;
        }
        self.told(&summary)
    }

    async fn down(self, place: &Place) -> Outcome {
        let (bucket, prefix) = bucket_and_prefix(&self.source);
        // One that is not there would leave nothing of the folder with --delete.
        let store = place.existing_bucket(bucket).await?;
        let names = Names::new(&self.include, &self.exclude)?;
        let plan = plan_down(&store, &prefix, &self.target, &|name| names.take(name)).await?;
        let summary = Summary::of_down(&plan, self.delete, self.dry_run);
        if self.dry_run && !self.json {
            for download in &plan.downloads {
                say!("get     {bucket}/{} into {}", download.key, download.path.display());
            }
            for path in plan.extra.iter().filter(|_| self.delete) {
                say!("delete  {}", path.display());
            }
        }
        if !self.dry_run {
            apply_down_with_progress(&plan, &store, &self.options()).await?;
        }
        self.told(&summary)
    }

    fn options(&self) -> ApplyOptions {
        ApplyOptions::default().with_concurrency(self.concurrency).with_delete(self.delete)
    }

    fn told(&self, summary: &Summary) -> Outcome {
        if self.json {
            say!("{}", serde_json::to_string(summary)?);
        } else {
            say!("{summary}");
        }
        Ok(())
    }
}

fn looks_like_folder(text: &str) -> bool {
    text.starts_with(['.', '/']) || Path::new(text).is_dir()
}
