//! The command `isobar r2 sync`: a folder and a bucket, in either direction, or two buckets.
//!
//! The command makes the target like the source: what is missing or differs is copied, and with
//! `--delete` what the source does not have goes, after all copies. It is one-way, and idempotent: run
//! again it does nothing, and after a failure it goes on.
//!
//! | source, target | compared by | never touched |
//! |---|---|---|
//! | folder to bucket | content type, size, MD5 of the content | deploys at the target, state and secrets in the folder |
//! | bucket to folder | size and MD5 of the content | state and secrets in the folder |
//! | bucket to bucket | size, MD5 or ETag, HTTP metadata | deploys (`.deploy/`) |
//!
//! An object that was put in parts has no MD5 of its whole, and counts as different from any file.
//!
//! Which of both is a folder is decided by the text: one that exists, or begins with `.` or `/`. A
//! bucket of the same name as a folder is meant by `local:NAME` or `remote:NAME`.
//!
//! wrangler has no counterpart. The closest tools are `rclone sync` and `aws s3 sync`, which work on
//! the door of `isobar serve --s3`.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use isobar_site::deploy::FOLDER;
use isobar_storage::sync::{ApplyOptions, plan_across, plan_down_with, plan_with};
use isobar_storage::{Key, ObjectStore};

use crate::ignored::Ignored;
use crate::names::{Names, bucket_and_prefix};
use crate::place::{Access, Place};
use crate::remote::Where;
use crate::sync::{Summary, apply_across_with_progress, apply_down_with_progress, apply_with_progress, tell_left_out};
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "Source and target are folders or buckets, and at least one of them is a bucket. A path that exists, or begins with . or /, is a \
folder. local:BUCKET and remote:BUCKET select the place of one bucket, --local and --remote that of both. Globs match the path below \
source or target: * matches within a folder, ** across folders. Excluded files are not deleted either, and neither are files that \
.assetsignore in the folder names (in the syntax of .gitignore). To continue an interrupted sync, run it again.

State and secrets are never part of a folder: the state folder under any name, .wrangler, keyrings, .dev.vars*, .env*, .git. With \
--delete, a folder that contains isobar's state is refused. Links that stay inside the folder are followed; a link that leads \
out is an error, unless --follow-links is given. FIFOs, sockets and devices are left out.

Examples:
  isobar r2 sync ./static inneranimalmedia-assets/static
  isobar r2 sync ./static STORAGE/static --delete --dry-run
  isobar r2 sync STORAGE/media ./backup --exclude '*.tmp' --exclude 'drafts/**'
  isobar r2 sync ./static STORAGE/static --remote
  isobar r2 sync remote:assets local:assets"
)]
pub(crate) struct Sync {
    /// The source: a folder, BUCKET or BUCKET/PREFIX
    source: String,
    /// The target: a folder, BUCKET or BUCKET/PREFIX
    target: String,
    /// Only print what would be done
    ///
    /// Files are compared all the same, so that it reads as much as a real run. No bucket is created.
    #[arg(long)]
    dry_run: bool,
    /// Delete files of the target that the source does not have
    ///
    /// Only below the target's prefix, and nothing that --include and --exclude leave out. Try it with
    /// --dry-run first.
    #[arg(long)]
    delete: bool,
    /// Include only files that match this glob
    ///
    /// May be given several times; one match is enough. --exclude outranks it.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Exclude files that match this glob
    ///
    /// May be given several times: `--exclude '*.tmp' --exclude 'drafts/**'`.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Number of concurrent transfers
    ///
    /// Each streams its body, so that memory grows little with it.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Follow links that lead out of the folder
    #[arg(long)]
    follow_links: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Where,
}

impl Sync {
    /// Decides the direction, and syncs.
    ///
    /// # Errors
    /// Two folders; those of the direction.
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        match (looks_like_folder(&self.source), looks_like_folder(&self.target)) {
            (true, false) => self.up(place).await,
            (false, true) => self.down(place).await,
            (true, true) => {
                Err(format!("{} and {} are both folders; one must be a bucket", self.source, self.target).into())
            }
            (false, false) => self.across(place).await,
        }
    }

    /// From a folder into a bucket.
    ///
    /// A site that serves deploys does not see files that are synced beside them: that is a warning. A
    /// folder that is itself a copy of a site with its deploys (`.deploy/`) is taken whole, so that it
    /// can be put back.
    ///
    /// # Errors
    /// A folder that cannot be walked; those of the bucket. Then what was copied so far stays, and
    /// nothing was deleted.
    async fn up(self, place: &Place) -> Outcome {
        let (bucket, prefix, reach) = self.bucket(&self.target);
        let walk = place.walk_options(self.follow_links)?;
        let names = Names::new(&self.include, &self.exclude)?;
        let ignored = Ignored::of(Path::new(&self.source))?;
        ignored.warn();
        // Deploys at the target are kept, unless the folder is a copy of a site with its deploys.
        let is_copy = Path::new(&self.source).join(FOLDER).is_dir();
        let take = |name: &str| {
            names.take(name) && ignored.take(name) && (is_copy || !format!("/{name}").contains(&format!("/{FOLDER}")))
        };
        let store = self.target_store(place, bucket, &reach).await?;
        if !is_copy && store.head(&Key::new(format!("{prefix}{FOLDER}current.json"))?).await?.is_some() {
            eprintln!("warning: {} has deploys, and a site that serves them does not serve these files", self.target);
        }
        let plan = plan_with(&self.source, &*store, &prefix, &take, &walk).await?;
        tell_left_out(&plan.left_out);
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
            apply_with_progress(&plan, &*store, &self.options()).await?;
        }
        self.told(&summary)
    }

    /// From a bucket into a folder.
    ///
    /// The bucket has to exist, also where it is configured: an empty one in its place would, with
    /// `--delete`, empty the folder.
    ///
    /// # Errors
    /// Keys that make no path below the folder; `--delete` into a folder that contains isobar's state;
    /// those of both sides.
    async fn down(self, place: &Place) -> Outcome {
        let (bucket, prefix, reach) = self.bucket(&self.source);
        // A missing bucket would empty the folder with --delete.
        let store = place.store(bucket, &reach, Access::Existing).await?;
        let names = Names::new(&self.include, &self.exclude)?;
        let walk = place.walk_options(self.follow_links)?;
        let plan = plan_down_with(&*store, &prefix, &self.target, &|name| names.take(name), &walk).await?;
        tell_left_out(&plan.left_out);
        if self.delete {
            plan.check_delete()?;
        }
        let summary = Summary::of_down(&plan, self.delete, self.dry_run);
        if self.dry_run && !self.json {
            for download in &plan.downloads {
                say!("get     {bucket}/{} into {}", download.key, download.path.display());
            }
            for folder in &plan.folders {
                say!("make    {}", folder.display());
            }
            for path in plan.extra.iter().filter(|_| self.delete) {
                say!("delete  {}", path.display());
            }
        }
        if !self.dry_run {
            apply_down_with_progress(&plan, &*store, &self.options()).await?;
        }
        self.told(&summary)
    }

    /// From a bucket into another, or to another prefix of the same.
    ///
    /// # Errors
    /// One contains the other: the target would then be a part of its own source.
    async fn across(self, place: &Place) -> Outcome {
        let (from, from_prefix, from_reach) = self.bucket(&self.source);
        let (to, to_prefix, to_reach) = self.bucket(&self.target);
        let is_same = from_reach.is_remote() == to_reach.is_remote()
            && if from_reach.is_remote() {
                place.remote_name(from)? == place.remote_name(to)?
            } else {
                place.bucket_folder(from)? == place.bucket_folder(to)?
            };
        if is_same && (from_prefix.starts_with(&to_prefix) || to_prefix.starts_with(&from_prefix)) {
            return Err(format!("{} and {} overlap: neither may contain the other", self.source, self.target).into());
        }
        let source = place.store(from, &from_reach, Access::Existing).await.map_err(|error| {
            format!(
                "there is no folder {}, and {error}; to sync into a new folder, begin its path with ./",
                self.source
            )
        })?;
        let names = Names::new(&self.include, &self.exclude)?;
        let target = self.target_store(place, to, &to_reach).await?;
        let take = |name: &str| names.take(name) && !format!("/{name}").contains(&format!("/{FOLDER}"));
        let plan = plan_across(&*source, &from_prefix, &*target, &to_prefix, &take).await?;
        let summary = Summary::of_across(&plan, self.delete, self.dry_run);
        if self.dry_run && !self.json {
            for transfer in &plan.transfers {
                say!("copy    {from}/{} to {to}/{}", transfer.from, transfer.to);
            }
            for key in plan.extra.iter().filter(|_| self.delete) {
                say!("delete  {to}/{key}");
            }
        }
        if !self.dry_run {
            apply_across_with_progress(&plan, &*source, &*target, &self.options()).await?;
        }
        self.told(&summary)
    }

    /// Opens the target bucket, for writing unless it is a dry run.
    async fn target_store(
        &self,
        place: &Place,
        bucket: &str,
        reach: &Where,
    ) -> Result<Arc<dyn ObjectStore>, Box<dyn std::error::Error>> {
        let is_new = !reach.is_remote() && !place.is_here(bucket)?;
        if self.dry_run && is_new {
            return Ok(Arc::new(isobar_storage::memory::MemoryStore::new()));
        }
        place.store(bucket, reach, Access::Write).await
    }

    /// Parses a bucket: its name, the prefix of the keys, and whether it is remote.
    fn bucket<'t>(&self, text: &'t str) -> (&'t str, String, Where) {
        let (text, reach) = match (text.strip_prefix("remote:"), text.strip_prefix("local:")) {
            (Some(text), _) => (text, self.reach.with_remote(true)),
            (None, Some(text)) => (text, self.reach.with_remote(false)),
            (None, None) => (text, self.reach.clone()),
        };
        let (bucket, prefix) = bucket_and_prefix(text);
        (bucket, prefix, reach)
    }

    /// Returns the options of applying a plan.
    fn options(&self) -> ApplyOptions {
        ApplyOptions::default().with_concurrency(self.concurrency).with_delete(self.delete)
    }

    /// Prints the summary.
    fn told(&self, summary: &Summary) -> Outcome {
        if self.json {
            say!("{}", serde_json::to_string(summary)?);
        } else {
            say!("{summary}");
        }
        Ok(())
    }
}

/// Whether a text is meant as a folder: see the module's table.
fn looks_like_folder(text: &str) -> bool {
    text.starts_with(['.', '/']) || Path::new(text).is_dir()
}
