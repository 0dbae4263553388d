//! The command `isobar deploy`.
//!
//! A deploy is a new manifest over files that are stored by their hashes (`isobar_site::deploy`): a
//! file that an earlier deploy has is not uploaded, and the switch to the new deploy is one
//! compare-and-swap of a small object. Visitors see the old site or the new one.
//!
//! # Order
//!
//! 1. Read `.assetsignore` and the globs, and walk the folder. A link out of it, an unreadable folder
//!    and server code (`_worker.js`) end the command here.
//! 2. Read `_headers` and `_redirects`, and print their ignored lines.
//! 3. Hash every file, ask the bucket for those it has, upload the rest.
//! 4. Write the manifest, and switch.
//!
//! Broken off before the switch, the site is as it was, and the next deploy of the same files uploads
//! only what is missing. Of two deploys at once both become whole, and the later switch is the one that
//! is served. What no deploy needs stays until `isobar deploy prune`.
//!
//! Deploys are refused while `prune` deletes; the command waits for its end: see
//! [`deploy_between_prunes`].
//!
//! # wrangler
//!
//! `wrangler deploy` uploads assets with a Worker's version, to Cloudflare alone. Here the target is a
//! bucket, of this machine, of the account, or of any S3 server, and a Worker serves it by
//! `isobar_site` with the option for deploys. `.assetsignore`, the rules of `_worker.js` and the limit
//! of 100,000 files are wrangler's.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use isobar_site::{
    DeployOptions, DeployProgress, Deployed, Deploys, HeaderRules, HtmlHandling, Redirects, RuleWarning,
};
use isobar_storage::ErrorKind;
use isobar_storage::directory::{Directory, DirectoryOptions};
use isobar_storage::walk::Walk;

use crate::ignored::Ignored;
use crate::names::{Names, bucket_and_prefix, globs};
use crate::place::{Access, Place};
use crate::remote::Where;
use crate::sync::{progress, tell_left_out};
use crate::{Outcome, say, table};

/// Files of rules: part of a deploy, but not served.
const RULES: [&str; 3] = ["_headers", "_redirects", ".assetsignore"];

/// Attempts to deploy while another process prunes, one second apart.
const PATIENCE: u32 = 30;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Uploads the files that the bucket does not have yet, and then switches to the new deploy in one step. Until then the \
earlier deploy is served. _headers and _redirects of the folder are the rules of the deploy; files that .assetsignore names are not \
uploaded. The site is served by `isobar serve`, or by an application or a Worker whose site has the option deploys. For a folder with \
the name of a subcommand write ./list.

State and secrets are never published: the state folder under any name, .wrangler, keyrings, .dev.vars*, .env*, .git. Links that \
stay inside the folder are followed; a link that leads out or is dangling is an error. --follow-links follows links out.

--remote deploys into a bucket of the account over S3, by R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY and CLOUDFLARE_ACCOUNT_ID in the \
environment, or on another S3 server by S3_ENDPOINT and AWS_REGION.

Examples:
  isobar deploy ./dist inneranimalmedia-assets/static --message 'New themes'
  isobar deploy ./dist STORAGE/static --immutable 'assets/**' --remote
  isobar deploy list STORAGE/static
  isobar deploy rollback STORAGE/static
  isobar deploy prune STORAGE/static --keep 10"
)]
pub(crate) struct Deploy {
    #[command(subcommand)]
    command: Option<Command>,
    /// The folder of the site
    ///
    /// Its index.html becomes /. It is read while the command runs: a file that changes meanwhile is an
    /// error, and nothing is switched.
    #[arg(required = true)]
    folder: Option<PathBuf>,
    /// BUCKET/PREFIX under which the site is served
    ///
    /// BUCKET is a name or a binding. The prefix is that of `isobar serve --prefix`, which is static/
    /// by default.
    #[arg(required = true)]
    target: Option<String>,
    /// A message for this deploy
    ///
    /// `isobar deploy list` shows it; for example --message "$(git log -1 --format=%s)".
    #[arg(long, short)]
    message: Option<String>,
    /// Number of earlier deploys whose files that never change stay reachable, for pages that are still
    /// open
    ///
    /// A page that was loaded before a deploy loads its scripts, named by their hashes, after it. 0
    /// makes them disappear at once.
    #[arg(long, default_value_t = 3, value_name = "N")]
    retain: usize,
    /// Files that never change under their name, in addition to those with a hash in it
    /// (app-3f9a1c2b.js)
    ///
    /// They are cached for a year, and kept by --retain. A glob without a slash matches names in every
    /// folder.
    #[arg(long, value_name = "GLOB")]
    immutable: Vec<String>,
    /// Exclude files that match this glob
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Number of concurrent transfers
    ///
    /// More help with small files over a slow connection.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Follow links that lead out of the folder
    #[arg(long)]
    follow_links: bool,
    /// Only print what would be deployed
    ///
    /// It lists every file of the deploy, also those that the bucket has already. The bucket is not
    /// asked, and none is created.
    #[arg(long)]
    dry_run: bool,
    /// Ignored: this command never asks for confirmation
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    shared: Shared,
}

#[derive(Debug, Args)]
struct Shared {
    #[command(flatten)]
    reach: Where,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all deploys, the newest first
    List {
        /// BUCKET/PREFIX
        target: String,
        #[command(flatten)]
        shared: Shared,
    },
    /// Serve the deploy before the current one, or the given one
    Rollback {
        /// BUCKET/PREFIX
        target: String,
        /// Id of the deploy, or an unambiguous prefix of it
        id: Option<String>,
        #[command(flatten)]
        shared: Shared,
    },
    /// Delete old deploys and the files that no other deploy has
    Prune {
        /// BUCKET/PREFIX
        target: String,
        /// Number of newest deploys to keep, in addition to the current one
        #[arg(long, default_value_t = 10, value_name = "N")]
        keep: usize,
        #[command(flatten)]
        shared: Shared,
    },
}

impl Deploy {
    pub(crate) async fn run(mut self, place: &Place) -> Outcome {
        match self.command.take() {
            Some(Command::List { target, shared }) => {
                list(&target, &deploys(place, &target, &shared).await?, &shared).await
            }
            Some(Command::Rollback { target, id, shared }) => {
                let deploy = deploys(place, &target, &shared).await?.rollback(id.as_deref()).await?;
                if shared.json {
                    say!("{}", serde_json::to_string(&deploy)?);
                } else {
                    say!("{target} is deploy {} now", deploy.id);
                }
                Ok(())
            }
            Some(Command::Prune { target, keep, shared }) => {
                let pruned = deploys(place, &target, &shared).await?.prune(keep).await?;
                if shared.json {
                    say!("{}", serde_json::to_string(&pruned)?);
                } else {
                    let deploys = pruned.deploys.len();
                    let bytes = HumanBytes(pruned.bytes);
                    say!("{deploys} deploys and {} objects deleted ({bytes})", pruned.objects);
                }
                Ok(())
            }
            None => self.deploy(place).await,
        }
    }

    async fn deploy(self, place: &Place) -> Outcome {
        let (Some(folder), Some(target)) = (&self.folder, &self.target) else {
            return Err("missing arguments: a folder and BUCKET/PREFIX".into());
        };
        let names = Names::new(&[], &self.exclude)?;
        let ignored = Ignored::of(Path::new(folder))?;
        ignored.warn();
        let walk = place.walk_options(self.follow_links)?;
        let taken = ignored.clone();
        let options =
            DirectoryOptions::default().with_walk(walk).with_take(move |name| names.take(name) && taken.take(name));
        let source = Directory::open_with(folder, options).await?;
        let found = source.walk().await?;
        tell_left_out(&found.left_out);
        ignored.check_worker(found.files.keys().map(String::as_str))?;
        let immutable = globs(&self.immutable)?;
        let has_immutable = !self.immutable.is_empty();
        let is_immutable = |name: &str| has_immutable && immutable.is_match(name);
        warn_of_rules(folder)?;
        if self.dry_run {
            return self.would_deploy(target, &found);
        }
        let bar = progress(0);
        let shown = |progress: DeployProgress<'_>| match progress {
            DeployProgress::Read { name, .. } => bar.set_message(format!("read {name}")),
            DeployProgress::Planned { bytes, .. } => {
                bar.set_length(bytes);
                bar.set_position(0);
            }
            DeployProgress::Uploaded { name, bytes } => {
                bar.set_message(name.to_owned());
                bar.inc(bytes);
            }
            _ => {}
        };
        let options = DeployOptions::default()
            .with_immutable(&is_immutable)
            .with_retain(self.retain)
            .with_concurrency(self.concurrency)
            .with_message(self.message.as_deref())
            .with_progress(&shown);
        let (bucket, prefix) = bucket_and_prefix(target);
        let deploys = Deploys::new(place.store(bucket, &self.shared.reach, Access::Write).await?, prefix);
        let deployed = deploy_between_prunes(&deploys, &source, &options, &bar).await;
        bar.finish_and_clear();
        self.print(target, &deployed?)
    }

    /// Prints the result of a deploy.
    fn print(&self, target: &str, deployed: &Deployed) -> Outcome {
        let deploy = &deployed.deploy;
        if self.shared.json {
            say!("{}", serde_json::to_string(deployed)?);
        } else if deployed.is_unchanged {
            say!("nothing has changed: {target} still serves deploy {}", deploy.id);
        } else {
            let files = HumanCount(deploy.files as u64);
            let bytes = HumanBytes(deploy.bytes);
            let uploaded = HumanBytes(deployed.uploaded_bytes);
            say!(
                "{target} is deploy {} now: {files} files ({bytes}), {} uploaded ({uploaded})",
                deploy.id,
                deployed.uploaded
            );
        }
        Ok(())
    }
}

/// Deploys; while another process prunes, tries again every second.
///
/// A prune ends within seconds for most sites; 30 attempts are the limit. A prune that was killed
/// blocks deploys for up to ten minutes. Files that were uploaded by an attempt are not uploaded again
/// by the next one.
///
/// # Errors
/// Those of `Deploys::deploy`; [`ErrorKind::Unavailable`] only after the last attempt.
async fn deploy_between_prunes(
    deploys: &Deploys,
    source: &Directory,
    options: &DeployOptions<'_>,
    bar: &ProgressBar,
) -> isobar_storage::Result<Deployed> {
    let mut tries = 0;
    loop {
        match deploys.deploy(source, options).await {
            Err(error) if error.kind() == ErrorKind::Unavailable && tries < PATIENCE => {
                tries += 1;
                bar.set_message(error.message().to_owned());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            deployed => return deployed,
        }
    }
}

impl Deploy {
    /// Prints the outcome that a deploy would have.
    ///
    /// # Errors
    /// There are no files: a deploy would refuse that, too.
    fn would_deploy(&self, target: &str, found: &Walk) -> Outcome {
        let files = || found.files.iter().filter(|(name, _)| !RULES.contains(&name.as_str()));
        let count = files().count();
        let bytes = files().map(|(_, file)| file.size).sum();
        if count == 0 {
            return Err("there are no files to deploy".into());
        }
        if self.shared.json {
            let names: Vec<&String> = files().map(|(name, _)| name).collect();
            say!("{}", serde_json::json!({"dry_run": true, "target": target, "files": names, "bytes": bytes}));
            return Ok(());
        }
        for (name, file) in files() {
            say!("deploy  {name} ({})", HumanBytes(file.size));
        }
        say!("{count} files ({}) would be deployed to {target}", HumanBytes(bytes));
        Ok(())
    }
}

/// Prints warnings about ignored lines of the rules.
///
/// They are read once more here, as the deploy reads them from the source after the upload has begun; a
/// warning should come before. A line that is not UTF-8 is warned of with replacement characters.
///
/// # Errors
/// A file of rules that exists and cannot be read.
fn warn_of_rules(folder: &Path) -> Outcome {
    let read = |name: &str| {
        let path = folder.join(name);
        // Reading a FIFO would block.
        if !path.is_file() {
            return Ok(String::new());
        }
        let bytes = std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
    };
    warn_of("_headers", HeaderRules::parse(&read("_headers")?).warnings());
    warn_of("_redirects", Redirects::parse(&read("_redirects")?, HtmlHandling::default()).warnings());
    Ok(())
}

/// Prints warnings about ignored lines of a file of rules.
pub(crate) fn warn_of(file: &str, warnings: &[RuleWarning]) {
    for warning in warnings {
        eprintln!("warning: {file}, {warning}");
    }
}

/// Prints all deploys, the newest first. The current one has a `*`, which need not be the newest after
/// a rollback.
async fn list(target: &str, deploys: &Deploys, shared: &Shared) -> Outcome {
    let deploys = deploys.list().await?;
    if shared.json {
        say!("{}", serde_json::to_string(&deploys)?);
        return Ok(());
    }
    if deploys.is_empty() {
        say!("nothing has been deployed to {target}");
        return Ok(());
    }
    let row = |deploy: &isobar_site::Deploy| {
        let mark = if deploy.is_current { "*" } else { "" };
        let created = deploy.created.format("%Y-%m-%d %H:%M:%S").to_string();
        let files = deploy.files.to_string();
        let bytes = HumanBytes(deploy.bytes).to_string();
        vec![mark.to_owned(), deploy.id.clone(), created, files, bytes, deploy.message.clone().unwrap_or_default()]
    };
    let rows: Vec<_> = deploys.iter().map(row).collect();
    table::print(&["", "deploy", "created (UTC)", "files", "size", "message"].map(str::to_owned), &rows)
}

/// Opens the deploys of an existing bucket.
///
/// # Errors
/// A bucket that does not exist: a typo must not say that nothing was deployed.
async fn deploys(place: &Place, target: &str, shared: &Shared) -> Result<Deploys, Box<dyn Error>> {
    let (bucket, prefix) = bucket_and_prefix(target);
    Ok(Deploys::new(place.store(bucket, &shared.reach, Access::Existing).await?, prefix))
}
