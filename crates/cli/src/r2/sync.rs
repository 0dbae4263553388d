//! The command `isobar r2 sync`: a folder and a bucket, in either direction, or two buckets.

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
    #[arg(long)]
    dry_run: bool,
    /// Delete files of the target that the source does not have
    #[arg(long)]
    delete: bool,
    /// Include only files that match this glob
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Exclude files that match this glob
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Number of concurrent transfers
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
