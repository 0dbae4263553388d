//! `isobar r2 fsck`.

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use isobar_storage::local::{Finding, FsckOptions};

use crate::place::Place;
use crate::{Outcome, say};

#[derive(Debug, Args)]
#[command(
    after_help = "It reads every body and compares it with its checksum, and looks for what crashes have left. It may run beside a
server. With --repair, objects whose body is damaged or missing are taken out of the index, what is left of them is kept in the
bucket's folder `lost`, and leftovers are removed. It ends with a failure while something is wrong.

Examples:
  isobar r2 fsck STORAGE
  isobar r2 fsck STORAGE --repair
  isobar r2 fsck STORAGE --quick --json"
)]
pub(crate) struct Fsck {
    /// BUCKET
    bucket: String,
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
    /// Compare lengths only, and read no body
    #[arg(long)]
    quick: bool,
    /// Nothing else uses the bucket: what is unfinished is left over, however young
    #[arg(long)]
    exclusive: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Fsck {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        let store = place.existing_bucket(&self.bucket).await?;
        let options =
            FsckOptions::default().with_bodies(!self.quick).with_repair(self.repair).with_exclusive(self.exclusive);
        let style = ProgressStyle::with_template("{spinner} {pos} objects  {msg}");
        let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let report = store.fsck(options, |meta| {
            bar.set_message(meta.key.to_string());
            bar.inc(1);
        });
        let report = report.await;
        bar.finish_and_clear();
        let report = report?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            for Finding { problem, mended, .. } in &report.findings {
                let what = mended.as_deref().map(|what| format!(" - {what}")).unwrap_or_default();
                say!("{problem}{what}");
            }
            for path in &report.foreign {
                say!("{} is none of the bucket's files; it is left alone", path.display());
            }
            say!(
                "{} objects, {}, {} uploads under way: {}",
                report.objects,
                HumanBytes(report.bytes),
                report.uploads,
                if report.findings.is_empty() { "nothing is wrong" } else { "see above" }
            );
        }
        if report.is_clean() {
            return Ok(());
        }
        let hint = if self.repair { "what is left cannot be mended" } else { "mend it with --repair" };
        let count = report.findings.iter().filter(|finding| finding.mended.is_none()).count();
        Err(format!("{count} problems in {}; {hint}", self.bucket).into())
    }
}
