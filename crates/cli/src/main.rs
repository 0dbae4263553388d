//! The `isobar` command: wrangler's grammar on local bindings.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

mod analytics;
mod confirm;
mod copy;
mod d1;
mod deploy;
mod doors;
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
    /// Session objects: list, look into, export, import and delete them
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Keys for the doors of `isobar serve`: Cloudflare's REST API, R2's S3 API, the explorer
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Encrypted values: keys, rotation, status
    #[command(subcommand)]
    Vault(vault::Vault),
}

type Outcome = Result<(), Box<dyn Error>>;

/// Prints a line to standard output. A closed pipe is an error here, and not a panic as in `println!`.
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
        Command::Sessions(sessions) => sessions.run(&place),
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

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
