//! The platform as one native binary: local bindings, migrations, the static tree, the server.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use isobar_db::migrations;
use isobar_http_serve::Platform;
use isobar_http_serve::native::{Server, init_log, shutdown_signal};
use isobar_storage::sync::{ApplyOptions, apply, plan};
use platform::{IamSession, app};

/// The whole platform in one process: creates its bindings, applies its migrations, loads its static tree, and serves.
#[derive(Debug, Parser)]
#[command(version, after_help = "Examples:\n  platform\n  platform --port 3000 --root /var/lib/platform")]
struct Cli {
    /// The wrangler configuration
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/wrangler.toml"), hide_default_value = true)]
    config: PathBuf,
    /// Where everything is kept
    #[arg(long, default_value = ".isobar")]
    root: PathBuf,
    /// Address
    #[arg(long, default_value = "127.0.0.1")]
    ip: IpAddr,
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 8787)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    init_log();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let configured = Platform::from_wrangler(&cli.config)?;
    // Before anything is opened: a taken port should change nothing.
    let server = Server::bind(SocketAddr::new(cli.ip, cli.port)).await?;
    let config = configured.config().clone();
    let platform = configured.session_class::<IamSession>("IamSession", |_| ()).local(&cli.root).await?;
    for database in &config.d1_databases {
        let folder = config.resolve(database.migrations_dir.as_deref().unwrap_or("migrations"));
        let files = migrations::from_folder(folder)?;
        for name in migrations::apply(&*platform.database(&database.binding)?, &files).await? {
            println!("applied {name} to {}", database.local_name());
        }
    }
    let bucket = platform.bucket("STORAGE")?;
    let plan = plan(config.resolve("static"), &*bucket, "static/").await?;
    // Nothing is deleted: what somebody has put beside the tree is theirs.
    apply(&plan, &*bucket, &ApplyOptions::default(), |_| {}).await?;
    println!("static tree: {} files put, {} unchanged", plan.uploads.len(), plan.unchanged);

    println!("serving on http://{} (Ctrl-C ends)", server.address());
    server.serve(app(&platform)?, shutdown_signal()).await?;
    Ok(platform.close().await?)
}
