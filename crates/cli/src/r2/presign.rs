//! The command `isobar r2 presign`.
//!
//! A signed URL permits one method on one object until its expiry, to whoever has it. It is computed
//! here, without a request: the object need not exist yet, and a URL that was given out can be
//! withdrawn only by replacing the secret.
//!
//! Locally the secret is a file of the bucket, and the server that checks the URL has to have the same
//! bucket. `--base` is the address that the client reaches, which behind a proxy is not that of the
//! listener. With `--remote` the URL is S3's, signed by the access key of the environment, and good for
//! as long as that key is.

use std::time::Duration;

use chrono::Utc;
use clap::{Args, ValueEnum};
use isobar_storage::{ObjectStore, PresignMethod, PresignOptions};

use super::object;
use crate::duration::duration;
use crate::place::{Access, Place};
use crate::remote::Where;
use crate::{Outcome, say};

/// The method that a URL permits.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    Get,
    Put,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The URL works with `isobar serve` on the same data, whose secret signs it; with --remote, it works with R2.

Examples:
  isobar r2 presign assets/report.pdf
  curl -T video.mp4 \"$(isobar r2 presign assets/video.mp4 --method put --expires 15m)\""
)]
pub(crate) struct Presign {
    /// BUCKET/KEY
    object: String,
    /// The permitted method
    ///
    /// A PUT replaces the object. Its body has no limit but the server's: give such a URL only to whom
    /// you would give the space.
    #[arg(long, value_enum, default_value = "get")]
    method: Method,
    /// Validity: 90s, 15m, 1h; at most 7d
    ///
    /// It counts from now, by the clock of this machine; the server's may differ by little.
    #[arg(long, default_value = "1h", value_parser = validity)]
    expires: Duration,
    /// Base URL of `isobar serve`
    ///
    /// For example `https://files.example.com`. The URL's path below it is /r2/BUCKET/KEY.
    #[arg(long, default_value = "http://127.0.0.1:8787", value_name = "URL")]
    base: String,
    #[command(flatten)]
    reach: Where,
}

impl Presign {
    pub(crate) async fn run(self, place: &Place) -> Outcome {
        let (store, key) = object(place, &self.object, &self.reach, Access::Look).await?;
        let method = match self.method {
            Method::Get => PresignMethod::Get,
            Method::Put => PresignMethod::Put,
        };
        let options = PresignOptions::new(key, method, self.expires);
        if self.reach.is_remote() {
            say!("{}", store.presign(options).await?);
            return Ok(());
        }
        let bucket = self.object.split('/').next().unwrap_or_default();
        say!("{}", place.signer(bucket, &self.base).await?.sign(&options, Utc::now())?);
        Ok(())
    }
}

/// Reads a number with `s`, `m`, `h` or `d`. The limit of seven days, R2's, is checked by whatever
/// signs.
fn validity(text: &str) -> Result<Duration, String> {
    duration(text, &["s", "m", "h", "d"]).ok_or_else(|| format!("invalid duration {text:?}: use 90s, 15m, 1h or 7d"))
}
