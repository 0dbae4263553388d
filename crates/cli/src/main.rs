//! The `isobar` command: wrangler's grammar on local bindings.
//!
//! | module | commands |
//! |---|---|
//! | `serve`, `copy`, `doors` | `serve`: the site, the copy of its folder, the listeners for foreign clients |
//! | `deploy`, `ignored` | `deploy`, `deploy list`, `rollback`, `prune`; the rules of `.assetsignore` |
//! | `r2`, `sync`, `names` | objects and buckets; folders that are compared with buckets |
//! | `d1` | migrations, SQL, dumps, backups, time travel |
//! | `analytics`, `sessions`, `keys`, `vault` | datasets, session objects, keys of the doors, sealed values |
//! | `place`, `remote`, `target` | where a name leads: to a folder of this machine, or to the account; where backups are |
//! | `confirm`, `duration`, `output`, `table` | questions, durations in options, files that appear whole, aligned columns |
//!
//! # Streams and exit codes
//!
//! Results go to standard output; warnings, notes, questions and progress bars to standard error, so
//! that `--json` can be piped while a bar is shown. A bar is drawn on a terminal alone.
//!
//! | code | when |
//! |---|---|
//! | 0 | the command has done what it was asked; or the reader of a pipe, such as `head`, has closed it |
//! | 1 | the command has failed, was declined at its question, or has found damage; standard error has a line `error: ...` |
//! | 2 | the arguments are wrong; clap prints what is wrong with them |
//!
//! Damage found is a failure even where the rest was done: `r2 fsck`, `d1 verify`, `sessions list
//! --check`, `sessions alarms`, `export`, `backup` and `verify`, and `analytics erase` exit with 1 after they have printed their report,
//! so that a cron job notices.
//!
//! # Differences from wrangler that hold for every command
//!
//! - Buckets, too, are those of this machine unless `--remote` is given. wrangler's `r2 bucket`
//!   commands have the account alone.
//! - There is no telemetry, no login and no update check: only `--remote` and an endpoint of
//!   OpenTelemetry reach the network.
//! - `--json` is never implied. `wrangler d1 execute` prints JSON wherever standard output is not a
//!   terminal.
//! - A destructive command without a terminal wants `--yes`; wrangler takes its questions for answered
//!   there (see `confirm`).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

mod analytics;
mod archive;
mod confirm;
mod copy;
mod d1;
mod deploy;
mod doors;
mod duration;
mod ignored;
mod keys;
mod names;
mod output;
mod place;
mod r2;
mod remote;
mod serve;
mod sessions;
mod sync;
mod table;
mod target;
mod times;
mod vault;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::place::Place;

/// Responses take many small allocations on several threads, for which the system's allocator is slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs and manages a Cloudflare-like platform on this machine: R2 as files, D1 and Durable Objects as SQLite, and
/// Analytics Engine as files that are queried in its SQL.
///
/// Buckets and databases are named by their name or by their binding in the wrangler configuration. All data is in `.isobar`
/// beside the configuration, or in the folder of `--root`.
///
/// Global options may stand before or after the subcommand. The environment is chosen by `--env`, or
/// else by `CLOUDFLARE_ENV`, as in wrangler.
#[derive(Debug, Parser)]
#[command(
    name = "isobar",
    version,
    max_term_width = 100,
    after_help = "Examples:
  isobar serve
  isobar r2 object put inneranimalmedia-assets/static/index.html --file ./index.html
  isobar r2 sync ./static inneranimalmedia-assets/static --dry-run
  isobar deploy ./dist inneranimalmedia-assets/static
  isobar d1 migrations apply DB
  isobar d1 execute DB --command 'SELECT count(*) FROM users'
  isobar analytics query 'SELECT blob1, count() FROM visits GROUP BY blob1'
  isobar analytics tail EVENTS
  isobar sessions list --class Room
  isobar vault status DB --keyring ./keyring
  isobar keys create --scope r2:read,r2:write,d1:write"
)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// The commands. The first line of each is its line in `isobar --help`; examples stand at the commands
/// themselves.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the static site of a wrangler configuration, with health checks and request logs
    Serve(Box<serve::Serve>),
    /// Deploy a whole site atomically, list deploys, roll back
    Deploy(deploy::Deploy),
    /// Buckets and their objects
    #[command(subcommand)]
    R2(r2::R2),
    /// Databases and their migrations
    #[command(subcommand)]
    D1(d1::D1),
    /// Datasets: query, tail, compact, retention, erase, export and import
    #[command(subcommand)]
    Analytics(analytics::Analytics),
    /// Session objects: list, look into, export, import, back up and delete them
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Keys for the doors of `isobar serve`: Cloudflare's REST API, R2's S3 API, the explorer
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Encrypted values: keys, rotation, status
    #[command(subcommand)]
    Vault(vault::Vault),
}

/// The result of a command. Errors are boxed: `main` prints them, and asks only whether one is a closed
/// pipe.
type Outcome = Result<(), Box<dyn Error>>;

/// Prints a line to standard output. A closed pipe is an error here, and not a panic as in `println!`.
///
/// The error is returned by `?`, so a command ends at the first line that cannot be written: `isobar r2
/// object list assets | head` stops listing. It may stand only in functions that return an [`Outcome`]
/// or another result that an I/O error converts into.
macro_rules! say {
    ($($arguments:tt)*) => {
        std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!("{}\n", format_args!($($arguments)*)))?
    };
}
use say;

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { place, command } = Cli::parse();
    let outcome = match command {
        Command::Serve(serve) => serve.run(&place).await,
        Command::Deploy(deploy) => deploy.run(&place).await,
        Command::R2(r2) => r2.run(&place).await,
        Command::D1(d1) => d1.run(&place).await,
        Command::Analytics(analytics) => analytics.run(&place).await,
        Command::Sessions(sessions) => sessions.run(&place).await,
        Command::Keys(keys) => keys.run(&place).await,
        Command::Vault(vault) => vault.run(&place).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader, such as `head`, has closed the pipe.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether an error is that of a pipe whose reader is gone. Looks at the error itself and not at its
/// sources: an error of a store that was caused by a broken connection is a failure.
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
