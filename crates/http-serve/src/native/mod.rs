//! The native server, and its log.

mod client;
mod server;

pub use client::Client;
pub use server::{Server, ServerError, ServerOptions, TlsOptions, shutdown_signal};

/// Writes the log to standard error: as `RUST_LOG` says, else warnings and this service's own lines. Text on a terminal,
/// JSON with `ISOBAR_LOG=json`.
pub fn init_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,isobar_http_serve=info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let json = std::env::var("ISOBAR_LOG").is_ok_and(|format| format == "json");
    // A log that is set up already stays.
    drop(if json { log.json().try_init() } else { log.try_init() });
}
